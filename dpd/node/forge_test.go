package node

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

// live lists the records of a client port that serve packets in both directions.
func (c *cluster) live(n *Node, port uint16) (out []flow.Session) {
	c.t.Helper()
	for _, s := range c.sessions(n) {
		if s.Orig.SrcPort() == port && s.Flags&(flow.Tomb|flow.ReplyOnly) == 0 {
			out = append(out, s)
		}
	}
	return out
}

// only is the one live record of a client port on a node.
func (c *cluster) only(n *Node, port uint16) flow.Session {
	c.t.Helper()
	s := c.live(n, port)
	if len(s) != 1 {
		c.t.Fatalf("%d live records of port %d on %s: %+v", len(s), port, n.cfg.Node.Name, s)
	}
	return s[0]
}

func TestForgedEndsCloseNothing(t *testing.T) {
	const port = 4000
	for _, v6 := range []bool{false, true} {
		a := clientAddr(v6, port)
		for _, row := range []struct {
			name  string
			flags uint8
			out   bool
		}{
			{"a reset in the client's name", packet.RST, false},
			{"a reset with ACK in the client's name", packet.RST | packet.ACK, false},
			{"a FIN in the client's name", packet.FIN | packet.ACK, false},
			{"a reset in the server's name", packet.RST, true},
			{"a FIN in the server's name", packet.FIN | packet.ACK, true},
		} {
			t.Run(row.name, func(t *testing.T) {
				c := newCluster(t, 1, 1, 1)
				c.echo()
				c.show()
				c.warm()
				conns := []*dpdtest.Conn{c.client.Dial(a, vipOf(v6))}
				c.run(60)
				c.talk(conns, 100)
				s := c.only(c.nodes[0], port)
				for i := range uint32(50) {
					seq := 0x1234567 + i*0x5000000
					if row.out {
						c.server.Send(dpdtest.TCP(s.Reply.Src(), s.Reply.Dst()).Flags(row.flags).Seq(seq).Ack(seq))
					} else {
						c.client.Send(dpdtest.TCP(a, vipOf(v6)).Flags(row.flags).Seq(seq).Ack(seq))
					}
					c.run(2)
				}
				for _, n := range c.nodes {
					if g := c.only(n, port); g.Bits&(flow.FinIn|flow.FinOut|flow.RstIn|flow.RstOut) != 0 || g.State != flow.TCPEstablished {
						t.Errorf("%s believed it: state %d bits %x", n.cfg.Node.Name, g.State, g.Bits)
					}
				}
				c.talk(conns, 100)
				c.rest(40_000) // data has restored the timer that the forgery shortened to 30 s
				c.talk(conns, 100)
			})
		}
	}
}

func TestARealResetAfterATakeoverClosesEverywhere(t *testing.T) {
	c := newCluster(t, 1, 1, 1, 1)
	c.echo()
	c.show()
	c.warm()
	conns := c.dial(4)
	c.talk(conns, 200)
	c.kill(0)
	c.to = func(bool, *packet.Info) int { return 1 }
	c.talk(conns, 600)
	c.show()
	for _, k := range conns {
		k.Abort()
	}
	c.rest(6000) // CLOSE and its timeout of 3 s
	for i := range conns {
		for _, n := range c.nodes[1:] {
			if s := c.live(n, uint16(4000+i)); len(s) != 0 {
				t.Errorf("connection %d lives on %s: state %d bits %x flags %x", i, n.cfg.Node.Name, s[0].State, s[0].Bits, s[0].Flags)
			}
		}
	}
}

func TestASynOnAClosedConnectionOpensANewLife(t *testing.T) {
	for _, row := range []struct {
		name string
		wait int64
	}{{"in TIME_WAIT", 200}, {"on its tombstone", 9_500}, {"long after", 100_000}} {
		t.Run(row.name, func(t *testing.T) {
			c := newCluster(t, 1, 1, 1)
			var served *dpdtest.Conn
			c.server.Listen(8080, func(s *dpdtest.Conn) {
				s.OnData = func(s *dpdtest.Conn, b []byte) { s.Write(b) }
				served = s
			})
			c.show()
			c.warm()
			a := clientAddr(false, 4000)
			var births []flow.Birth
			for range 3 {
				k := c.client.Dial(a, vipOf(false))
				c.run(60)
				c.talk([]*dpdtest.Conn{k}, 100)
				for _, n := range c.nodes {
					s := c.only(n, 4000)
					if n == c.nodes[0] {
						births = append(births, s.Birth)
					} else if s.Birth != births[len(births)-1] {
						t.Errorf("%s has another life", n.cfg.Node.Name)
					}
				}
				k.Close()
				c.run(20)
				served.Close()
				c.rest(row.wait)
				if !k.Done() || k.Err() != nil {
					t.Fatalf("not closed in order: %v", k.Err())
				}
			}
			if births[0] >= births[1] || births[1] >= births[2] {
				t.Errorf("births %v do not rise", births)
			}
		})
	}
}

func TestABlindSynHarmsNoConnection(t *testing.T) {
	for _, at := range []int{0, 1} {
		c := newCluster(t, 1, 1, 1)
		c.echo()
		c.show()
		c.warm()
		conns := c.dial(4)
		c.talk(conns, 200)
		c.server.Listen(8080, nil) // a real stack answers a SYN on a connection by an ACK and keeps it
		c.to = func(in bool, _ *packet.Info) int { return at }
		for i := range uint32(40) {
			for k := range conns {
				c.client.Send(dpdtest.TCP(clientAddr(k%2 == 1, uint16(4000+k)), vipOf(k%2 == 1)).Flags(packet.SYN).Seq(i * 0x6543210))
			}
			c.run(3)
		}
		c.to = func(bool, *packet.Info) int { return 0 }
		c.talk(conns, 500)
		c.rest(50_000)
		c.talk(conns, 500)
		for i := range conns {
			for _, n := range c.nodes {
				if s := c.only(n, uint16(4000+i)); s.State != flow.TCPEstablished {
					t.Errorf("connection %d on %s is in state %d", i, n.cfg.Node.Name, s.State)
				}
			}
		}
	}
}

func TestHalfOpenConnectionsStayWithTheirNode(t *testing.T) {
	c := newCluster(t, 1, 1, 1)
	c.show()
	c.warm()
	before := len(c.sessions(c.nodes[1]))
	for i := range 200 {
		c.client.Send(dpdtest.TCP(clientAddr(i%2 == 1, uint16(20000+i)), vipOf(i%2 == 1)).Flags(packet.SYN))
		c.run(1)
	}
	c.run(50)
	if n := len(c.sessions(c.nodes[1])) - before; n != 0 {
		t.Errorf("a flood of 200 SYNs made %d records on the peer", n)
	}
	for _, s := range c.sessions(c.nodes[0]) {
		if s.Orig.SrcPort() >= 20000 && s.Flags&flow.Embryonic == 0 {
			t.Fatalf("%s counts as established: state %d bits %x", s.Orig, s.State, s.Bits)
		}
	}
	c.rest(40_000)
	for _, s := range c.sessions(c.nodes[0]) {
		if s.Orig.SrcPort() >= 20000 {
			t.Fatalf("%s is still there: state %d flags %x", s.Orig, s.State, s.Flags)
		}
	}
}
