package campaign

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/holdfast-lb/holdfast/dpd/bench/mesh"
	"github.com/holdfast-lb/holdfast/dpd/internal/clock"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncloop"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncseal"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
	"github.com/holdfast-lb/holdfast/services/sync-coordinator/membership"
)

type flowKey = flow.Key

// node is what dpd/node does between threads and coordinator, in short: it joins, puts views in force, reports, and
// becomes another life when its own is over.
type node struct {
	w        *world
	i        int
	mesh     *mesh.Node // nil: no process
	process  int
	stopped  bool
	life     flow.Node
	stored   uint64 // incarnation on its disk
	word     membership.State
	view     uint64 // in force
	keys     uint64 // generation
	serving  bool   // by the view in force
	over     bool   // this life is over
	sick     bool   // it never gets what it needs to be admitted
	lost     int64  // until then its gRPC is lost
	up       bool   // the coordinator knows that its gRPC stands
	shift    int64  // realtime is wrong by so much
	wall     clock.Wall
	fencedAt map[flow.Node]int64
	vouched  int64
}

func (n *node) name() string { return fmt.Sprintf("lb-%d", n.i) }

func (n *node) start() {
	w := n.w
	if n.mesh != nil || w.broken != "" {
		return
	}
	m, err := w.mesh.Start(n.i)
	if err != nil {
		w.violate("node %d: %v", n.i, err)
		return
	}
	n.process++
	*n = node{w: w, i: n.i, mesh: m, process: n.process, stored: n.stored, shift: n.shift, fencedAt: map[flow.Node]int64{}}
	if !w.peace && w.opt.sick > 0 && w.total.kills > 0 && w.chance(0.2) {
		w.total.sick++
		n.sick = true
		w.after(70_000, func() { n.sick = false })
	}
	w.logf("node %d starts, sick %v", n.i, n.sick)
	p := n.process
	n.every(p, 20, n.look)
	n.every(p, 200, n.report)
	n.join(p)
}

// every has f done each so many milliseconds while the process lives and runs.
func (n *node) every(p int, ms int64, f func()) {
	n.w.after(ms, func() {
		if n.process != p || n.mesh == nil {
			return
		}
		if !n.stopped {
			f()
		}
		n.every(p, ms, f)
	})
}

// join asks for a life until there is one.
func (n *node) join(p int) {
	w := n.w
	w.after(20+w.below(100), func() {
		if n.process != p || n.mesh == nil {
			return
		}
		if n.stopped || w.now < n.lost {
			n.join(p)
			return
		}
		got, err := w.coord.join(n)
		if err != nil {
			w.after(1_000, func() { n.join(p) })
			return
		}
		n.life, n.over, n.up = flow.Node{ID: got.ID, Inc: got.Inc}, false, false
		n.stored = got.Inc
		w.logf("node %d is %d.%d", n.i, got.ID, got.Inc)
		n.take(w.coord.stored)
		w.after(30, func() { w.coord.control(n, true) })
	})
}

func (n *node) kill() {
	w := n.w
	w.logf("node %d dies", n.i)
	if err := w.mesh.Kill(n.i); err != nil {
		w.violate("node %d: %v", n.i, err)
	}
	life := n.life
	n.mesh, n.serving, n.stopped, n.up = nil, false, false, false
	w.after(30+w.below(300), func() { w.coord.lose(life) })
}

// pause stops all threads; clock says that the node's clock stands still, too.
func (n *node) pause(ms int64, clock bool) {
	w := n.w
	w.logf("node %d stands still for %d ms, its clock too: %v", n.i, ms, clock)
	n.stopped = true
	n.mesh.Stop(true)
	p, began := n.process, w.now
	w.after(2_000, func() {
		if n.process == p && n.stopped && w.now-began >= 2_000 {
			w.coord.control(n, false)
		}
	})
	w.after(ms, func() {
		if n.process != p || n.mesh == nil {
			return
		}
		w.logf("node %d goes on", n.i)
		n.stopped = false
		n.mesh.Stop(false)
		if clock {
			n.mesh.Stood += ms
		}
		w.after(50, func() { w.coord.control(n, true) })
	})
}

func (n *node) loseControl(ms int64) {
	w := n.w
	w.logf("node %d: gRPC lost for %d ms", n.i, ms)
	n.lost = w.now + ms
	p := n.process
	w.coord.control(n, false)
	w.after(ms, func() {
		if n.process == p {
			w.coord.control(n, true)
		}
	})
}

// self is this node in the view in force.
func (n *node) self() *membership.Node { return n.word.Node(n.life.ID) }

// take puts a view in force.
func (n *node) take(s membership.State) {
	w := n.w
	x := s.Node(n.life.ID)
	if n.mesh == nil || n.over || x == nil || s.View < n.view || s.View == n.view && s.Keys.Generation == n.keys {
		return
	}
	if x.Inc != n.life.Inc || !x.Member() {
		if !w.mut.deaf {
			n.fence("the coordinator")
		}
		return
	}
	n.vouched = w.now - n.mesh.Stood
	n.word, n.view = s, s.View
	v := mesh.Word{View: syncer.View{Epoch: s.View, Self: n.life}, DigestKey: [16]byte(s.Keys.Digest)}
	fencedAt := map[flow.Node]int64{}
	for i := range s.Nodes {
		m := &s.Nodes[i]
		if m.Member() {
			v.View.Members = append(v.View.Members, syncer.Member{
				Node: flow.Node{ID: m.ID, Inc: m.Inc}, Admitted: m.Phase == membership.Admitted,
				Degraded: m.Phase == membership.Admitted && m.Degraded != membership.CauseNone, Draining: m.Phase == membership.Draining,
				Sync: [2]netip.AddrPort{netip.AddrPortFrom(m.Sip4, m.SyncPort)},
			})
		}
		if f := (flow.Node{ID: m.ID, Inc: m.Fenced}); f.Inc > 0 {
			if fencedAt[f] = w.now; n.fencedAt[f] != 0 {
				fencedAt[f] = n.fencedAt[f]
			}
		}
	}
	n.fencedAt = fencedAt
	for i := range s.Blocks {
		b := &s.Blocks[i]
		if u, ok := syncer.MakeBlock(b.ID, b.Addresses); ok {
			v.Uses = append(v.Uses, u)
		}
		mine := b.Holder == n.life.ID && b.HolderInc == n.life.Inc
		if mine && s.MayAllocate(b) {
			v.Blocks = append(v.Blocks, b.Addresses...)
		}
	}
	v.Allocate = x.Phase == membership.Admitted && x.Degraded == membership.CauseNone && len(v.Blocks) > 0
	serving := x.Phase == membership.Admitted
	v.Flush = serving && !n.serving
	n.serving = serving
	if s.Keys.Generation != n.keys {
		n.keys = s.Keys.Generation
		v.Active = uint16(s.Keys.Active)
		for _, k := range s.Keys.Keys {
			v.Keys = append(v.Keys, syncseal.Key{ID: uint16(k.ID), Secret: [32]byte(k.Secret)})
		}
		life, generation := n.life, n.keys
		n.mesh.DoSync(func(*syncloop.Loop) { w.after(20, func() { w.coord.applied(life, generation) }) })
	}
	n.mesh.Take(v, len(v.View.Members) > 1)
	w.logf("node %d: view %d, %s %s, allocates %v", n.i, s.View, x.Phase, x.Degraded, v.Allocate)
}

// fence ends this life; the process goes on and joins as another one.
func (n *node) fence(by string) {
	w := n.w
	w.logf("node %d: %s says that %d.%d is over", n.i, by, n.life.ID, n.life.Inc)
	w.total.fenced++
	n.over, n.serving, n.up = true, false, false
	n.mesh.Refuse()
	n.join(n.process)
}

// look is what dpd/node does each 20 ms.
func (n *node) look() {
	s := n.mesh.Loop.Sync()
	if s == nil || s.Self() != n.life || n.mesh.Still[len(n.mesh.Workers)] {
		return
	}
	if s.Fenced() && !n.over && !n.w.mut.deaf {
		n.fence("a peer")
		return
	}
	bits := uint8(0)
	if n.serving {
		bits = syncwire.ProbeReady
	}
	s.SetState(bits)
	n.follow(s)
	if !s.Frozen() {
		for i, x := range n.mesh.Workers {
			if since := x.Resumed(); since != 0 && (s.Answered(since) || n.vouched+firstWall > since) {
				n.mesh.Do(i, func(x *worker.Worker) { x.Unfreeze(since) })
			}
		}
	}
}

const firstWall = 1_700_000_000_000

// follow brings wall time to where realtime and peers agree.
func (n *node) follow(s *syncer.Sync) {
	now := n.mesh.Loop.Now()
	var off []int64
	for _, p := range s.Status(now, nil) {
		if p.Linked && !p.Suspected && p.Timed {
			off = append(off, p.Offset)
		}
	}
	before := n.wall.Ahead()
	stood := n.wall.Step(now, firstWall+n.w.now+n.shift, off)
	ahead := n.wall.Ahead()
	s.SetWall(ahead)
	if stood {
		s.Stall(now)
	}
	if ahead != before || stood {
		for i := range n.mesh.Workers {
			n.mesh.Do(i, func(x *worker.Worker) {
				x.SetWall(ahead)
				if stood {
					x.Stall()
				}
			})
		}
	}
}

// report is the node's status, as the coordinator reads it.
func (n *node) report() {
	w := n.w
	s := n.mesh.Loop.Sync()
	if n.over || s == nil || s.Self() != n.life || w.now < n.lost || n.view == 0 || !n.up {
		return
	}
	now := n.mesh.Loop.Now()
	r := membership.Report{Node: n.life.ID, Inc: n.life.Inc, View: n.view}
	hello := true
	for _, p := range s.Status(now, nil) {
		hello = hello && (p.Linked || p.ProbeAge >= 10_000)
		r.Peers = append(r.Peers, membership.PeerReport{
			ID: p.Node.ID, Inc: p.Node.Inc, Suspected: p.Suspected, Greeted: p.Linked, ClockKnown: p.Timed, ClockOffset: p.Offset,
			Equal: p.Linked && !p.Desync && !n.mesh.RepairingLife(p.Node),
		})
		if p.BulkBegun {
			r.Bulk = append(r.Bulk, membership.BulkReport{
				ID: p.Node.ID, Inc: p.Node.Inc, Begun: true, Ended: p.BulkEnded, Expected: p.BulkExpected, Received: p.BulkReceived,
			})
		}
	}
	self := n.self()
	ready, complete := s.Ready()
	alone := n.word.Members() <= 1
	accepted := self.Phase == membership.Ready || self.Serving()
	free := slices.ContainsFunc(n.word.Blocks, func(b membership.Block) bool {
		return b.Holder == n.life.ID && b.HolderInc == n.life.Inc && n.word.MayAllocate(&b)
	})
	for i, ok := range []bool{alone || accepted || hello, alone || accepted || ready, alone || free || complete} {
		if ok {
			r.Met++
		} else {
			r.Missing += fmt.Sprint(" ", i)
		}
	}
	r.Settled = (accepted || r.Met == 3) && !n.sick
	if n.sick {
		r.Met, r.Peers, r.Bulk = 0, nil, nil
	}
	r.Blocks = n.uses()
	for f, at := range n.fencedAt {
		r.Fenced = append(r.Fenced, membership.FenceReport{ID: f.ID, Inc: f.Inc, Age: w.now - at})
	}
	slices.SortFunc(r.Fenced, func(a, b membership.FenceReport) int { return int(a.ID) - int(b.ID) })
	w.coord.report(r)
}

// uses counts what is held of each block.
func (n *node) uses() []membership.BlockReport {
	index := map[netip.Addr]int{}
	var out []membership.BlockReport
	for i, b := range n.word.Blocks {
		out = append(out, membership.BlockReport{ID: b.ID})
		for _, a := range b.Addresses {
			index[a] = i
		}
	}
	n.mesh.Sessions(func(_ int, s *flow.Session) {
		if i, ok := index[s.Reply.Dst().Addr()]; ok {
			if s.Flags&flow.Tomb != 0 {
				out[i].Tombstones++
			} else {
				out[i].Records++
			}
		}
	})
	return out
}
