package sim

import (
	"slices"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// Bounds, in milliseconds, of what may last while nothing goes wrong.
const (
	longestRepair = 10_000 // of the doubts of one worker about one member
	longestLink   = 3_000  // until both ends believe each other and hear each other
	longestJoin   = 15_000 // until a node that runs is admitted
	longestClaim  = 5_500  // until a new life of a node has, or gives up, the word of members
	longestTomb   = 12_500 // of what ended, where its owner lives and every member is healthy
	longestOld    = 66_000 // of what ended before, or whose owner is gone: digests tell after a minute
)

// lasting names something that lasts: what it is, on which node and worker, towards which node.
type lasting struct {
	what         string
	node, worker int
	to           flow.Node
}

// watchLong looks at all that lasts, each 100 ms from now on.
func (w *world) watchLong() {
	began, since := w.now, map[lasting]int64{}
	owners := w.coord.inc == uint64(w.opt.nodes) // all live the life that they began with
	lasts := func(k lasting, is bool, most int64) {
		if !is {
			delete(since, k)
			return
		}
		if since[k] == 0 {
			since[k] = w.now
		}
		if ms := w.now - since[k]; ms > most {
			w.violate("I9 node %d, worker %d: %s of node %d.%d lasts for %d ms", k.node, k.worker, k.what, k.to.ID, k.to.Inc, ms)
		}
	}
	var look func()
	look = func() {
		w.after(100, look)
		l := w.living()
		if slices.ContainsFunc(l, func(n *node) bool { return n.paused || n.zombie }) {
			began = w.now // peace has not come yet
			clear(since)
			return
		}
		for _, n := range l {
			id := int(n.id)
			lasts(lasting{"the joining", id, 0, n.node()}, !n.admitted, longestJoin)
			for _, p := range n.sync.Status(n.now(), nil) {
				lasts(lasting{"the linking", id, 0, p.Node}, !p.Linked || p.Suspected, longestLink)
				for _, s := range n.shards {
					lasts(lasting{"the repair", id, s.i, p.Node}, s.Repairing(p.Node), longestRepair)
				}
			}
			for _, s := range n.shards {
				lasts(lasting{"the claiming", id, s.i, n.node()}, !s.Claimed(n.now()), longestClaim)
				closed, aged := s.OldestTomb()
				if oldest := max(closed, aged); oldest > longestOld || owners && oldest > longestTomb && oldest < w.now-began {
					w.violate("I9 node %d, worker %d: something that ended is remembered for %d ms", n.id, s.i, oldest)
				}
			}
		}
	}
	look()
}
