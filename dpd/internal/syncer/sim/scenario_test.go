package sim

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
)

// scenario is a scripted run. play moves the world; checks run at its end.
type scenario struct {
	opt  options
	play func(w *world)
}

func (s scenario) run(seed uint64, off syncer.Rules) *world {
	opt := s.opt
	opt.off |= off
	if opt.net.delay == 0 {
		opt.net.delay = 2
	}
	w := newWorld(seed, opt)
	defer w.close()
	w.run(1500)
	s.play(w)
	return w
}

// dial lets a client begin a connection with its sides at two nodes.
func (w *world) dial(i int, in, out *node) *conn {
	w.total.opened++
	c := &conn{w: w, id: w.total.opened, client: i, path: [2]*node{in, out}, next: [2]uint32{uint32(w.total.opened) * 100_000, 2000}, last: w.now}
	c.orig, c.bucket = clientKey(i)
	c.udp = c.orig.Proto() == flow.ProtoUDP
	w.conns = append(w.conns, c)
	c.syn()
	w.after(50, c.pump)
	return c
}

// client opens a connection of a client with its sides at two nodes, and waits until it is established.
func (w *world) client(i int, in, out *node) *conn {
	c := w.dial(i, in, out)
	w.run(100)
	for range 40 { // its packets may have to be sent again
		if c.phase == opening {
			w.run(100)
		}
	}
	if c.phase != established && w.broken == "" {
		w.violate("conn %d did not come about", c.id)
	}
	return c
}

// quietly stops the traffic of a connection.
func (c *conn) quietly() *conn {
	c.manual, c.waits = true, 0
	return c
}

// talk lets one end send a packet each 100 ms for a while.
func (c *conn) talk(d flow.Direction, ms int64) {
	for t := int64(0); t < ms; t += 100 {
		c.emit(d, conntrack.ACK, 10)
		c.w.run(100)
	}
}

// finish closes a connection in order, from one side.
func (c *conn) finish(first flow.Direction) {
	c.manual, c.first, c.phase, c.step, c.retries = false, first, closing, 0, 0
	c.close()
	c.w.run(50 + 3*c.think)
	if c.phase != over {
		c.w.violate("conn %d did not close", c.id)
	}
}

// cut stops datagrams one way.
func (w *world) cut(from, to int, yes bool) {
	w.net.cut[[2]uint32{uint32(from), uint32(to)}] = yes
}

// isolate stops all datagrams to a node.
func (w *world) deafen(n int, yes bool) {
	for _, o := range w.nodes {
		if int(o.id) != n {
			w.cut(int(o.id), n, yes)
		}
	}
}

// joined waits until a node is admitted.
func (w *world) joined(n *node) {
	for range 200 {
		if w.run(50); n.admitted {
			return
		}
	}
	w.violate("node %d was not admitted", n.id)
}

func (w *world) settle(ms int64) {
	w.calm()
	w.run(ms)
	w.checkCalm()
}

// expectRecord says what a node must have for a connection.
func (w *world) expect(n *node, c *conn, want bool) {
	if got := n.maps(c, flow.Out); got != want {
		w.violate("node %d has the mapping of conn %d: %v, want %v", n.id, c.id, got, want)
	}
}

// noneOf demands that no node holds a live record of the tuples of a connection that is over.
func (w *world) noneOf(c *conn) {
	for _, n := range w.living() {
		n.each(func(x *flow.Session) {
			if x.Orig == c.orig && x.Reply == c.reply && x.Flags&flow.Tomb == 0 {
				w.violate("node %d: %s %s lives on", n.id, short(x.Orig, x.Reply), version(x.Birth, x.Term, x.Owner, x.Ver, x.Flags))
			}
		})
	}
}

// scenarios by name.
var scenarios = map[string]scenario{
	// The server's packets pass node 2, whose words do not reach the owner, node 1: that ages what is in use.
	"an owner that hears nothing ages a flow that is served elsewhere": {
		options{nodes: 3, clients: 1, est: 40},
		func(w *world) {
			c := w.client(0, w.nodes[0], w.nodes[1]).quietly()
			w.cut(2, 1, true)
			for w.total.aged == 0 && w.broken == "" {
				c.talk(flow.Out, 100)
			}
			w.run(500)
			w.cut(2, 1, false)
			w.settle(30_000)
		},
	},
	// An idle session outlives its owner and ends in time all the same.
	"an orphan is adopted and ends": {
		options{nodes: 3, clients: 2, est: 10},
		func(w *world) {
			a := w.client(0, w.nodes[0], w.nodes[0]).quietly()
			b := w.client(1, w.nodes[0], w.nodes[0]).quietly()
			w.run(500)
			w.coord.crash(w.nodes[0])
			w.run(4_000)
			w.expect(w.nodes[1], a, true)
			w.expect(w.nodes[2], b, true)
			w.drainAll()
		},
	},
	// A node that starts again so fast that nobody noticed owns nothing of what its former self did.
	"a fast restart orphans what the former incarnation owned": {
		options{nodes: 3, clients: 2, est: 10},
		func(w *world) {
			w.client(0, w.nodes[0], w.nodes[0]).quietly()
			w.client(1, w.nodes[0], w.nodes[0]).quietly()
			w.run(500)
			n := w.nodes[0]
			n.stop()
			w.coord.join(n)
			w.run(4_000)
			w.drainAll()
		},
	},
	// While node 2 hears nothing, a session is closed; node 2 then serves a late packet of it and takes it over.
	"a takeover does not undo a CLOSE": {
		options{nodes: 3, clients: 1, est: 120},
		func(w *world) {
			c := w.client(0, w.nodes[0], w.nodes[0]).quietly()
			w.run(500)
			w.deafen(2, true)
			w.run(500)
			c.finish(flow.In)
			w.run(9_000) // TIME_WAIT ends, CLOSE is told
			c.phase, c.path[0] = established, w.nodes[1]
			c.emit(flow.In, conntrack.ACK, 0)
			w.run(20)
			c.phase = over
			w.deafen(2, false)
			w.run(3_000)
			w.noneOf(c)
		},
	},
	// A node that heard nothing for so long that nobody knows what it missed brings a session that was closed meanwhile.
	"a tombstone waits for a member that hears nothing": {
		options{nodes: 3, clients: 1, est: 120, off: syncer.NoGap},
		func(w *world) {
			c := w.client(0, w.nodes[0], w.nodes[0]).quietly()
			w.run(500)
			w.deafen(3, true)
			c.finish(flow.Out)
			w.run(40_000)
			w.deafen(3, false)
			w.run(20_000)
			w.calm()
			w.noneOf(c)
		},
	},
	// A member that is cut off for so long that the others don't wait for it brings a session that they closed and forgot.
	"a CLOSE that all others forgot is told to who missed it": {
		options{nodes: 3, clients: 1, est: 300},
		func(w *world) {
			c := w.client(0, w.nodes[0], w.nodes[0]).quietly()
			w.run(500)
			w.deafen(3, true)
			w.coord.members[2].Degraded = true
			w.coord.publish(0)
			c.finish(flow.Out)
			w.run(90_000)
			for _, n := range w.nodes[:2] {
				n.each(func(x *flow.Session) { w.violate("node %d has not forgotten %s", n.id, short(x.Orig, x.Reply)) })
			}
			w.deafen(3, false)
			w.run(30_000)
			w.noneOf(c)
			w.drainAll()
		},
	},
	// The CLOSE is lost and not asked for: whoever lists the session must be answered with it.
	"a member that missed a CLOSE learns of it from digests": {
		options{nodes: 3, clients: 1, est: 120, off: syncer.NoGap},
		func(w *world) {
			c := w.client(0, w.nodes[0], w.nodes[0]).quietly()
			w.run(500)
			w.deafen(3, true)
			c.finish(flow.Out)
			w.run(15_000)
			w.deafen(3, false)
			w.run(20_000)
			w.calm()
			w.noneOf(c)
		},
	},
	// Nothing passes for ten seconds while sessions come and go; two seconds later all is as if nothing had been.
	"ten seconds of a black hole are mended in two": {
		options{nodes: 3, clients: 12, est: 120},
		func(w *world) {
			old := []*conn{w.client(0, w.nodes[0], w.nodes[1]).quietly(), w.client(1, w.nodes[1], w.nodes[0]).quietly()}
			w.deafen(3, true)
			w.cut(3, 1, true)
			w.cut(3, 2, true)
			w.run(1_000)
			for _, c := range old {
				c.finish(flow.In)
			}
			for i := 4; i < 9; i++ {
				w.client(i, w.nodes[i%2], w.nodes[i%2]).quietly()
			}
			w.run(8_500)
			w.settle(2_000)
		},
	},
	// Loss of 30 %, a tenth twice, a quarter late: equal within two seconds of its end.
	"a bad network is mended in two seconds": {
		options{nodes: 3, clients: 12, est: 120, net: net{loss: 0.3, dup: 0.1, late: 0.25, delay: 4}},
		func(w *world) {
			for i := range 12 {
				w.client(i, w.nodes[i%3], w.nodes[i%3])
			}
			for range 30 {
				w.movePath()
				w.run(200)
			}
			for _, c := range w.conns {
				c.idle = true
			}
			w.run(100)
			w.settle(2_000)
		},
	},
	// Client side and server side run through two nodes, and the server closes first.
	"the server closes first, on another node than the owner": {
		options{nodes: 3, clients: 1, est: 20},
		func(w *world) {
			c := w.client(0, w.nodes[0], w.nodes[1]).quietly()
			w.run(300)
			c.finish(flow.Out)
			w.run(10_000)
			w.noneOf(c)
			w.drainAll()
		},
	},
	// The owner sees one side alone, each side learns of the other's FIN by sync, before it is acknowledged or after, and all of
	// it must end in a CLOSE.
	"sides on two nodes end in a CLOSE, whoever closes first": {
		options{nodes: 3, clients: 6, est: 20},
		func(w *world) {
			var all []*conn
			for i, client := range []int{0, 1, 2, 4} {
				c := w.client(client, w.nodes[i%3], w.nodes[(i+1)%3]).quietly()
				c.talk(flow.Out, 300)
				if i >= 2 {
					c.think = 30
				}
				all = append(all, c)
			}
			for i, c := range all {
				c.finish(flow.Direction(i % 2))
			}
			w.run(9_000)
			for _, c := range all {
				for _, n := range w.living() {
					if x, _, ok := n.find(c.bucket, &c.reply); ok {
						w.violate("node %d: conn %d is not closed: %s bits %x", n.id, c.id, version(x.Birth, x.Term, x.Owner, x.Ver, x.Flags), x.Bits)
					}
				}
			}
			w.drainAll()
		},
	},
	// A session aged while its client still believes in it; the next packet comes to a node that never knew it.
	"a query finds an aged session": {
		options{nodes: 3, clients: 1, est: 5, off: syncer.NoGap},
		func(w *world) {
			w.deafen(3, true)
			c := w.client(0, w.nodes[0], w.nodes[1]).quietly()
			w.run(7_000)
			w.deafen(3, false)
			w.run(1_000)
			w.expect(w.nodes[2], c, false)
			c.path = [2]*node{w.nodes[2], w.nodes[2]}
			c.emit(flow.In, conntrack.ACK, 10)
			w.run(200)
			w.expect(w.nodes[2], c, true)
			if c.last < w.now-200 {
				w.violate("the packet did not come through")
			}
		},
	},
	// Takeovers of both sides at the same moment.
	"two takeovers at once": {
		options{nodes: 3, clients: 1, est: 120},
		func(w *world) {
			c := w.client(0, w.nodes[0], w.nodes[0]).quietly()
			w.run(500)
			w.coord.crash(w.nodes[0])
			c.path = [2]*node{w.nodes[1], w.nodes[2]}
			w.run(300)
			c.emit(flow.In, conntrack.ACK, 10)
			c.emit(flow.Out, conntrack.ACK, 10)
			w.run(100)
			w.settle(2_000)
			w.total.takenOver++
		},
	},
	// A connection whose client gave up opens again from the same port.
	"a SYN on an established session is a new birth": {
		options{nodes: 3, clients: 1, est: 120},
		func(w *world) {
			c := w.client(0, w.nodes[0], w.nodes[0]).quietly()
			w.run(500)
			w.deafen(2, true)
			w.run(400)
			// Node 2 still has the first session when node 1 closes it, and takes it over for the second.
			c.finish(flow.In)
			w.run(9_000)
			d := w.client(0, w.nodes[1], w.nodes[1]).quietly()
			w.deafen(2, false)
			w.run(5_000)
			w.settle(10_000)
			for _, n := range w.living() {
				w.expect(n, d, true)
			}
		},
	},
	// What one lost datagram told is there again at once, not at the next digest.
	"lost datagrams are sent again within 200 ms": {
		options{nodes: 3, clients: 8, est: 120, net: net{loss: 0.3, delay: 2}},
		func(w *world) {
			for i := range 8 {
				w.client(i, w.nodes[0], w.nodes[0]).quietly()
			}
			w.net.loss = 0
			w.run(300)
			w.checkCalm()
		},
	},
	// A lower life of a tuple comes late: its sender must learn of the higher one.
	"who brings a lower birth learns of the higher": {
		options{nodes: 3, clients: 1, est: 120},
		func(w *world) {
			_, b := w.moved()
			w.expect(w.nodes[0], b, true)
			w.settle(15_000)
		},
	},
	// A member that lost everything else is repaired by digests alone.
	"digests find what messages missed": {
		options{nodes: 3, clients: 6, est: 120, off: syncer.NoGap},
		func(w *world) {
			w.deafen(3, true)
			for i := range 6 {
				w.client(i, w.nodes[i%2], w.nodes[i%2]).quietly()
			}
			w.run(1000)
			w.deafen(3, false)
			w.settle(15_000)
		},
	},
	// Node 1's owner died; node 3 alone has what it owned, and nobody's own records are concerned.
	"digests cover what nobody present owns": {
		options{nodes: 4, clients: 1, est: 120, off: syncer.NoGap},
		func(w *world) {
			w.cut(1, 3, true)
			w.cut(1, 4, true)
			c := w.client(0, w.nodes[0], w.nodes[0]).quietly()
			w.run(200)
			w.coord.crash(w.nodes[0])
			w.run(20_000)
			w.settle(1_000)
			w.expect(w.nodes[2], c, true)
		},
	},
	// What node 1 says does not reach node 3, for good: node 2 holds it too, and its digests are of everything.
	"a one-way cut is mended through a third node": {
		options{nodes: 3, clients: 4, est: 120},
		func(w *world) {
			w.cut(1, 3, true)
			var all []*conn
			for i := range 4 {
				all = append(all, w.client(i, w.nodes[0], w.nodes[0]).quietly())
			}
			w.run(15_000)
			if len(w.living()) != 3 {
				w.violate("a node was removed")
			}
			for _, c := range all {
				w.expect(w.nodes[2], c, true)
			}
		},
	},
	// A node whose clock is an hour ahead makes a session; the births of who hears of it must not run ahead as far, or a client's
	// next connection, which a node makes that has not heard, is earlier than its last one.
	"a clock that is an hour ahead does not take the others along": {
		options{nodes: 3, clients: 2, est: 120},
		func(w *world) {
			w.nodes[1].stop()
			w.nodes[1].skew = 3_600_000
			w.coord.join(w.nodes[1])
			w.joined(w.nodes[1])
			w.deafen(3, true)
			w.client(1, w.nodes[1], w.nodes[1]).quietly()
			w.run(300)
			a := w.client(0, w.nodes[0], w.nodes[0]).quietly()
			w.run(700)
			a.end("moved on")
			b := w.client(0, w.nodes[2], w.nodes[2]).quietly()
			w.deafen(3, false)
			w.settle(15_000)
			for _, n := range w.living() {
				if !n.maps(b, flow.In) {
					w.violate("node %d gives the client its former connection", n.id)
				}
			}
		},
	},
	// A joiner is let in with the stock. What its former life owned is part of that, whoever holds it; digests would find it only
	// later.
	"a joiner gets what nobody owns with the stock": {
		options{nodes: 3, clients: 3, est: 120, off: syncer.NoDigest | syncer.NoAdopt},
		func(w *world) {
			var all []*conn
			for i := range 3 {
				all = append(all, w.client(i, w.nodes[0], w.nodes[0]).quietly())
			}
			w.run(500)
			n := w.nodes[0]
			n.stop()
			w.coord.join(n)
			w.joined(n)
			w.run(500)
			if d := n.sync.Count[syncer.SyncBulkDiffers]; d != 0 {
				w.violate("%d bulks were not what their ends said", d)
			}
			for _, c := range all {
				w.expect(n, c, true)
			}
		},
	},
	// A node starts again at once, and the coordinator does not reach node 2. Node 2 hears the new life itself: what the former one
	// owned has no owner, and ends in its time.
	"a HELLO of a new life orphans what the former owned before a view says so": {
		options{nodes: 3, clients: 6, est: 10},
		func(w *world) {
			var all []*conn
			for i := range 6 {
				all = append(all, w.client(i, w.nodes[0], w.nodes[0]).quietly())
			}
			w.run(500)
			w.nodes[1].blind = true
			n := w.nodes[0]
			former := n.node()
			n.stop()
			w.coord.join(n)
			w.run(30_000)
			for _, c := range all {
				if x, _, ok := w.nodes[1].find(c.bucket, &c.reply); ok && x.Flags&flow.Tomb == 0 {
					w.violate("node 2: %s %s lives on, the former life is %d.%d", short(x.Orig, x.Reply), version(x.Birth, x.Term, x.Owner, x.Ver, x.Flags), former.ID, former.Inc)
				}
			}
		},
	},
	// A node stands still, is removed, and goes on: it hears that it is over, goes on as another life, claims what it still serves,
	// and is let in once the others have that.
	"a fenced node claims what it serves, and the others say that they have it": {
		options{nodes: 3, clients: 4, est: 120, renews: true},
		func(w *world) {
			n := w.nodes[0]
			var all []*conn
			for i := range 3 {
				all = append(all, w.client(i, n, n).quietly())
			}
			w.run(500)
			former := n.node()
			w.coord.pause(n, 2_000)
			w.run(2_000)
			for _, c := range all {
				c.path = [2]*node{n, n} // the router has not noticed
			}
			for range 10 {
				for _, c := range all {
					c.emit(flow.In, conntrack.ACK, 10)
				}
				w.run(100)
			}
			w.joined(n)
			if n.node() == former {
				w.violate("node 1 is the former life")
			}
			var unacked uint64
			for _, s := range n.shards {
				unacked += s.Count[syncer.ClaimUnacked]
			}
			if unacked != 0 {
				w.violate("%d claims were given up", unacked)
			}
			w.settle(15_000)
			for _, c := range all {
				for _, o := range w.living() {
					w.expect(o, c, true)
				}
			}
		},
	},
	// A client opened anew from the same port, and its second connection is over. The first lives
	// on for its server alone; a node that joins now never hears of the second, and must know the
	// first for a superseded one all the same.
	"a joiner knows a superseded session for one": {
		options{nodes: 3, clients: 1, est: 120},
		func(w *world) {
			a, b := w.moved()
			b.finish(flow.In)
			w.run(9_000)
			n := w.nodes[2]
			n.stop()
			w.coord.join(n)
			w.run(5_000)
			if x, _, ok := n.find(a.bucket, &a.reply); !ok || x.Reply != a.reply {
				w.violate("the joiner lacks the first session")
			}
			if x, _, _ := n.find(a.bucket, &a.reply); x.Flags&flow.ReplyOnly == 0 {
				w.violate("the joiner does not know that the first session is superseded: %s", version(x.Birth, x.Term, x.Owner, x.Ver, x.Flags))
			}
		},
	},
}

func TestScenarios(t *testing.T) {
	for name, s := range scenarios {
		t.Run(name, func(t *testing.T) {
			for seed := uint64(1); seed <= seedsPerScenario; seed++ {
				if w := s.run(seed, 0); w.broken != "" {
					t.Fatalf("seed %d: %s\n%s", seed, w.broken, w.tail(*tail))
				}
			}
		})
	}
}

// moved lets client 0 open the same tuple on one node and then on another, before these hear of each other, and returns both
// connections when all have heard of them.
func (w *world) moved() (a, b *conn) {
	w.deafen(1, true)
	w.deafen(2, true)
	a = w.client(0, w.nodes[0], w.nodes[0]).quietly()
	w.run(300)
	a.end("moved on")
	b = w.client(0, w.nodes[1], w.nodes[1]).quietly()
	w.run(300)
	w.deafen(1, false)
	w.deafen(2, false)
	w.run(3_000)
	return a, b
}
