package node

import (
	"context"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/control"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

func TestSessionsOfAnUnknownServiceOrServerAreShownUnboundAndBindWhenItComes(t *testing.T) {
	c := newCluster(t, 1, 2, 1)
	c.echo()
	c.show()
	c.warm()
	c.onlyVia(0)
	conns := c.dial(4) // two of IPv4, two of IPv6
	c.talk(conns, 200)
	n := c.nodes[1]
	unbound := func(when string, want int) {
		t.Helper()
		got, asked, found := 0, 0, 0
		c.apply(func(ctx context.Context) error {
			return n.Sessions(ctx, func(s *flow.Session) bool {
				if s.Flags&flow.Unbound != 0 {
					asked++ // a filter sees the flag too
				}
				return s.Orig.SrcPort() >= 4000 && s.Orig.SrcPort() < 4004
			}, func(s *flow.Session, _ int) bool {
				if s.Flags&flow.Unbound != 0 {
					got++
				}
				return true
			})
		})
		for i := range uint16(4) {
			k, err := flow.MakeKey(flow.ProtoTCP, clientAddr(i%2 == 1, 4000+i), vipOf(i%2 == 1))
			if err != nil {
				t.Fatal(err)
			}
			c.apply(func(ctx context.Context) error {
				s, _, err := n.Session(ctx, k)
				if s.Flags&flow.Unbound != 0 {
					found++
				}
				return err
			})
		}
		if got != want || found != want || asked < want || want == 0 && asked > 0 {
			t.Errorf("%s: %d are listed as unbound, %d found so one by one, a filter saw %d; want %d", when, got, found, asked, want)
		}
	}
	set := func(revision uint64, change func(*control.Config)) {
		cfg := services()
		cfg.Revision = revision
		change(&cfg)
		c.configure(n, cfg)
	}
	unbound("all is configured", 0)
	set(2, func(cfg *control.Config) { cfg.Services = cfg.Services[1:] })
	unbound("the IPv4 service is gone", 2)
	set(3, func(cfg *control.Config) { cfg.Services[1].Servers[0].ID = 77 })
	unbound("the IPv6 service has another server", 2)
	set(4, func(cfg *control.Config) { cfg.Services = nil })
	unbound("no service at all", 4)
	c.onlyVia(1)
	c.talk(conns, 300) // the mapping serves all the same
	set(5, func(*control.Config) {})
	unbound("all is back", 0)
	c.talk(conns, 300)
}
