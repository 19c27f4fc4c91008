package sim

import (
	"maps"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

const (
	in  = flow.In
	out = flow.Out
	fin = conntrack.FIN | conntrack.ACK
	rst = conntrack.RST | conntrack.ACK
	ack = conntrack.ACK
)

// sends lets one end send a segment, which arrives before the next one is sent.
func (c *conn) sends(d flow.Direction, flags uint8) {
	c.emit(d, flags, 0)
	c.w.run(10)
}

// moves brings the client's packets to node 2, until that owns the session, and one of the server's to node 1.
func (c *conn) moves() {
	c.path[in] = c.w.nodes[1]
	c.talk(in, 400)
	c.sends(out, ack)
	c.w.run(100)
}

// lives are the lives of one connection, and what the nodes tell each other of it. "all": to every member, as one message.
var lives = []struct {
	name   string
	udp    bool
	server int  // node that the server's packets pass; the client's pass node 1, which owns the session
	ages   bool // nobody closes it
	play   func(c *conn)
	want   map[string]int
}{
	{
		name: "the client closes first",
		play: func(c *conn) { c.sends(in, fin); c.sends(out, ack); c.sends(out, fin); c.sends(in, ack) },
		want: map[string]int{"session all": 2, "close all": 1},
	},
	{
		name: "the server closes first",
		play: func(c *conn) { c.sends(out, fin); c.sends(in, fin); c.sends(out, ack) },
		want: map[string]int{"session all": 2, "close all": 1},
	},
	{
		name: "both close at once",
		play: func(c *conn) { c.emit(in, fin, 0); c.sends(out, fin); c.emit(in, ack, 0); c.sends(out, ack) },
		want: map[string]int{"session all": 2, "close all": 1},
	},
	{
		name: "one half goes on for a while",
		play: func(c *conn) {
			c.sends(in, fin)
			c.sends(out, ack)
			for range 20 {
				c.emit(out, ack, 100)
				c.w.run(100)
				c.sends(in, ack)
			}
			c.sends(out, fin)
			c.sends(in, ack)
		},
		want: map[string]int{"session all": 2, "close all": 1},
	},
	{
		name: "the client resets",
		play: func(c *conn) { c.sends(in, rst) },
		want: map[string]int{"session all": 2, "close all": 1},
	},
	{
		name: "the server resets what the client closed",
		play: func(c *conn) { c.sends(in, fin); c.sends(out, rst) },
		want: map[string]int{"session all": 2, "close all": 1},
	},
	{
		name: "it is never closed", ages: true,
		play: func(*conn) {},
		want: map[string]int{"session all": 1, "age all": 1},
	},
	{
		name: "UDP", udp: true, ages: true,
		play: func(c *conn) { c.emit(out, 0, 10); c.w.run(10); c.emit(in, 0, 10); c.w.run(10) },
		want: map[string]int{"session all": 1, "age all": 1},
	},
	{
		name: "sides on two nodes, the client closes first", server: 1,
		play: func(c *conn) { c.sends(in, fin); c.sends(out, ack); c.sends(out, fin); c.sends(in, ack) },
		want: map[string]int{"session all": 2, "close all": 1, "hint": 2, "session": 2},
	},
	{
		name: "sides on two nodes, the client closes first and FIN answers FIN", server: 1,
		play: func(c *conn) { c.sends(in, fin); c.sends(out, fin); c.sends(in, ack) },
		want: map[string]int{"session all": 2, "close all": 1, "hint": 1, "session": 1},
	},
	{
		name: "sides on two nodes, the server closes first", server: 1,
		play: func(c *conn) { c.sends(out, fin); c.sends(in, ack); c.sends(in, fin); c.sends(out, ack) },
		want: map[string]int{"session all": 3, "close all": 1, "hint": 2, "session": 1},
	},
	{
		name: "sides on two nodes, both close at once", server: 1,
		play: func(c *conn) { c.emit(in, fin, 0); c.sends(out, fin); c.emit(in, ack, 0); c.sends(out, ack) },
		want: map[string]int{"session all": 2, "close all": 1, "hint": 2, "session": 2},
	},
	{
		name: "sides on two nodes, the server resets", server: 1,
		play: func(c *conn) { c.sends(out, rst) },
		want: map[string]int{"session all": 2, "close all": 1, "hint": 1},
	},
	{
		// Its new node takes it over; then the server's side is the other node's, which tells of it once and of its end.
		name: "the client's packets come to another node",
		play: func(c *conn) { c.moves(); c.sends(out, fin); c.sends(in, fin); c.sends(out, ack) },
		want: map[string]int{"session all": 4, "close all": 1, "hint": 2, "hint active": 2, "session": 1},
	},
	{
		name: "the client's packets come to another node, which closes",
		play: func(c *conn) { c.moves(); c.sends(in, fin); c.sends(out, ack); c.sends(out, fin); c.sends(in, ack) },
		want: map[string]int{"session all": 3, "close all": 1, "hint": 2, "hint active": 2, "session": 2},
	},
	{
		name: "the client's packets come to another node in the midst of the close",
		play: func(c *conn) { c.sends(in, fin); c.sends(out, fin); c.path[in] = c.w.nodes[1]; c.sends(in, ack) },
		want: map[string]int{"session all": 2, "close all": 1, "hint": 1, "hint active": 1, "session": 2},
	},
	{
		name: "sides on two nodes, the server sends for two minutes", server: 1,
		play: func(c *conn) {
			for range 240 {
				c.emit(out, ack, 10)
				c.w.run(500)
			}
			c.sends(in, fin)
			c.sends(out, fin)
			c.sends(in, ack)
		},
		want: map[string]int{"session all": 2, "close all": 1, "hint": 1, "session": 1, "hint active": 4},
	},
}

func TestWhatIsToldOfOneLife(t *testing.T) {
	for _, l := range lives {
		t.Run(l.name, func(t *testing.T) {
			w := newWorld(1, options{nodes: 3, clients: 4, est: 120, net: net{delay: 2}})
			defer w.close()
			w.run(20_000) // past the time in which UDP asks first
			got := map[string]int{}
			w.spy = func(n *node, a *syncer.Action) {
				to := ""
				if a.To == syncer.AllNodes {
					to = " all"
				}
				hint := ""
				if a.Msg.Kind == syncwire.KindHint && a.Msg.Hint == syncwire.HintActive {
					hint = " active"
				}
				got[a.Msg.Kind.String()+hint+to]++
				w.logf("node %d: %v to %d, bits %x, hint %x", n.id, a.Msg.Kind, a.To, a.Msg.Rec.Bits, a.Msg.Hint)
			}
			client := 0
			if l.udp {
				client = 3
			}
			c := w.client(client, w.nodes[0], w.nodes[l.server]).quietly()
			w.run(500)
			if l.server != 0 {
				// The server's first packet finds the session by QUERY; its SYN-ACK is told once and answered.
				want := map[string]int{"query": 2, "answer": 2, "hint": 1, "session": 1, "session all": 1}
				if !maps.Equal(got, want) {
					t.Errorf("told %v of the handshake, want %v", got, want)
				}
				delete(got, "query")
				delete(got, "answer")
				delete(got, "hint")
				delete(got, "session")
			}
			c.phase = scripted
			l.play(c)
			w.run(12_000)
			if l.ages {
				w.run(150_000)
			}
			if w.broken != "" {
				t.Fatalf("%s\n%s", w.broken, w.tail(*tail))
			}
			if !maps.Equal(got, l.want) {
				t.Errorf("told %v, want %v\n%s", got, l.want, w.tail(*tail))
			}
		})
	}
}
