package node

import (
	"context"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

func TestAStalledWorkerOpensNothingBeforeSomebodyAnswersForItsNode(t *testing.T) {
	hear := func(yes bool) func(c *cluster) {
		loss := 1.0
		if yes {
			loss = 0
		}
		return func(c *cluster) { c.nodes[1].loop.SetLoss(loss, newRand()) }
	}
	for _, row := range []struct {
		name   string
		before func(c *cluster)
		after  func(c *cluster)
		then   func(c *cluster) // once it goes on
		thaws  bool             // before a second has gone by
	}{
		{"the peer answers", hear(true), hear(true), nil, true},
		{"the peer answered only before the stand-still", hear(true), hear(false), nil, false},
		{"nobody ever answers", hear(false), hear(false), nil, false},
		{"the coordinator shows a view", hear(false), hear(false), func(c *cluster) {
			c.view++
			m := c.membership(0)
			c.apply(func(ctx context.Context) error { _, err := c.nodes[0].ApplyMembership(ctx, m); return err })
		}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newCluster(t, 1, 2, 1)
			c.echo()
			c.show()
			c.warm()
			n := c.nodes[0]
			c.onlyVia(0)
			row.before(c)
			port := uint16(9000)
			refused := func() (d uint64) {
				before := c.sum(n, "drop_not_allocating")
				for range 20 {
					port++
					c.client.Send(dpdtest.TCP(clientAddr(false, port), vipOf(false)).Flags(packet.SYN))
				}
				c.run(5)
				return c.sum(n, "drop_not_allocating") - before
			}
			if d := refused(); d != 0 {
				t.Fatalf("%d refused before anything happened", d)
			}
			c.stuck[n.workers[1]] = true // the other worker and the sync thread go on
			c.run(1500)
			row.after(c)
			clear(c.stuck)
			c.run(1)
			c.watch(n)
			if d := refused(); d == 0 || d == 20 {
				t.Errorf("%d of 20 refused by the worker that stood still", d)
			}
			if row.then != nil {
				row.then(c)
			}
			for range 30 {
				c.run(20)
				c.watch(n)
			}
			if d := refused(); d == 0 != row.thaws {
				t.Errorf("%d of 20 refused after 0.6 s", d)
			}
			c.run(400)
			if d := refused(); d != 0 {
				t.Errorf("%d of 20 refused after more than a second", d)
			}
		})
	}
}
