package node

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/control"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
)

// flood opens n datagram flows of both families, which the server answers.
func (c *cluster) flood(n int) {
	c.server.OnUDP = func(_, _ netip.AddrPort, p []byte) []byte { return p }
	for i := range n {
		c.client.SendUDP(clientAddr(i%2 == 1, uint16(2000+i/2)), vipOf(i%2 == 1), []byte("x"))
		if i%24 == 23 {
			c.run(1)
		}
	}
	c.run(20)
}

// equal checks that two nodes hold the same sessions in the same versions.
func (c *cluster) equal(a, b *Node) {
	c.t.Helper()
	of := func(n *Node) map[string]string {
		out := map[string]string{}
		for _, s := range c.sessions(n) {
			if s.Flags&(flow.Tomb|flow.Embryonic) == 0 {
				out[s.Orig.String()] = fmt.Sprint(s.Reply, s.Birth, s.Owner, s.Term, s.Ver)
			}
		}
		return out
	}
	x, y := of(a), of(b)
	differ := 0
	for k, v := range x {
		if y[k] != v {
			differ++
		}
	}
	if differ > 0 || len(x) != len(y) {
		c.t.Errorf("%d sessions on %s and %d on %s, %d of them not equal", len(x), a.cfg.Node.Name, len(y), b.cfg.Node.Name, differ)
	}
}

func TestWhatOverflowsBetweenThreadsIsRepaired(t *testing.T) {
	for _, row := range []struct {
		name, counter string
		flows         int
		stop, resume  func(*cluster)
	}{
		{"the sender's sync thread stands still", "sync_out_ring_full", 10_000,
			func(c *cluster) { c.asleep[c.nodes[0]] = true }, func(c *cluster) { delete(c.asleep, c.nodes[0]) }},
		{"a worker of the receiver stands still", "", 18_000,
			func(c *cluster) { c.stuck[c.nodes[1].workers[1]] = true }, func(c *cluster) { delete(c.stuck, c.nodes[1].workers[1]) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newCluster(t, 1)
			c.room = 16384
			c.add(0, 1, 1)
			c.add(1, 2, 1)
			c.show()
			c.warm()
			c.onlyVia(0)
			c.rest(15_000) // until datagram flows open without a question to peers
			row.stop(c)
			c.flood(row.flows)
			row.resume(c)
			if row.counter != "" && c.sum(c.nodes[0], row.counter) == 0 {
				t.Error("nothing overflowed")
			}
			if lost := c.syncCounts(c.nodes[1])["sync_ring_full"]; row.counter == "" && lost == 0 {
				t.Error("nothing overflowed")
			}
			c.rest(30_000)
			c.equal(c.nodes[0], c.nodes[1])
			if n := len(c.sessions(c.nodes[1])); n < row.flows*3/4 {
				t.Errorf("%d records on the second node", n)
			}
		})
	}
}

func TestABulkWaitsForTheSyncThreadAndEnds(t *testing.T) {
	c := newCluster(t, 1)
	c.room = 16384
	c.add(0, 1, 1)
	c.show()
	c.warm()
	c.onlyVia(0)
	c.flood(6000)
	c.add(1, 2, 1)
	late := c.nodes[1]
	c.states[late] = control.Joining
	c.show()
	c.asleep[c.nodes[0]] = true
	for i := range 9000 {
		c.client.SendUDP(clientAddr(false, uint16(20000+i)), vipOf(false), []byte("new"))
		if i%24 == 23 {
			c.run(1)
		}
	}
	full := c.sum2(c.nodes[0], "sync_out_ring_full")
	c.apply(func(ctx context.Context) error {
		return c.nodes[0].each(ctx, func(w *worker.Worker) { w.Shard().StartBulk(w.Now(), c.life(1)) })
	})
	c.run(500)
	if full == 0 {
		t.Error("the ring was not full when the bulk began")
	}
	delete(c.asleep, c.nodes[0])
	c.run(3000)
	if got := c.unmet(late); len(got) != 0 {
		t.Errorf("unmet: %v", got)
	}
	if b := late.Status().Bulk; len(b) != 1 || !b[0].Ended {
		t.Errorf("bulk: %+v", b)
	}
	c.rest(20_000)
	c.equal(c.nodes[0], late)
}

// sum2 reads a worker's counter without its sync thread's help.
func (c *cluster) sum2(n *Node, name string) (v uint64) {
	c.run(11)
	for _, w := range n.workers {
		counts, _ := w.Counters()
		for i := range counts.Len() {
			if stat.Counter(i).String() == name {
				v += counts.Load(i)
			}
		}
	}
	return v
}

func TestADeviceThatFailsForAWhileBreaksNothing(t *testing.T) {
	for _, row := range []struct {
		name    string
		fail    func(*memory)
		restore func(*memory)
	}{
		{"no packet memory", func(m *memory) { m.pool.Exhaust(true) }, func(m *memory) { m.pool.Exhaust(false) }},
		{"a full send queue", func(m *memory) { m.port.Refuse(1 << 30) }, func(m *memory) { m.port.Refuse(0) }},
		{"no carrier", func(m *memory) { m.port.SetLink(false) }, func(m *memory) { m.port.SetLink(true) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newCluster(t, 2, 2, 1)
			c.echo()
			c.show()
			c.warm()
			c.to = byPort(2)
			conns := c.dial(24)
			c.talk(conns, 300)
			m := c.nodes[0].dev.(*memory)
			row.fail(m)
			for _, k := range conns {
				k.Write([]byte("meanwhile"))
			}
			c.run(2000)
			c.onlyVia(1) // the router has seen it
			for range 4 {
				c.run(500)
			}
			row.restore(m)
			c.run(500)
			c.to = byPort(2)
			c.talk(conns, 3000)
			c.rest(12_000)
			c.equal(c.nodes[0], c.nodes[1])
		})
	}
}

func TestHeldPacketsAreBoundedAndCounted(t *testing.T) {
	c := newCluster(t, 1, 1, 1)
	c.echo()
	c.show()
	c.warm()
	c.asleep[c.nodes[0]] = true // no QUERY gets out
	before := c.sum2(c.nodes[0], "held")
	for i := range 300 {
		c.client.Send(dpdtest.TCP(clientAddr(false, uint16(30000+i)), vipOf(false)).Text("middle of a stream"))
	}
	c.run(100)
	n := c.nodes[0]
	held, full, timeout := c.sum2(n, "held")-before, c.sum2(n, "drop_hold_full"), c.sum2(n, "drop_hold_timeout")
	if held != 64 || full != 300-64 || timeout != 64 {
		t.Errorf("%d held, %d for want of room, %d timed out", held, full, timeout)
	}
	if c.server.Strays+c.client.Strays > 0 {
		t.Error("something was sent")
	}
	delete(c.asleep, c.nodes[0])
	c.run(50)
}
