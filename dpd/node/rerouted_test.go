package node

import (
	"net/netip"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
)

func TestADatagramMissAsksFirstForTenSecondsAfterAChangeOfRoutes(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(c *cluster, n *Node)
		asks   bool
	}{
		{"nothing changed", func(*cluster, *Node) {}, false},
		{"services without another VIP", func(c *cluster, n *Node) { c.configure(n, other(2)) }, false},
		{"another VIP is announced", func(c *cluster, n *Node) {
			cfg := services()
			cfg.Revision, cfg.Services[0].VIP = 2, netip.AddrPortFrom(dpdtest.Addr("192.0.2.77"), 80)
			c.configure(n, cfg)
		}, true},
		{"the routes are held back", func(_ *cluster, n *Node) {
			n.dev.(*memory).port.SetLink(false)
			n.newGuard().look(n)
			n.dev.(*memory).port.SetLink(true)
		}, true},
		{"with a full mailbox", func(c *cluster, n *Node) {
			for n.workers[0].Post(func(*worker.Worker) {}) {
			}
			n.dev.(*memory).port.SetLink(false)
			n.newGuard().look(n)
			n.dev.(*memory).port.SetLink(true)
			for range 2 * mailbox {
				c.turn()
			}
			c.watch(n)
		}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newCluster(t, 1, 1, 1)
			c.show()
			c.server.OnUDP = func(_, _ netip.AddrPort, p []byte) []byte { return p }
			c.warm()
			c.rest(12_000)
			n := c.nodes[0]
			row.change(c, n)
			c.onlyVia(0)
			flow := uint16(6000)
			for _, step := range []struct {
				when string
				rest int64
				asks bool
			}{{"at once", 0, row.asks}, {"after nine seconds", 9_000, row.asks}, {"after eleven", 2_000, false}} {
				c.rest(step.rest)
				held, opened := c.sum(n, "held"), c.sum(n, "opened")
				flow++
				at := netip.AddrPortFrom(vipOf(true).Addr(), vipOf(true).Port())
				if row.name == "services without another VIP" {
					at = netip.AddrPortFrom(at.Addr(), 81)
				}
				c.client.SendUDP(clientAddr(true, flow), at, []byte("one"))
				c.run(150)
				if asked := c.sum(n, "held") > held; asked != step.asks {
					t.Errorf("%s: asked first: %v", step.when, asked)
				}
				if o := c.sum(n, "opened") - opened; o != 1 {
					t.Errorf("%s: %d sessions opened", step.when, o)
				}
			}
		})
	}
}
