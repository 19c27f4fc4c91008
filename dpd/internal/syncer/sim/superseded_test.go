package sim

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
)

func init() {
	// The clock of node 1 is ahead, so what it opened and closed has a higher birth than the
	// client's next connection, which node 2 opens while it hears nothing. The others hold that one
	// as reply-only, and node 2 hears so when the first is long over.
	scenarios["a connection that others hold for superseded goes on where its successor never came"] = scenario{
		options{nodes: 3, clients: 1, est: 120},
		func(w *world) {
			w.nodes[0].stop()
			w.nodes[0].skew = 450
			w.coord.join(w.nodes[0])
			w.joined(w.nodes[0])
			w.run(1_000)
			w.deafen(2, true)
			a := w.client(0, w.nodes[0], w.nodes[0]).quietly()
			a.finish(in)
			b := w.client(0, w.nodes[1], w.nodes[1]).quietly()
			w.run(9_000)
			b.path[out] = w.nodes[2]
			b.talk(out, 300)
			w.deafen(2, false)
			w.run(3_000)
			for _, n := range w.nodes {
				if x, _, ok := n.find(b.bucket, &b.reply); !ok || x.Flags&flow.ReplyOnly == 0 {
					w.violate("node %d: no reply-only record: %s", n.id, version(x.Birth, x.Term, x.Owner, x.Ver, x.Flags))
				}
			}
			for _, n := range w.nodes { // where its successor was, a QUERY brings it back to its client
				b.path[in] = n
				for range 2 {
					b.talk(in, 100)
				}
				if b.last < w.now-150 || !n.maps(b, in) {
					w.violate("the client's packets don't pass node %d", n.id)
				}
			}
		},
	}
	// Node 3 holds a client's first connection as reply-only and can't hear of the second from who
	// owns it. Its packets are the second one's: the others are asked, and tell.
	scenarios["the client of a reply-only session brings the later one to a node that lacks it"] = scenario{
		options{nodes: 3, clients: 1, est: 120, off: syncer.NoDigest},
		func(w *world) {
			w.deafen(3, true)
			a, b := w.moved()
			w.cut(1, 3, false)
			w.run(300)
			n := w.nodes[2]
			if x, d, ok := n.find(a.bucket, &a.orig); !ok || d != in || x.Reply != a.reply || x.Flags&flow.ReplyOnly == 0 {
				w.violate("node 3 doesn't have the first session: %s", version(x.Birth, x.Term, x.Owner, x.Ver, x.Flags))
			}
			b.path[in] = n
			b.emit(in, conntrack.ACK, 10)
			w.run(50)
			w.expect(n, b, true)
			b.last = 0
			b.emit(in, conntrack.ACK, 10)
			w.run(50)
			if b.last == 0 {
				w.violate("the client's packets don't pass node 3")
			}
		},
	}
}
