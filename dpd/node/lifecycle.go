package node

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-lb/holdfast/dpd/internal/clock"
	"github.com/holdfast-lb/holdfast/dpd/internal/control"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncloop"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
)

var stateNames = [...]string{
	control.StateStarting: "starting", control.StateJoining: "joining", control.StateReady: "ready", control.StateAdmitted: "admitted",
	control.StateDraining: "draining", control.StateDrained: "drained", control.StateFenced: "fenced", control.StateDegraded: "degraded",
}

// member makes this node a member of the cluster and, whenever its life is fenced, a member again.
//
//	starting ──Join──> joining ──conditions met──> ready ──view says so──> admitted ──Drain──> draining ──quiet──> drained
//	    ^                                                                     │
//	    └─── a peer or the view says that this life is over ── fenced <───────┘
func (n *Node) member(ctx context.Context) error {
	if n.cfg.Static != nil {
		return n.static(ctx)
	}
	if len(n.cfg.Control.Coordinators) == 0 {
		n.log.Warn("no coordinator is configured: this node forwards nothing until a control plane gives it a place")
		<-ctx.Done()
		return nil
	}
	tls, err := n.server.clientTLS()
	if err != nil {
		return err
	}
	at, err := dialable(&n.cfg, n.server.listening())
	if err != nil {
		return err
	}
	j := &joiner{cfg: &n.cfg, tls: tls, log: n.log, stored: n.stored, version: Version, address: at}
	var fenced flow.Node
	for {
		a, err := j.join(ctx, fenced)
		// A node that is told to stop while it joins has not failed, whatever join says of it.
		select {
		case <-ctx.Done():
			return nil
		default:
		}
		if err != nil {
			return err
		}
		if err := n.become(ctx, a); err != nil {
			n.log.Error("the place in the cluster can't be taken; joining again", "wait", joinRetryMax, "err", err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(joinRetryMax):
			}
			continue
		}
		select {
		case <-ctx.Done():
			n.leave(j)
			return nil
		case fenced = <-n.rejoin:
			n.log.Warn("this life is over; joining again", "id", fenced.ID, "incarnation", fenced.Inc)
		}
	}
}

// become takes on the life that the coordinator gave.
func (n *Node) become(ctx context.Context, a assignment) error {
	if err := n.attend(ctx); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if a.membership.View < n.view.View {
		return fmt.Errorf("%w: the coordinator's is %d, in force is %d", control.ErrStaleView, a.membership.View, n.view.View)
	}
	// Whatever their generation: a cluster that spreads by another key is another cluster.
	if err := n.spreadsBy(a.keys.RSS); err != nil {
		return err
	}
	before := n.state
	n.state = control.StateJoining
	if a.keys.Generation > n.keys.Generation {
		if err := n.useKeys(ctx, a.keys); err != nil {
			n.state = before
			return err
		}
	}
	n.log.Info("joined", "id", a.membership.Self.Life.ID, "incarnation", a.membership.Self.Life.Inc, "view", a.membership.View)
	if err := n.useView(ctx, a.membership); err != nil {
		n.state = before
		return err
	}
	return nil
}

// static runs a node by its own file: one member, no sync.
func (n *Node) static(ctx context.Context) error {
	s := n.cfg.Static
	m, c := staticMembership(s, n.cfg.Sync.Port), staticConfig(s)
	inc := max(n.stored.value+1, uint64(time.Now().UnixMilli()))
	if err := n.stored.set(inc); err != nil {
		return err
	}
	m.Self.Life.Inc = inc
	m.Members[0].Life.Inc = inc
	for i := range m.Blocks {
		if m.Blocks[i].Holder.ID == s.NodeID {
			m.Blocks[i].Holder.Inc = inc
		}
	}
	n.mu.Lock()
	n.state = control.StateJoining
	err := n.useView(ctx, m)
	n.mu.Unlock()
	if err != nil {
		return err
	}
	if _, err := n.ApplyConfig(ctx, c); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// observation is what the watcher saw last.
type observation struct {
	at       int64   // unix milliseconds of the sync thread
	offsets  []int64 // of the clocks of peers that are heard
	peers    []control.Peer
	bulk     []control.Bulk
	hello    bool // every live member answered HELLO
	stock    bool
	complete bool
	late     time.Time // when the detector itself was late last
	owned    uint64
	held     uint64
	blocks   []control.BlockUse
	counted  time.Time // when the count of blocks began
	relayed  []control.RelayedUse
	heard    time.Time // when relayed was read
	backends []control.Backend
	hold     string // why the guard holds the routes back
}

const (
	watchEvery   = 20 * time.Millisecond
	lateAfter    = 50 * time.Millisecond
	lateCounts   = time.Second
	slowEvery    = time.Second // counts and passive health
	retellEvery  = 500 * time.Millisecond
	watchTimeout = 2 * time.Second
)

// watch looks at the links, the workers and the routes until ctx ends, and moves the node's state on.
func (n *Node) watch(ctx context.Context) {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	_, last := n.clock() // in which a suspension shows
	slow := time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		now := time.Now()
		_, at := n.clock()
		late := at-last > (watchEvery + lateAfter).Milliseconds()
		last = at
		if now.Sub(slow) >= slowEvery {
			slow = now
			n.count(ctx)
		}
		n.links(ctx, now, late)
	}
}

// links reads the sync machine.
func (n *Node) links(ctx context.Context, now time.Time, late bool) {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	var o observation
	var fenced, have bool
	var life flow.Node
	n.mu.Lock()
	own, bits, digest := n.life, n.stateBits(), configDigest(&n.config)
	n.mu.Unlock()
	if err := n.loop.Do(ctx, func(l *syncloop.Loop) {
		s := l.Sync()
		if s == nil {
			return
		}
		if s.Self() == own { // said at each change, too; whoever was too busy then hears it now
			s.SetState(bits)
			s.SetConfigDigest(digest)
		}
		have, fenced, life = true, s.Fenced(), s.Self()
		s.SetWall(n.walling.Ahead())
		if n.walling.sync != n.walling.stalls {
			n.walling.sync = n.walling.stalls
			s.Stall(l.Now())
		}
		if !s.Frozen() {
			n.thaw(s)
		}
		o.at = l.Now()
		o.stock, o.complete = s.Ready()
		for _, p := range s.Status(l.Now(), nil) {
			o.add(&p)
		}
	}); err != nil || !have {
		return
	}
	n.tellRoutes()
	n.mu.Lock()
	defer n.mu.Unlock()
	if life != n.life {
		return // seen before this life began
	}
	o.hold = n.holding()
	before := n.seen
	o.owned, o.held, o.backends = before.owned, before.held, before.backends
	o.blocks, o.counted, o.relayed, o.heard = before.blocks, before.counted, before.relayed, before.heard
	if o.late = before.late; late {
		o.late = now
	}
	n.seen = o
	n.followWall(o.offsets)
	if verdict := n.timing; !late && n.timing.Step(o.at, clock.Median(o.offsets)) && !n.clockTurned(ctx) {
		n.timing = verdict // the next look tries again
	}
	if fenced && n.state != control.StateFenced {
		n.fence(ctx)
	}
	if n.step() || !sameLinks(&before, &o) {
		n.notify()
	}
}

// thaw lets workers that stood still open sessions again, once a member has echoed a PROBE, or the coordinator has given
// a view, that was sent after the worker went on. It runs on the sync thread.
func (n *Node) thaw(s *syncer.Sync) {
	for _, w := range n.workers {
		if since := w.Resumed(); since != 0 && (s.Answered(since) || n.vouched.Load() > since) {
			w.Post(func(w *worker.Worker) { w.Unfreeze(since) }) // if the mailbox is full, the next look tries again
		}
	}
}

// clockTurned stops opening sessions, or begins again, by the verdict on this node's clock; false if a worker didn't hear of it.
func (n *Node) clockTurned(ctx context.Context) bool {
	n.log.Warn("this node's clock against the median of its peers' and its own", "off", n.timing.Off, "ms", clock.Median(n.seen.offsets))
	if err := n.allow(ctx); err != nil {
		n.log.Error("workers were not told whether they may open sessions", "err", err)
		return false
	}
	n.notify()
	return true
}

// fence stops allocating, withdraws, and has member join again under a new incarnation.
func (n *Node) fence(ctx context.Context) {
	n.log.Warn("peers or the coordinator say that this life is over", "id", n.life.ID, "incarnation", n.life.Inc)
	n.state = control.StateFenced
	if err := n.allow(ctx); err != nil {
		n.log.Error("workers were not told to stop opening sessions", "err", err)
	}
	n.announceNow()
	select {
	case n.rejoin <- n.life:
	default:
	}
}

// step moves the state on and announces what it asks for; it reports a change.
func (n *Node) step() bool {
	before, routing := n.state, n.routing()
	switch n.state {
	case control.StateJoining, control.StateReady, control.StateAdmitted, control.StateDegraded:
		switch n.view.Self.State {
		case control.Admitted:
			if n.state = control.StateAdmitted; n.timing.Off {
				n.state = control.StateDegraded
			}
		case control.Degraded:
			n.state = control.StateDegraded
		case control.Draining:
			n.state = control.StateDraining
		default:
			rest := n.holding() == "" && !slices.ContainsFunc(n.conditions(), func(c control.Condition) bool {
				return !c.Met && c.Type != control.ConditionRoutes
			})
			n.proving.start(rest)
			if n.state = control.StateJoining; rest && n.unproved() == "" {
				n.state = control.StateReady
			}
		}
	case control.StateDraining:
		if !n.drain.IsZero() && time.Now().After(n.drain) {
			n.state = control.StateDrained
		}
	}
	if n.state == before {
		if n.routing() != routing || time.Since(n.told) >= retellEvery {
			n.announceNow() // what failed is tried again
		}
		n.prove()
		return false
	}
	n.announceNow()
	n.prove()
	n.log.Info("state", "from", stateNames[before], "to", stateNames[n.state], "view", n.view.View)
	n.tellPeers()
	return true
}

// stateBits are what probes say of the state.
func (n *Node) stateBits() uint8 {
	switch n.state {
	case control.StateAdmitted:
		return syncwire.ProbeReady
	case control.StateDegraded:
		return syncwire.ProbeReady | syncwire.ProbeDegraded
	case control.StateDraining, control.StateDrained:
		return syncwire.ProbeDraining
	}
	return 0
}

// tellPeers puts the state into the probes.
func (n *Node) tellPeers() {
	bits := n.stateBits()
	ctx, cancel := context.WithTimeout(context.Background(), applyTimeout)
	defer cancel()
	if err := n.loop.Do(ctx, func(l *syncloop.Loop) {
		if s := l.Sync(); s != nil {
			s.SetState(bits)
		}
	}); err != nil {
		n.log.Warn("peers were not told the state; the next look at the links does it", "err", err)
	}
}

// conditions are what must hold before admission.
func (n *Node) conditions() []control.Condition {
	c := func(t control.ConditionType, met bool, detail string) control.Condition {
		if met {
			detail = ""
		}
		return control.Condition{Type: t, Met: met, Detail: detail}
	}
	alone := len(n.view.Members) <= 1 || !n.cfg.Sync.Enabled
	free, accepted := n.freeToAllocate(), n.view.StockAccepted
	return []control.Condition{
		c(control.ConditionKeys, n.keys.Generation > 0 || n.cfg.Static != nil, "no cluster keys were applied"),
		c(control.ConditionMembership, n.life != (flow.Node{}), "no view was applied"),
		c(control.ConditionConfig, n.config.Revision > 0, "no configuration was applied"),
		c(control.ConditionHello, alone || accepted || n.seen.hello, "a live member has not answered HELLO"),
		c(control.ConditionStock, alone || accepted || n.seen.stock, "a live member has not begun its bulk, or less than 70 % of the stock is here"),
		c(control.ConditionAllocation, alone || free || n.seen.complete, "no block may be allocated from, and a member has not ended its bulk"),
		c(control.ConditionRoutes, n.unproved() == "", n.unproved()),
	}
}

func (n *Node) freeToAllocate() bool {
	for _, b := range n.view.Blocks {
		if b.Holder == n.life && b.Allocatable {
			return true
		}
	}
	return false
}
