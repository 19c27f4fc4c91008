// Package announce makes VIPs, local addresses and the sync address reachable: routes that live only as long as this
// process forwards packets.
//
// Announcer holds the set of routes that the node wants and brings a Speaker to it, one difference at a time. Speaker is
// BGP (gobgp as a library, no listening port): the routes go with the TCP session, and the session goes with the process.
// Guard is the pure machine that says when a living process does not forward any more.
package announce

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
)

// MaxRoutes bounds the set, against a configuration gone wild.
const MaxRoutes = 65536

// Errors of Announcer.Set.
var (
	ErrPrefix  = errors.New("announce: not a prefix, or with bits beyond its length")
	ErrNextHop = errors.New("announce: no next hop of that address family")
	ErrTooMany = errors.New("announce: too many routes")
	ErrStopped = errors.New("announce: stopped")
)

// Route is one announced prefix. Prepend > 0 makes it a backup: that many times more of our AS in its path.
type Route struct {
	Prefix  netip.Prefix
	Prepend int
}

// PeerState is one router, for status and metrics.
type PeerState struct {
	Address     netip.Addr
	ASN         uint32
	State       string // idle, connect, active, opensent, openconfirm, established
	Established bool
}

// Speaker carries routes to routers. Announcer calls it from one goroutine at a time; a Route that is announced again
// with another Prepend replaces the earlier one.
type Speaker interface {
	Announce(Route) error
	Withdraw(netip.Prefix) error
	Peers() []PeerState
	// Stop ends the sessions with a notification, so that routers drop the routes at once.
	Stop()
}

// Announcer brings a Speaker to the wanted set. Its methods may be called from any goroutine.
type Announcer struct {
	log   *slog.Logger
	nexts [2]bool // which families have a next hop: IPv4, IPv6

	mu        sync.Mutex
	speaker   Speaker // nil when nothing is to be announced
	want      map[netip.Prefix]Route
	announced map[netip.Prefix]Route
	held      bool
	stopped   bool
}

// New makes an announcer over speaker. A nil speaker is `announce: none`: sets are checked and remembered, nothing leaves.
func New(speaker Speaker, hasV4, hasV6 bool, log *slog.Logger) *Announcer {
	return &Announcer{
		log: log, nexts: [2]bool{hasV4, hasV6}, speaker: speaker,
		want: map[netip.Prefix]Route{}, announced: map[netip.Prefix]Route{},
	}
}

// Set replaces the wanted set. The same set again does nothing but retry what failed. On a bad route nothing changes. A
// prefix that is given twice is announced with the smaller Prepend.
func (a *Announcer) Set(routes []Route) error {
	if len(routes) > MaxRoutes {
		return fmt.Errorf("%w: %d of at most %d", ErrTooMany, len(routes), MaxRoutes)
	}
	want := make(map[netip.Prefix]Route, len(routes))
	for _, r := range routes {
		if !r.Prefix.IsValid() || r.Prefix != r.Prefix.Masked() || r.Prepend < 0 {
			return fmt.Errorf("%w: %v", ErrPrefix, r.Prefix)
		}
		if family := 1 - b2i(r.Prefix.Addr().Is4()); !a.nexts[family] {
			return fmt.Errorf("%w: %v", ErrNextHop, r.Prefix)
		}
		if old, twice := want[r.Prefix]; !twice || r.Prepend < old.Prepend {
			want[r.Prefix] = r
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopped {
		return ErrStopped
	}
	a.want = want
	return a.apply()
}

// Hold withdraws everything, or brings it back: Guard's verdict.
func (a *Announcer) Hold(held bool, why string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopped {
		return ErrStopped
	}
	if a.held != held {
		a.held = held
		a.log.Warn("routes", "held", held, "why", why, "count", len(a.want))
	}
	return a.apply()
}

// Held says whether Hold keeps the routes back.
func (a *Announcer) Held() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.held
}

// Announced lists what routers were told, sorted by prefix.
func (a *Announcer) Announced() []Route {
	a.mu.Lock()
	defer a.mu.Unlock()
	return sorted(a.announced)
}

// Peers lists the routers.
func (a *Announcer) Peers() []PeerState {
	a.mu.Lock()
	speaker := a.speaker
	if a.stopped {
		speaker = nil
	}
	a.mu.Unlock()
	if speaker == nil {
		return nil
	}
	return speaker.Peers()
}

// Stop withdraws everything and ends the sessions. It may be called twice.
func (a *Announcer) Stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopped {
		return
	}
	a.stopped = true
	clear(a.announced)
	if a.speaker != nil {
		a.speaker.Stop()
	}
}

// apply brings the speaker to the wanted set. New and changed routes go first: where one prefix gives way to another, the
// address is never without a route. What fails is tried again by the next call.
func (a *Announcer) apply() error {
	target := a.want
	if a.held || a.speaker == nil {
		target = nil
	}
	var failed []error
	for _, r := range sorted(target) {
		if old, ok := a.announced[r.Prefix]; ok && old == r {
			continue
		}
		if err := a.speaker.Announce(r); err != nil {
			failed = append(failed, fmt.Errorf("announce %v: %w", r.Prefix, err))
			continue
		}
		a.announced[r.Prefix] = r
	}
	for _, r := range sorted(a.announced) {
		if _, ok := target[r.Prefix]; ok {
			continue
		}
		if err := a.speaker.Withdraw(r.Prefix); err != nil {
			failed = append(failed, fmt.Errorf("withdraw %v: %w", r.Prefix, err))
			continue
		}
		delete(a.announced, r.Prefix)
	}
	return errors.Join(failed...)
}

// sorted makes the order of updates the same on every run.
func sorted(m map[netip.Prefix]Route) []Route {
	list := make([]Route, 0, len(m))
	for _, r := range m {
		list = append(list, r)
	}
	slices.SortFunc(list, func(x, y Route) int {
		if c := x.Prefix.Addr().Compare(y.Prefix.Addr()); c != 0 {
			return c
		}
		return x.Prefix.Bits() - y.Prefix.Bits()
	})
	return list
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
