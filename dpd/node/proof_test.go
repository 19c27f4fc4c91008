package node

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/announce"
	"github.com/holdfast-lb/holdfast/dpd/internal/config"
	"github.com/holdfast-lb/holdfast/dpd/internal/control"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

var routerMAC = [6]byte{2, 0, 0, 0, 9, 9}

// router is the gateway of all nodes. It answers echoes, and sends what is for an announced address to the node with the
// shortest path among those whose routes it has learned.
type router struct {
	send   func([]byte)
	routes map[netip.Prefix]map[int]int // AS path by node
	lost   netip.Prefix                 // it has no route to this one
	knows  map[int]bool                 // the node's session stands
	silent bool                         // echoes are lost
	got    []netip.Addr                 // sources of echo requests that came, local addresses alone
}

func (r *router) Deliver(f []byte) {
	var i packet.Info
	if packet.Parse(f, &i) != packet.OK || !i.ForMAC(packet.MACWord(routerMAC)) {
		return
	}
	src := packet.Ethernet(f).Src()
	switch {
	case i.Class == packet.ClassARP && packet.ARP(f[i.L3:]).Op() == packet.ARPRequest:
		if a := packet.ARP(f[i.L3:]); netip.AddrFrom4(a.TargetIP()) == dpdtest.Addr("10.0.0.1") {
			r.send(dpdtest.ARP(packet.ARPReply, routerMAC, dpdtest.Addr("10.0.0.1"), a.SenderMAC(), netip.AddrFrom4(a.SenderIP())).Bytes())
		}
	case i.Class == packet.ClassND && i.Type == packet.ICMPv6Solicit:
		m := packet.ICMP(f[i.L4:i.End])
		if t := netip.AddrFrom16(m.Target()); t == dpdtest.Addr("fd00::1") {
			from, _ := netip.AddrFromSlice(f[i.L3+8 : i.L3+24])
			r.send(dpdtest.NA(routerMAC, t, from, t, packet.NDSolicited|packet.NDOverride|packet.NDRouter).Eth(src, routerMAC).Bytes())
		}
	case i.Class == packet.ClassEcho && (i.Type == packet.ICMPEcho || i.Type == packet.ICMPv6Echo):
		k := keyOf(&i)
		to, rest := src, packet.ICMP(f[i.L4:]).Rest()
		if from := k.Src().Addr(); !strings.HasPrefix(from.String(), "10.0.0.") && !strings.HasPrefix(from.String(), "fd00::") && from.IsGlobalUnicast() {
			r.got = append(r.got, from)
			best, p := -1, netip.PrefixFrom(from, from.BitLen())
			for node, path := range r.routes[p] {
				if r.knows[node] && p != r.lost && (best < 0 || path < r.routes[p][best]) {
					best = node
				}
			}
			if best < 0 {
				return
			}
			to = nodeMAC(best)
		}
		if !r.silent {
			r.send(dpdtest.EchoReply(k.Dst().Addr(), k.Src().Addr(), uint16(rest>>16), uint16(rest)).Eth(to, routerMAC).Bytes())
		}
	}
}

// session is one node's BGP session to the router.
type session struct {
	r    *router
	node int
}

func (s session) Announce(a announce.Route) error {
	if s.r.routes[a.Prefix] == nil {
		s.r.routes[a.Prefix] = map[int]int{}
	}
	s.r.routes[a.Prefix][s.node] = a.Prepend
	return nil
}

func (s session) Withdraw(p netip.Prefix) error { delete(s.r.routes[p], s.node); return nil }
func (s session) Peers() []announce.PeerState   { return nil }
func (s session) Stop()                         {}

// routed makes a cluster whose nodes have a router for a gateway, and announce to it.
func routed(t *testing.T) (*cluster, *router) {
	c := newCluster(t, 1)
	r := &router{routes: map[netip.Prefix]map[int]int{}, knows: map[int]bool{}}
	_, r.send = c.sw.Attach(r)
	c.adjust = func(_ int, cfg *config.Config) {
		cfg.BGP.Guard = true
		for _, v := range [][2]string{{"0.0.0.0/0", "10.0.0.1"}, {"::/0", "fd00::1"}} {
			cfg.Ports[0].Routes = append(cfg.Ports[0].Routes, config.Route{To: netip.MustParsePrefix(v[0]), Via: netip.MustParseAddr(v[1])})
		}
	}
	return c, r
}

// join adds a node that announces to r and has everything else that it needs.
func (c *cluster) join(r *router) (int, *Node) {
	i := len(c.nodes)
	c.add(i, 1, 1)
	return i, c.speak(r, i)
}

func (c *cluster) speak(r *router, i int) *Node {
	n := c.nodes[i]
	n.cfg.Announce = config.AnnounceBGP
	n.ann = announce.New(session{r, i}, true, true, n.log)
	c.states[n] = control.Joining
	c.show()
	c.stock(i)
	c.look(n, 300)
	return n
}

// look lets ms milliseconds pass in which a node looks at itself.
func (c *cluster) look(n *Node, ms int64) {
	for end := c.now + ms; c.now < end; {
		c.run(20)
		c.watch(n)
	}
}

// lacks says what the condition of routes lacks; "" when it is met.
func (c *cluster) lacks(n *Node) string {
	c.watch(n)
	for _, x := range n.Status().Conditions {
		if x.Type == control.ConditionRoutes && !x.Met {
			return x.Detail
		}
	}
	return ""
}

func TestAJoinerIsReadyOnlyWhenTheRouterSendsItWhatIsForItsAddresses(t *testing.T) {
	for _, row := range []struct {
		name  string
		set   func(c *cluster, r *router)
		wait  string // part of what is missing before learn; "" for nothing
		learn func(c *cluster, r *router)
	}{
		{"a router that learns at once", func(_ *cluster, r *router) { r.knows[0], r.knows[1] = true, true }, "", func(*cluster, *router) {}},
		{"a router that never learned any route", func(*cluster, *router) {}, "no echo of the gateway has come back to 10.8.0.2",
			func(_ *cluster, r *router) { r.knows[1] = true }},
		{"a router that knows the way to the others alone", func(_ *cluster, r *router) { r.knows[0] = true }, "no echo of the gateway has come back to 10.8.0.2",
			func(_ *cluster, r *router) { r.knows[1] = true }},
		{"a router that lost the IPv6 route", func(_ *cluster, r *router) {
			r.knows[0], r.knows[1], r.lost = true, true, netip.MustParsePrefix("fd08::2/128")
		}, "fd08::2: no router sends here what is for it (1 of 2", func(_ *cluster, r *router) { r.lost = netip.Prefix{} }},
		{"a router that answers no echo", func(_ *cluster, r *router) { r.knows[0], r.knows[1], r.silent = true, true, true }, "no echo of the gateway",
			func(_ *cluster, r *router) { r.silent = false }},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, r := routed(t)
			c.echo()
			r.knows[0] = true
			_, first := c.join(r)
			if s := first.Status().State; s != control.StateReady {
				t.Fatalf("the first node is in state %d: %s", s, c.lacks(first))
			}
			c.states[first] = control.Admitted
			c.show()
			r.knows[0] = false
			row.set(c, r)
			_, n := c.join(r)
			what := c.lacks(n)
			if s := n.Status().State; row.wait == "" && (what != "" || s != control.StateReady) || row.wait != "" && (!strings.Contains(what, row.wait) || s != control.StateJoining) {
				t.Fatalf("state %d, lacks %q, want %q", s, what, row.wait)
			}
			if row.wait != "" {
				if got := c.unmet(n); !slices.Equal(got, []control.ConditionType{control.ConditionRoutes}) {
					t.Errorf("unmet: %v", got)
				}
				r.got = nil
				c.look(n, 1000)
				if k := len(r.got); k == 0 || k > 22 {
					t.Errorf("%d requests in a second", k)
				}
			}
			if !slices.ContainsFunc(n.announced, func(r purposeRoute) bool { return r.purpose == purposeLaddr }) ||
				slices.ContainsFunc(n.announced, func(r purposeRoute) bool { return r.purpose == purposeVIP }) {
				t.Errorf("announced: %v", n.announced)
			}
			row.learn(c, r)
			c.look(n, 200)
			if what := c.lacks(n); what != "" || n.Status().State != control.StateReady {
				t.Fatalf("state %d, lacks %q", n.Status().State, what)
			}
			c.states[n] = control.Admitted
			c.show()
			c.watch(n)
			if n.Status().State != control.StateAdmitted || c.lacks(n) != "" {
				t.Errorf("state %d, lacks %q", n.Status().State, c.lacks(n))
			}
			for _, x := range []*Node{first, n} { // a stray reply must not pass for the answer to a probe
				if k := c.syncCounts(x)["host_proof_heard"]; k != 2 {
					t.Errorf("%s heard %d proofs", x.cfg.Node.Name, k)
				}
			}
		})
	}
}

func TestWhereNothingCanBeProvedTheRoutesConditionIsMet(t *testing.T) {
	for _, row := range []struct {
		name     string
		adjust   func(*config.Config)
		announce config.Announce
	}{
		{"nothing is announced", nil, config.AnnounceNone},
		{"no gateway is configured", func(cfg *config.Config) { cfg.Ports[0].Routes = nil }, config.AnnounceBGP},
		{"the gateway is known to answer no echoes", func(cfg *config.Config) { cfg.BGP.Guard = false }, config.AnnounceBGP},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, r := routed(t)
			r.silent = true
			if inner := c.adjust; row.adjust != nil {
				c.adjust = func(i int, cfg *config.Config) { inner(i, cfg); row.adjust(cfg) }
			}
			c.add(0, 1, 1)
			n := c.nodes[0]
			c.states[n] = control.Joining
			n.cfg.Announce = row.announce
			if row.announce == config.AnnounceBGP {
				n.ann = announce.New(session{r, 0}, true, true, n.log)
			}
			c.show()
			c.look(n, 60)
			if what := c.lacks(n); what != "" || n.Status().State != control.StateReady {
				t.Errorf("state %d, lacks %q", n.Status().State, what)
			}
		})
	}
}

func TestRoutesAreProvedAnewAfterTheyWereGone(t *testing.T) {
	for _, row := range []struct {
		name string
		gone func(c *cluster, r *router, n *Node)
		back func(c *cluster, n *Node)
	}{
		{"a new life", func(c *cluster, _ *router, _ *Node) {
			c.incs[0]++
			c.show()
		}, func(*cluster, *Node) {}},
		{"held back by the guard", func(c *cluster, _ *router, n *Node) {
			why := "link down"
			n.held.Store(&why)
			c.look(n, 40)
			if what := c.lacks(n); !strings.Contains(what, why) {
				c.t.Errorf("lacks %q", what)
			}
		}, func(c *cluster, n *Node) {
			why := ""
			n.held.Store(&why)
		}},
		{"another block", func(c *cluster, _ *router, _ *Node) {
			c.view++
			m := c.membership(0)
			m.Blocks = append(m.Blocks, control.Block{ID: 9, Addrs: []netip.Addr{dpdtest.Addr("10.8.0.9")}, Holder: c.life(0), Epoch: 1})
			c.apply(func(ctx context.Context) error { _, err := c.nodes[0].ApplyMembership(ctx, m); return err })
		}, func(*cluster, *Node) {}},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, r := routed(t)
			r.knows[0] = true
			_, n := c.join(r)
			if n.Status().State != control.StateReady {
				t.Fatalf("lacks %q", c.lacks(n))
			}
			r.knows[0] = false // the router has not learned the routes again
			row.gone(c, r, n)
			row.back(c, n)
			c.look(n, 300)
			if what := c.lacks(n); what == "" || n.Status().State != control.StateJoining {
				t.Errorf("state %d, lacks %q", n.Status().State, what)
			}
			r.knows[0] = true
			c.look(n, 300)
			if what := c.lacks(n); what != "" || n.Status().State != control.StateReady {
				t.Errorf("state %d, lacks %q", n.Status().State, what)
			}
		})
	}
}
