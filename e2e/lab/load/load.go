// Package load is the lab's client side: many connections through a virtual service, each of which checks every byte and
// measures the longest silence.
package load

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Kind of a flow.
type Kind string

// Active connections carry frames both ways at a slow rate; idle ones exchange a frame when they open and then nothing until
// they are woken; udp flows ask and expect an echo.
const (
	Active Kind = "active"
	Idle   Kind = "idle"
	UDP    Kind = "udp"
)

// Plan is what to open. IPv4 and IPv6 take turns.
type Plan struct {
	Active, Idle, UDP int
	VIP4, VIP6        netip.Addr
	StreamPort        uint16
	EchoPort          uint16
	IntervalMs        int // between two frames of a flow
	Payload           int // largest, in bytes
	StallMs           int // silence after which a flow counts as broken although nothing says so
}

// Flow is the state of one flow, as Report gives it.
type Flow struct {
	ID        uint32         `json:"id"`
	Kind      Kind           `json:"kind"`
	Client    netip.AddrPort `json:"client"`
	Service   netip.AddrPort `json:"service"`
	Sent      uint32         `json:"sent"`
	Received  uint32         `json:"received"`
	Broken    string         `json:"broken,omitempty"`
	SilenceMs float64        `json:"silence_ms"` // longest since Mark, less the interval; for idle flows 0
}

// flow is a running one.
type flow struct {
	mu       sync.Mutex
	state    Flow
	last     time.Time // of the last good answer
	longest  time.Duration
	interval time.Duration
	closing  bool
}

// fail marks the flow as broken; the first reason stays. After closing began an end is no failure.
func (f *flow) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state.Broken == "" && (!f.closing || !errors.Is(err, net.ErrClosed)) {
		f.state.Broken = err.Error()
	}
}

func (f *flow) sent() {
	f.mu.Lock()
	f.state.Sent++
	f.mu.Unlock()
}

func (f *flow) received(now time.Time) {
	f.mu.Lock()
	f.longest = max(f.longest, now.Sub(f.last))
	f.last = now
	f.state.Received++
	f.mu.Unlock()
}

// Load is a set of open flows.
type Load struct {
	plan  Plan
	flows []*flow
	tcp   map[*flow]*tcpConn
	stop  chan struct{}
	wg    sync.WaitGroup
}

// Open opens all flows, a few at a time, and starts them. If one can't be opened it closes the others.
func Open(p Plan) (*Load, error) {
	l := &Load{plan: p, tcp: map[*flow]*tcpConn{}, stop: make(chan struct{})}
	var mu sync.Mutex
	var failed []error
	limit := make(chan struct{}, 16)
	var opening sync.WaitGroup
	id := uint32(0)
	for _, group := range []struct {
		kind Kind
		n    int
	}{{Active, p.Active}, {Idle, p.Idle}, {UDP, p.UDP}} {
		for range group.n {
			id++
			f := &flow{state: Flow{ID: id, Kind: group.kind}, interval: time.Duration(p.IntervalMs) * time.Millisecond, last: time.Now()}
			l.flows = append(l.flows, f)
			opening.Go(func() {
				limit <- struct{}{}
				defer func() { <-limit }()
				if err := l.open(f, &mu); err != nil {
					mu.Lock()
					failed = append(failed, fmt.Errorf("%s flow %d: %w", f.state.Kind, f.state.ID, err))
					mu.Unlock()
				}
			})
		}
	}
	opening.Wait()
	if len(failed) > 0 {
		l.Close()
		return nil, fmt.Errorf("%d of %d flows did not open; the first: %w", len(failed), len(l.flows), failed[0])
	}
	return l, nil
}

func (l *Load) open(f *flow, mu *sync.Mutex) error {
	vip := l.plan.VIP4
	if f.state.ID%2 == 0 {
		vip = l.plan.VIP6
	}
	if f.state.Kind == UDP {
		f.state.Service = netip.AddrPortFrom(vip, l.plan.EchoPort)
		return l.openUDP(f)
	}
	f.state.Service = netip.AddrPortFrom(vip, l.plan.StreamPort)
	c, err := l.openTCP(f)
	if err != nil {
		return err
	}
	mu.Lock()
	l.tcp[f] = c
	mu.Unlock()
	return nil
}

// Mark begins a measurement of silence. The silence that a flow is in at that moment counts from its last answer.
func (l *Load) Mark() {
	for _, f := range l.flows {
		f.mu.Lock()
		f.longest = 0
		f.mu.Unlock()
	}
}

// Wake lets every idle connection exchange frames and waits until all did or broke.
func (l *Load) Wake() {
	var wg sync.WaitGroup
	for f, c := range l.tcp {
		if f.state.Kind == Idle {
			wg.Go(func() { c.exchange(3) })
		}
	}
	wg.Wait()
}

// Report is the state of all flows.
func (l *Load) Report() []Flow {
	now := time.Now()
	list := make([]Flow, 0, len(l.flows))
	for _, f := range l.flows {
		f.mu.Lock()
		s := f.state
		if s.Kind != Idle {
			silence := f.longest
			if s.Broken == "" && !f.closing {
				silence = max(silence, now.Sub(f.last))
			}
			s.SilenceMs = float64(max(silence-f.interval, 0)) / 1e6
		}
		f.mu.Unlock()
		list = append(list, s)
	}
	return list
}

// Close ends all flows: connections in order, with every answer that is still due. It returns the last report.
func (l *Load) Close() []Flow {
	for _, f := range l.flows {
		f.mu.Lock()
		f.longest = max(f.longest, time.Since(f.last))
		f.closing = true
		f.mu.Unlock()
	}
	close(l.stop)
	var wg sync.WaitGroup
	for f, c := range l.tcp {
		if f.state.Kind == Idle {
			wg.Go(c.finish)
		}
	}
	wg.Wait()
	l.wg.Wait()
	return l.Report()
}
