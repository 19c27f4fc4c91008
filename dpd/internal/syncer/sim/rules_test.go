package sim

import (
	"maps"

	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
)

func init() { maps.Copy(scenarios, ruleScenarios) }

// ruleScenarios are runs that only one rule of the receiver, the owner or the view decides.
var ruleScenarios = map[string]scenario{
	// The server's RST passes node 2, whose words do not reach the owner, node 1. Node 1 then tells a newer version that knows
	// nothing of it. Node 2 takes the session over when node 1 is gone, and ends it.
	"what passed here is not forgotten for a newer version": {
		options{nodes: 3, clients: 1, est: 120},
		func(w *world) {
			c := w.client(0, w.nodes[0], w.nodes[1]).quietly()
			c.talk(flow.Out, 300)
			w.cut(2, 1, true)
			c.emit(flow.Out, conntrack.RST|conntrack.ACK, 0)
			w.run(20)
			c.emit(flow.In, conntrack.FIN|conntrack.ACK, 0)
			w.run(20)
			w.coord.crash(w.nodes[0])
			w.run(450) // node 1 is suspected, and still in the view
			c.path = [2]*node{w.nodes[1], w.nodes[1]}
			c.emit(flow.In, conntrack.ACK, 0)
			w.run(20)
			c.end("reset")
			w.run(8_000)
			w.allClosed(c)
		},
	},
	// Packets pass node 2 alone, which tells only the owner, node 1. Node 3 knows of the sessions that it adopts from node 1 no more
	// than that they were opened long ago.
	"who adopts a session does not age it by what it saw itself": {
		options{nodes: 3, clients: 7, est: 12},
		func(w *world) {
			begin := w.now
			var all []*conn
			for _, i := range []int{0, 1, 2, 4, 5, 6} {
				all = append(all, w.client(i, w.nodes[0], w.nodes[1]).quietly())
			}
			w.run(begin + 8_000 - w.now)
			for _, c := range all {
				c.emit(flow.Out, conntrack.ACK, 10)
			}
			w.run(100)
			w.coord.crash(w.nodes[0])
			w.run(begin + 15_000 - w.now)
			for _, c := range all {
				w.allHold(c, 0)
			}
		},
	},
	// Sessions aged, and their owner is gone before their tombstones are. Someone must speak for these.
	"what aged is forgotten in time although its owner is gone": {
		options{nodes: 3, clients: 5, est: 5},
		func(w *world) {
			var all []*conn
			for _, i := range []int{0, 1, 2, 4} {
				all = append(all, w.client(i, w.nodes[0], w.nodes[0]).quietly())
			}
			w.run(7_000)
			for _, c := range all {
				w.allHold(c, flow.SoftTomb)
			}
			w.coord.crash(w.nodes[0])
			w.run(20_000)
			for _, n := range w.living() {
				n.each(func(x *flow.Session) {
					w.violate("node %d still has %s %s", n.id, short(x.Orig, x.Reply),
						version(x.Birth, x.Term, x.Owner, x.Ver, x.Flags))
				})
			}
		},
	},
	// A packet revives an aged session on a node that is less than the owner in the order of versions. Its word must beat the AGE as
	// it is, without a refutation.
	"a revival needs no second word": {
		options{nodes: 3, clients: 1, est: 5, off: syncer.NoRefute},
		func(w *world) {
			c := w.client(0, w.nodes[2], w.nodes[2]).quietly()
			w.run(7_000)
			w.allHold(c, flow.SoftTomb)
			c.path = [2]*node{w.nodes[0], w.nodes[0]}
			c.emit(flow.In, conntrack.ACK, 10)
			w.run(1_000)
			w.allHold(c, 0)
		},
	},
	// The client's last ACK is lost. When the session's time is over, the server repeats its FIN.
	"a FIN that nobody acknowledged may come again": {
		options{nodes: 3, clients: 1, est: 120},
		func(w *world) {
			c := w.client(0, w.nodes[0], w.nodes[0]).quietly()
			w.run(500)
			c.emit(flow.In, conntrack.FIN|conntrack.ACK, 0)
			w.run(20)
			c.emit(flow.Out, conntrack.FIN|conntrack.ACK, 0)
			w.run(9_000)
			w.allHold(c, flow.SoftTomb)
			c.next[flow.Out]--
			c.emit(flow.Out, conntrack.FIN|conntrack.ACK, 0)
			w.run(20)
			if c.last < w.now-20 {
				w.violate("the FIN did not come through")
			}
		},
	},
	// Node 1 stands still, and is removed from the view meanwhile. What its peers said before waits in its socket, with echoes of its
	// last PROBEs.
	"who stood still opens nothing before it is answered": {
		options{nodes: 3, clients: 1, est: 120},
		func(w *world) {
			n := w.nodes[0]
			w.coord.pause(n, 2_000)
			w.run(2_000)
			if !n.zombie || n.paused {
				w.violate("node 1 was not removed, or did not go on")
			}
			c := w.dial(0, n, n)
			w.run(2)
			if _, _, ok := n.find(c.bucket, &c.orig); ok {
				w.violate("node 1 opened a session on a port that may be another's")
			}
			c.end("not of interest")
		},
	},
	// A view that still names node 1 overtakes nothing: node 2 has the later one. Nobody may wait for node 1 again.
	"a view that comes late brings nobody back": {
		options{nodes: 3, clients: 5, est: 10},
		func(w *world) {
			for _, i := range []int{0, 1, 2, 4} {
				w.client(i, w.nodes[0], w.nodes[0]).quietly()
			}
			n, dead := w.nodes[1], w.nodes[0].node()
			late := syncer.View{Epoch: w.coord.epoch, Self: n.node(), Members: append([]syncer.Member(nil), w.coord.members...)}
			w.coord.crash(w.nodes[0])
			w.run(2_000)
			n.setView(&late)
			w.run(1_000)
			for _, s := range n.shards {
				if s.Repairing(dead) {
					w.violate("worker %d of node 2 repairs what node 1 has, which is gone", s.i)
				}
			}
			w.drainAll()
		},
	},
}

// allClosed demands that the session of a connection was closed, and that no node has it any more.
func (w *world) allClosed(c *conn) {
	if !w.closed[life{c.birth, c.orig, c.reply}] {
		w.violate("conn %d was not closed", c.id)
	}
	for _, n := range w.living() {
		if x, _, ok := n.find(c.bucket, &c.reply); ok {
			w.violate("node %d: conn %d is %s", n.id, c.id, version(x.Birth, x.Term, x.Owner, x.Ver, x.Flags))
		}
	}
}

// allHold demands that every node holds the session of a connection, as the tombstone that is said, or alive.
func (w *world) allHold(c *conn, tomb flow.Flags) {
	for _, n := range w.living() {
		x, _, ok := n.find(c.bucket, &c.reply)
		if !ok || x.Reply != c.reply || x.Flags&flow.Tomb != tomb {
			w.violate("node %d: conn %d is %s, want the tombstone %x", n.id, c.id, version(x.Birth, x.Term, x.Owner, x.Ver, x.Flags), tomb)
		}
	}
}
