package node

import (
	"context"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
)

// load is how many sessions count on a server, over all workers of a node.
func (c *cluster) load(n *Node, server uint32) (sum uint32) {
	c.t.Helper()
	c.apply(func(ctx context.Context) error {
		return n.each(ctx, func(w *worker.Worker) { sum += w.Connections(server) })
	})
	return sum
}

// wantLoad checks the load on the servers of TCP services by node.
func (c *cluster) wantLoad(when string, want ...uint32) {
	c.t.Helper()
	for i, n := range c.nodes {
		if c.dead[n] {
			continue
		}
		if got := c.load(n, 1) + c.load(n, 2); got != want[i] {
			c.t.Errorf("%s: %d connections count on %s, want %d", when, got, n.cfg.Node.Name, want[i])
		}
	}
}

func TestTheLoadOfServersIsThatOfSessionsUsedHere(t *testing.T) {
	c := newCluster(t, 1, 2, 1)
	c.echo()
	c.show()
	c.warm()
	c.rest(10_000)
	c.wantLoad("at first", 0, 0)
	c.to = func(bool, *packet.Info) int { return 0 }
	conns := c.dial(16)
	c.talk(conns, 100)
	c.wantLoad("opened on the first node", 16, 0)
	for _, k := range conns[:4] {
		k.Abort()
	}
	c.rest(4000) // CLOSE lasts 3 s
	c.wantLoad("four were reset", 12, 0)
	c.kill(0)
	c.to = func(bool, *packet.Info) int { return 1 }
	c.talk(conns[4:10], 600)
	c.wantLoad("six went on over the second node", 0, 6)
	c.show()
	c.run(1000)
	c.wantLoad("all were adopted, six used", 0, 6)
	c.talk(conns[10:], 300)
	c.wantLoad("all are used", 0, 12)
	for _, k := range conns[4:] {
		k.Abort()
	}
	c.rest(4000)
	c.wantLoad("all were reset", 0, 0)
}

func TestHalfOpenConnectionsThatMakeRoomLeaveTheirServersLoad(t *testing.T) {
	c := newCluster(t, 1, 4)
	c.show()
	c.warm()
	c.rest(10_000)
	c.server.Silent = true
	n := c.nodes[0]
	for i := range 5000 {
		c.client.Send(dpdtest.TCP(clientAddr(false, uint16(10000+i)), vipOf(false)).Flags(packet.SYN))
		if i%32 == 31 {
			c.run(1)
		}
	}
	c.run(5)
	held := uint32(0)
	for _, s := range c.sessions(n) {
		if s.Flags&flow.Tomb == 0 && s.Server == 1 {
			held++
		}
	}
	if c.sum(n, "evicted") == 0 || c.load(n, 1) != held {
		t.Errorf("%d evicted, %d records, %d count", c.sum(n, "evicted"), held, c.load(n, 1))
	}
	c.rest(40_000)
	c.wantLoad("after their time", 0)
}
