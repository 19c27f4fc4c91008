package node

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/control"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/steer"
)

// other is the services with those of port 80 moved to port 81, as a later revision.
func other(revision uint64) control.Config {
	cfg := services()
	cfg.Revision = revision
	for i := range cfg.Services {
		cfg.Services[i].ID += 10
		cfg.Services[i].VIP = netip.AddrPortFrom(cfg.Services[i].VIP.Addr(), 81)
	}
	return cfg
}

func TestAChangeThatAThreadDoesNotHearIsRefusedInTimeAndChangesNothing(t *testing.T) {
	for _, row := range []struct {
		name string
		do   func(context.Context, *cluster, *Node) error
	}{
		{"services", func(ctx context.Context, _ *cluster, n *Node) error {
			_, err := n.ApplyConfig(ctx, other(2))
			return err
		}},
		{"view", func(ctx context.Context, c *cluster, n *Node) error {
			m := c.membership(0)
			m.View++
			m.Self.State = control.Draining
			_, err := n.ApplyMembership(ctx, m)
			return err
		}},
		{"keys", func(ctx context.Context, _ *cluster, n *Node) error {
			k := clusterKeys()
			k.Generation, k.Digest[0] = 2, 99
			_, err := n.ApplyKeys(ctx, k)
			return err
		}},
	} {
		for stuck := range 3 {
			t.Run(row.name, func(t *testing.T) {
				c := newCluster(t, 1, 3)
				c.echo()
				c.show()
				c.warm()
				n := c.nodes[0]
				c.stuck[n.workers[stuck]] = true
				c.apply(func(ctx context.Context) error {
					ctx, cancel := context.WithTimeout(ctx, 30*time.Millisecond)
					defer cancel()
					if err := row.do(ctx, c, n); !errors.Is(err, control.ErrBusy) {
						t.Errorf("got %v", err)
					}
					return nil
				})
				delete(c.stuck, n.workers[stuck])
				c.run(20)
				if cfg, view, keys := n.Revisions(); cfg != 1 || view != 1 || keys != 1 {
					t.Errorf("in force: %d, %d, %d", cfg, view, keys)
				}
				c.talk(c.dial(8), 100)
				if d := c.sum(n, "drop_not_allocating"); d != 0 {
					t.Errorf("%d new connections refused", d)
				}
				c.apply(func(ctx context.Context) error { return row.do(ctx, c, n) })
				if cfg, view, keys := n.Revisions(); cfg+view+keys != 4 {
					t.Errorf("in force after the second try: %d, %d, %d", cfg, view, keys)
				}
			})
		}
	}
}

func TestServicesThatCanNotBeInForceLeaveTheOldOnes(t *testing.T) {
	for _, row := range []struct {
		name string
		bad  func(*control.Config)
	}{
		{"two services of one endpoint", func(c *control.Config) { c.Services[1] = c.Services[0]; c.Services[1].ID = 99 }},
		{"a VIP that is a local address", func(c *control.Config) { c.Services[0].VIP = dpdtest.AP("10.8.0.1:80") }},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newCluster(t, 1, 2)
			c.echo()
			c.show()
			c.warm()
			n := c.nodes[0]
			cfg := other(2)
			row.bad(&cfg)
			c.apply(func(ctx context.Context) error {
				if _, err := n.ApplyConfig(ctx, cfg); err == nil {
					t.Error("applied")
				}
				return nil
			})
			if rev, _, _ := n.Revisions(); rev != 1 {
				t.Errorf("revision %d is in force", rev)
			}
			c.talk(c.dial(8), 100)
			c.configure(n, other(2))
			if rev, _, _ := n.Revisions(); rev != 2 {
				t.Errorf("revision %d is in force", rev)
			}
		})
	}
}

func TestAnotherRSSKeyIsRefusedAndSessionsGoOn(t *testing.T) {
	c := newCluster(t, 1, 3)
	c.echo()
	c.show()
	c.warm()
	n := c.nodes[0]
	conns := c.dial(16)
	c.talk(conns, 100)
	other := func(generation uint64) control.Keys {
		k := clusterKeys()
		k.Generation, k.RSS[0], k.Digest[0], k.Keys[0].Secret[0] = generation, 99, 99, 99
		return k
	}
	var rules []RuleResult
	for _, r := range n.rules {
		rules = append(rules, r.rules...)
	}
	c.apply(func(ctx context.Context) error {
		if done, err := n.ApplyKeys(ctx, other(2)); done || !errors.Is(err, control.ErrRSSKey) {
			t.Errorf("a call: %v, %v", done, err)
		}
		for _, generation := range []uint64{1, 2} {
			m := c.membership(0)
			m.View, m.Self.Life.Inc = 9, 9
			m.Members[0].Life.Inc = 9
			if err := n.become(ctx, assignment{membership: m, keys: other(generation)}); !errors.Is(err, control.ErrRSSKey) {
				t.Errorf("a place in another cluster, generation %d: %v", generation, err)
			}
		}
		return nil
	})
	if cfg, view, keys := n.Revisions(); cfg != 1 || view != 1 || keys != 1 {
		t.Errorf("in force: %d, %d, %d", cfg, view, keys)
	}
	if n.lifeNow() != c.life(0) || n.Status().State != control.StateAdmitted {
		t.Errorf("life %v, state %d", n.lifeNow(), n.Status().State)
	}
	if good := clusterKeys(); !slices.Equal(n.keys.Digest, good.Digest) || !slices.Equal(n.keys.Keys[0].Secret, good.Keys[0].Secret) || n.hasher.Key() != steer.Key(good.RSS) {
		t.Error("a part of what was refused is in force")
	}
	for _, r := range n.rules {
		if !slices.EqualFunc(r.rules, rules[:len(r.rules)], func(a, b RuleResult) bool { return sameRule(a.Rule, b.Rule) }) {
			t.Error("the steering changed")
		}
		rules = rules[len(r.rules):]
	}
	for i := range uint16(8) {
		conns = append(conns, c.client.Dial(clientAddr(i%2 == 1, 9000+i), vipOf(i%2 == 1)))
	}
	c.run(20)
	c.talk(conns, 100)

	// New cluster keys under the same RSS key are taken.
	c.apply(func(ctx context.Context) error {
		k := other(2)
		k.RSS = clusterKeys().RSS
		done, err := n.ApplyKeys(ctx, k)
		if !done {
			t.Error("the same RSS key is refused")
		}
		return err
	})
	c.talk(conns, 100)
}

func TestTheFirstRSSKeyIsTakenWhateverItIs(t *testing.T) {
	c := newCluster(t, 1, 2)
	n := c.nodes[0]
	k := clusterKeys()
	k.RSS[0] = 99
	c.apply(func(ctx context.Context) error {
		done, err := n.ApplyKeys(ctx, k)
		if !done || n.hasher.Key() != steer.Key(k.RSS) {
			t.Error("not taken")
		}
		return err
	})
	// It counts from then on, before the node has a place.
	c.apply(func(ctx context.Context) error {
		next := clusterKeys()
		next.Generation = 2
		if _, err := n.ApplyKeys(ctx, next); !errors.Is(err, control.ErrRSSKey) {
			t.Errorf("the second: %v", err)
		}
		return nil
	})
}

func TestANodeThatForwardsWithoutKeysTakesNoRSSKey(t *testing.T) {
	c := newCluster(t, 1, 2)
	n := c.nodes[0]
	c.view++
	// As a node that runs by its own file: a view, and no keys.
	c.apply(func(ctx context.Context) error {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.useView(ctx, c.membership(0))
	})
	c.apply(func(ctx context.Context) error {
		if _, err := n.ApplyKeys(ctx, clusterKeys()); !errors.Is(err, control.ErrRSSKey) {
			t.Errorf("got %v", err)
		}
		return nil
	})
	if _, _, keys := n.Revisions(); keys != 0 {
		t.Errorf("generation %d is in force", keys)
	}
}

func TestViewsOfThePastOrOfSomebodyElseAreRefused(t *testing.T) {
	c := newCluster(t, 1, 1, 1)
	c.show()
	c.view = 7
	c.show()
	n := c.nodes[0]
	for _, row := range []struct {
		name string
		bad  func(*control.Membership)
		want error
	}{
		{"a lower view", func(m *control.Membership) { m.View = 3 }, control.ErrStaleView},
		{"the same view", func(*control.Membership) {}, nil},
		{"another incarnation", func(m *control.Membership) { m.View++; m.Self.Life.Inc++ }, control.ErrWrongLife},
		{"another node", func(m *control.Membership) { m.View++; m.Self.Life.ID++ }, control.ErrWrongLife},
	} {
		c.apply(func(ctx context.Context) error {
			m := c.membership(0)
			row.bad(&m)
			if done, err := n.ApplyMembership(ctx, m); done || !errors.Is(err, row.want) {
				t.Errorf("%s: %v, %v", row.name, done, err)
			}
			return nil
		})
	}
	c.apply(func(ctx context.Context) error {
		m := c.membership(0)
		m.View, m.Self.Life.Inc = 3, 2
		if err := n.become(ctx, assignment{membership: m, keys: clusterKeys()}); !errors.Is(err, control.ErrStaleView) {
			t.Errorf("a life under a lower view: %v", err)
		}
		return nil
	})
	if n.lifeNow() != c.life(0) || n.Status().State != control.StateAdmitted {
		t.Errorf("life %v, state %d", n.lifeNow(), n.Status().State)
	}
}

func TestViewsAndServicesChangeUnderTraffic(t *testing.T) {
	c := newCluster(t, 1, 3, 1)
	c.echo()
	c.show()
	c.warm()
	c.to = byPort(2)
	conns := c.dial(16)
	for i := range 20 {
		c.view++
		for k, n := range c.nodes {
			// New connections and the change are under way at once.
			conns = append(conns, c.client.Dial(clientAddr(i%2 == 1, uint16(9000+2*i+k)), vipOf(i%2 == 1)))
			m := c.membership(k)
			c.apply(func(ctx context.Context) error { _, err := n.ApplyMembership(ctx, m); return err })
			cfg := services()
			cfg.Revision = uint64(2 + i)
			cfg.Services[0].Servers[0].Weight = uint32(1 + i)
			c.configure(n, cfg)
		}
		c.run(20)
		c.talk(conns, 60)
	}
	for _, n := range c.nodes {
		if d := c.sum(n, "drop_not_allocating"); d != 0 {
			t.Errorf("%s refused %d new connections", n.cfg.Node.Name, d)
		}
	}
	for i, k := range conns {
		if k.Repeats() > 0 {
			t.Errorf("connection %d repeated %d times", i, k.Repeats())
		}
	}
}

func TestSessionsOutliveTheirServiceAndServer(t *testing.T) {
	c := newCluster(t, 1, 2, 1)
	c.echo()
	c.show()
	c.warm()
	c.to = byPort(2)
	conns := c.dial(16)
	c.talk(conns, 200)
	for _, n := range c.nodes {
		c.configure(n, other(2))
	}
	c.talk(conns, 200)
	c.kill(0)
	c.to = func(bool, *packet.Info) int { return 1 }
	c.talk(conns, 1500)
	k := c.client.Dial(clientAddr(false, 7777), vipOf(false))
	c.run(100)
	if k.Established() {
		t.Error("a service that is gone took a new connection")
	}
	k.Abort()
	l := c.client.Dial(clientAddr(false, 7778), netip.AddrPortFrom(vipOf(false).Addr(), 81))
	c.run(100)
	c.talk([]*dpdtest.Conn{l}, 100)
}

func TestDeletedSessionsAreClosedOnAllNodes(t *testing.T) {
	c := newCluster(t, 1, 2, 1, 1)
	c.echo()
	c.show()
	c.warm()
	c.to = byPort(3)
	conns := c.dial(24)
	c.talk(conns, 200)
	closed := uint64(0)
	for _, n := range c.nodes {
		c.apply(func(ctx context.Context) error {
			k, err := n.Close(ctx, func(s *flow.Session) bool { return s.Orig.SrcPort() >= 4000 && s.Orig.SrcPort() < 4012 })
			closed += k
			return err
		})
	}
	c.run(50)
	if closed != 12 {
		t.Errorf("%d closed of 12", closed)
	}
	for _, n := range c.nodes {
		for i := range uint16(24) {
			if live := len(c.live(n, 4000+i)); (live == 1) != (i >= 12) {
				t.Errorf("connection %d: %d live records on %s", i, live, n.cfg.Node.Name)
			}
		}
	}
	c.talk(conns[12:], 200)
	for _, k := range conns[:12] {
		k.Write([]byte("x"))
	}
	c.run(50)
	for i, k := range conns[:12] {
		if k.Unacked() == 0 {
			t.Errorf("closed connection %d goes on", i)
		}
		k.Abort()
	}
}

func TestAChangeIsAnnouncedAndToldAtOnce(t *testing.T) {
	c := newCluster(t, 1, 1, 1)
	c.show()
	n := c.nodes[0]
	has := func(a, purpose string) bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return slices.ContainsFunc(n.announced, func(r purposeRoute) bool { return r.Prefix.Addr() == dpdtest.Addr(a) && r.purpose == purpose })
	}
	told := func(what string, do func()) {
		t.Helper()
		changed := n.Changed()
		do()
		select {
		case <-changed:
		default:
			t.Errorf("%s: who watches is not told", what)
		}
	}
	cfg := services()
	cfg.Revision = 2
	cfg.Services[0].VIP = dpdtest.AP("192.0.2.9:80")
	told("services", func() { c.configure(n, cfg) })
	if !has("192.0.2.9", purposeVIP) || !has("192.0.2.1", purposeVIP) || !has("10.8.0.1", purposeLaddr) || !has("10.8.0.2", purposeBackup) || !has("10.0.0.91", purposeSIP) {
		t.Errorf("announced: %v", n.announced)
	}
	c.holder[1] = 0
	c.view++
	told("a view", func() {
		m := c.membership(0)
		c.apply(func(ctx context.Context) error { _, err := n.ApplyMembership(ctx, m); return err })
	})
	if !has("10.8.0.2", purposeLaddr) {
		t.Errorf("announced: %v", n.announced)
	}
	told("a drain", func() { c.apply(func(context.Context) error { return n.Drain(60_000) }) })
	if has("192.0.2.9", purposeVIP) || !has("10.8.0.1", purposeLaddr) {
		t.Errorf("announced while draining: %v", n.announced)
	}
}
