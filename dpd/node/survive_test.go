package node

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

// kill takes a node out at once: it turns no more and its port is cut. The view follows later, as in life.
func (c *cluster) kill(i int) {
	c.dead[c.nodes[i]] = true
	c.sw.Cut(c.plug[i], true)
	c.nodes[i].dev.(*memory).port.Drain()
}

// spread lets half of the flows of each side go to the other node.
func byPort(n int) func(in bool, i *packet.Info) int {
	return func(in bool, i *packet.Info) int {
		p := i.SrcPort()
		if !in {
			p = i.DstPort() / 7 // the sides of a flow choose on their own
		}
		return int(p) % n
	}
}

func (c *cluster) dial(n int) (conns []*dpdtest.Conn) {
	for i := range n {
		conns = append(conns, c.client.Dial(clientAddr(i%2 == 1, uint16(4000+i)), vipOf(i%2 == 1)))
		if i%8 == 7 {
			c.run(5)
		}
	}
	c.run(60)
	return conns
}

func (c *cluster) talk(conns []*dpdtest.Conn, ms int64) {
	c.t.Helper()
	msg := []byte("the quick brown fox")
	var want [][]byte
	for _, k := range conns {
		want = append(want, append(bytes.Clone(k.Received()), msg...))
		k.Write(msg)
	}
	c.run(ms)
	for i, k := range conns {
		if k.Err() != nil || !bytes.Equal(k.Received(), want[i]) {
			c.t.Errorf("connection %d: err %v, %d of %d bytes, %d repeats", i, k.Err(), len(k.Received()), len(want[i]), k.Repeats())
		}
	}
}

func TestConnectionsSurviveTheDeathOfTheirNode(t *testing.T) {
	for _, row := range []struct {
		name    string
		workers []int
		rx      int
		loss    float64
	}{
		{"one worker each", []int{1, 1}, 1, 0},
		{"different numbers of workers", []int{1, 3, 2}, 2, 0},
		{"a tenth of all frames between the nodes lost", []int{2, 1, 1}, 1, 0.1},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newCluster(t, row.rx, row.workers...)
			c.echo()
			c.show()
			c.warm()
			c.to = byPort(len(row.workers))
			if row.loss > 0 {
				c.lossySync(row.loss)
			}
			conns := c.dial(32)
			c.talk(conns, 1000) // a lost QUERY costs a handshake one repetition
			c.run(300)          // what was lost is asked for again
			c.kill(0)
			alive := byPort(len(row.workers) - 1)
			c.to = func(in bool, i *packet.Info) int { return 1 + alive(in, i) }
			c.talk(conns, 1500)
			c.show() // the view without it
			c.talk(conns, 1500)
			for _, k := range conns {
				k.Close()
			}
			for _, n := range c.nodes[1:] {
				for _, s := range c.sessions(n) {
					if s.Owner.ID == 1 && s.Flags&flow.Tomb == 0 && s.Orig.SrcPort() >= 4000 {
						t.Errorf("%s is still owned by the dead node on %s", s.Orig, n.cfg.Node.Name)
					}
				}
			}
		})
	}
}

// lossySync loses sync datagrams on their way to every node.
func (c *cluster) lossySync(p float64) {
	for _, n := range c.nodes {
		n.loop.SetLoss(p, newRand())
	}
}

func TestSidesOnTwoNodesShareOneConnectionAndTheServerClosesFirst(t *testing.T) {
	c := newCluster(t, 1, 1, 1)
	var served []*dpdtest.Conn
	c.server.Listen(8080, func(s *dpdtest.Conn) {
		s.OnData = func(s *dpdtest.Conn, b []byte) { s.Write(b) }
		served = append(served, s)
	})
	c.show()
	c.warm()
	served = nil
	c.to = func(in bool, _ *packet.Info) int {
		if in {
			return 0
		}
		return 1
	}
	conns := c.dial(8)
	c.talk(conns, 300)
	for _, s := range served {
		s.Close()
	}
	c.run(300)
	for i, k := range conns {
		if !k.PeerClosed() || k.Err() != nil {
			t.Fatalf("connection %d did not see the server's end: %v", i, k.Err())
		}
		k.Close()
	}
	c.run(300)
	for i, k := range conns {
		if !k.Done() || k.Err() != nil {
			t.Errorf("connection %d is not closed in order: %v", i, k.Err())
		}
	}
	c.rest(12_000) // TIME_WAIT and its jitter
	for _, n := range c.nodes {
		for _, s := range c.sessions(n) {
			if s.Orig.SrcPort() < 4000 {
				continue
			}
			t.Errorf("%s on %s is not closed: state %d flags %x bits %x", s.Orig, n.cfg.Node.Name, s.State, s.Flags, s.Bits)
		}
		if closed := c.ended(n); closed < len(conns) {
			t.Errorf("%s remembers %d ends of %d", n.cfg.Node.Name, closed, len(conns))
		}
	}
}

func TestEveryNodeHoldsEverySessionInItsLatestVersion(t *testing.T) {
	c := newCluster(t, 1, 2, 1, 3)
	c.echo()
	c.show()
	c.warm()
	c.to = byPort(3)
	conns := c.dial(48)
	c.talk(conns, 300)
	c.run(200)
	want := map[string]string{}
	for i, n := range c.nodes {
		got := map[string]string{}
		for _, s := range c.sessions(n) {
			if s.Orig.SrcPort() >= 4000 {
				got[s.Orig.String()] = fmt.Sprint(s.Reply, s.Birth, s.Owner, s.Term, s.Ver)
			}
		}
		if len(got) != len(conns) {
			t.Errorf("%s holds %d of %d sessions", n.cfg.Node.Name, len(got), len(conns))
		}
		if i == 0 {
			want = got
		}
		for k, v := range got {
			if want[k] != v {
				t.Errorf("%s on %s is %s, on the first %s", k, n.cfg.Node.Name, v, want[k])
			}
		}
	}
}

func TestWithoutSyncTheDeathOfANodeBreaksItsConnections(t *testing.T) {
	c := newCluster(t, 1, 1, 1)
	for _, n := range c.nodes {
		n.cfg.Sync.Enabled = false
	}
	c.echo()
	c.show()
	c.warm()
	c.to = func(bool, *packet.Info) int { return 0 }
	conns := c.dial(4)
	c.talk(conns, 100)
	c.kill(0)
	c.to = func(bool, *packet.Info) int { return 1 }
	for _, k := range conns {
		k.Write([]byte("x"))
	}
	c.run(1000)
	for i, k := range conns {
		if k.Unacked() == 0 {
			t.Errorf("connection %d went on without a copy of its session", i)
		}
		k.Abort()
	}
	if n := c.sum(c.nodes[1], "drop_no_session"); n == 0 {
		t.Error("no packet was dropped for want of a session")
	}
}

func TestAMissAsksThePeersAndThePacketGoesOn(t *testing.T) {
	c := newCluster(t, 1, 1, 1)
	c.echo()
	c.show()
	c.warm()
	c.to = func(bool, *packet.Info) int { return 0 }
	conns := c.dial(4)
	c.talk(conns, 100)
	// The second node forgets them, as if it had never heard of them.
	c.forget(c.nodes[1])
	c.to = func(bool, *packet.Info) int { return 1 }
	c.talk(conns, 100)
	if held, released := c.sum(c.nodes[1], "held"), c.sum(c.nodes[1], "released"); held == 0 || released == 0 {
		t.Errorf("%d packets waited, %d went on", held, released)
	}
	for i, k := range conns {
		if k.Repeats() > 0 {
			t.Errorf("connection %d had to repeat", i)
		}
	}
}

func TestDatagramFlowsKeepTheirServerAfterADeath(t *testing.T) {
	c := newCluster(t, 1, 1, 1)
	c.show()
	from := map[string]netip.AddrPort{}
	moved := 0
	c.server.OnUDP = func(src, _ netip.AddrPort, p []byte) []byte {
		if old, ok := from[string(p)]; ok && old != src {
			moved++
		}
		from[string(p)] = src
		return p
	}
	answers := 0
	c.client.OnUDP = func(_, _ netip.AddrPort, _ []byte) []byte { answers++; return nil }
	c.warm()
	send := func() {
		for i := range 16 {
			c.client.SendUDP(clientAddr(i%2 == 1, uint16(6000+i)), vipOf(i%2 == 1), []byte(fmt.Sprint("flow ", i)))
			c.run(3)
		}
		c.run(50)
	}
	c.to = byPort(2)
	send()
	c.kill(0)
	c.to = func(bool, *packet.Info) int { return 1 }
	send()
	c.show()
	send()
	if moved > 0 || answers != 48 {
		t.Errorf("%d flows changed their local port, %d of 48 answers", moved, answers)
	}
}
