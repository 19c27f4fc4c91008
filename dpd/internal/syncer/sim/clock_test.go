package sim

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/clock"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
)

// watcher is what follows a node's clocks: the real rule over the clocks of its machine.
type watcher struct {
	wall  clock.Wall
	guard clock.Guard
	lag   int64 // of node time, since the machine stood still unseen
	wrong int64 // realtime minus what it ought to be
	seen  int64
	list  []syncer.PeerStatus
}

const watchEvery = 20

// watchClocks does what the watcher of a data plane does each 20 ms.
func (n *node) watchClocks() {
	c, now := &n.clocks, n.now()
	if !n.w.opt.clocks || now-c.seen < watchEvery {
		return
	}
	c.seen = now
	n.sync.SetWall(c.wall.Ahead())
	var peers []int64
	c.list = n.sync.Status(now, c.list[:0])
	for i := range c.list {
		if p := &c.list[i]; p.Linked && !p.Suspected && p.Timed {
			peers = append(peers, p.Offset)
		}
	}
	if c.wall.Step(now, n.w.now+n.skew+c.wrong, peers) {
		n.w.logf("node %d: realtime jumped ahead", n.id)
		n.sync.Stall(now)
	}
	if c.guard.Step(now, clock.Median(peers)) {
		n.w.logf("node %d: clock off %v, wall time %d ms ahead", n.id, c.guard.Off, c.wall.Ahead())
	}
	n.sync.SetWall(c.wall.Ahead())
	for _, s := range n.shards {
		s.SetWall(c.wall.Ahead())
	}
}

// clockOne makes the clocks of one node wrong for a while, or stops its machine with all of them.
func (w *world) clockOne() {
	r := w.routable()
	if len(r) < 2 || w.quiet {
		return
	}
	n := r[w.rng.IntN(len(r))]
	switch w.rng.IntN(4) {
	case 0:
		w.stepClock(n, 3_600_000, 1_000+w.rng.Int64N(10_000))
	case 1:
		w.stepClock(n, -3_600_000, 1_000+w.rng.Int64N(10_000))
	case 2:
		w.stepClock(n, w.rng.Int64N(1_000)-500, 1_000+w.rng.Int64N(10_000))
	default:
		w.coord.stop(n, 500+w.rng.Int64N(9_000), 1_000+w.rng.Int64N(8_000))
	}
}

// stepClock makes realtime wrong for a while.
func (w *world) stepClock(n *node, by, ms int64) {
	w.logf("node %d: realtime is wrong by %d ms", n.id, by)
	n.clocks.wrong = by
	life := n.life
	w.after(ms, func() {
		if n.life == life {
			w.logf("node %d: realtime is right", n.id)
			n.clocks.wrong = 0
		}
	})
}

// stop is a pause that no clock of the node shows. NTP sets its realtime some time after.
func (c *coordinator) stop(n *node, ms, ntp int64) {
	life := n.life
	c.w.after(ms, func() { // before it goes on: equal times happen in this order
		if n.life == life {
			n.clocks.lag += ms
			n.clocks.wrong -= ms
		}
	})
	n.kept = c.w.chance(0.5) // as when the coordinator is away, or has removed enough
	c.pause(n, ms)
	c.w.after(ms+ntp, func() {
		if n.life == life {
			c.w.logf("node %d: NTP sets its clock", n.id)
			n.clocks.wrong = 0
		}
	})
}

// setClocks ends what is wrong with clocks.
func (w *world) setClocks() {
	for _, n := range w.nodes {
		n.clocks.wrong = 0
	}
}

// checkClocks is invariant 7: trouble with clocks leaves nothing behind, and no session is born
// ahead of its time. stale is what each node had refused as stale some seconds ago.
func (w *world) checkClocks(stale map[*node]uint64) {
	for _, n := range w.living() {
		if !w.opt.clocks {
			return
		}
		if n.clocks.guard.Off {
			w.violate("I7 node %d: its clock is off, wall time is %d ms ahead of node time, that %d ms behind", n.id, n.clocks.wall.Ahead(), n.clocks.lag)
		}
		if d := n.sync.Count[syncer.SyncStale] - stale[n]; d != 0 {
			w.violate("I7 node %d refuses datagrams as stale: %d", n.id, d)
		}
	}
	w.checkBirths()
}

// checkBirths demands that no node holds a session that is born more than the greatest step ahead
// that is let pass.
func (w *world) checkBirths() {
	for _, n := range w.living() {
		n.each(func(x *flow.Session) {
			if ahead := int64(x.Birth>>16) - w.now; ahead > 500+w.opt.skew {
				w.violate("I7 node %d holds %s, born %d ms ahead", n.id, short(x.Orig, x.Reply), ahead)
			}
		})
	}
}

// stale is what each node has refused as stale.
func (w *world) stale() map[*node]uint64 {
	m := map[*node]uint64{}
	for _, n := range w.living() {
		m[n] = n.sync.Count[syncer.SyncStale]
	}
	return m
}
