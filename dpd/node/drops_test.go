package node

import (
	"context"
	"maps"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/control"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

// drops are the reasons for which a node dropped packets, and how many.
func (c *cluster) drops(n *Node) map[string]uint64 {
	c.run(11) // workers publish every 10 ms
	var s control.Stats
	c.apply(func(context.Context) error { s = n.Stats(); return nil })
	out := map[string]uint64{}
	for _, w := range s.Workers {
		for _, x := range w.Drops {
			if x.Value > 0 {
				out[x.Name] += x.Value
			}
		}
	}
	return out
}

func TestEveryDropIsCountedOnceUnderItsOwnReason(t *testing.T) {
	other := [6]byte{2, 0, 0, 0, 7, 7}
	to := func(c *cluster, f *dpdtest.Frame) []byte { return f.Eth(nodeMAC(0), c.client.MAC).Bytes() }
	ack := func(s *flow.Session, d flow.Direction) *dpdtest.Frame {
		k := s.Orig
		if d == flow.Out {
			k = s.Reply
		}
		q := s.Seq[d]
		return dpdtest.TCP(k.Src(), k.Dst()).Flags(packet.ACK).Seq(q.Next).Ack(q.Ack).Window(q.Window)
	}
	for _, row := range []struct {
		name string
		send func(c *cluster, s *flow.Session)
		want map[string]uint64
		also map[string]uint64 // counters that are no drops
	}{
		{"another station's MAC", func(c *cluster, _ *flow.Session) {
			c.client.SendFrame(dpdtest.TCP(clientAddr(false, 99), vipOf(false)).Flags(packet.SYN).Eth(other, c.client.MAC).Bytes())
		}, map[string]uint64{"drop_not_for_us": 1}, nil},
		{"another VLAN", func(c *cluster, _ *flow.Session) {
			c.client.SendFrame(to(c, dpdtest.TCP(clientAddr(false, 99), vipOf(false)).Flags(packet.SYN).VLAN(7)))
		}, map[string]uint64{"drop_wrong_vlan": 1}, nil},
		{"acknowledgements that answer each other", func(c *cluster, s *flow.Session) {
			for range 12 {
				c.client.Send(ack(s, flow.In))
				c.server.Send(ack(s, flow.Out))
			}
		}, map[string]uint64{"drop_ack_storm": 24 - 8}, nil},
		{"SYNs that begin anew", func(c *cluster, s *flow.Session) {
			for i := range uint32(600) {
				c.client.Send(dpdtest.TCP(s.Orig.Src(), s.Orig.Dst()).Flags(packet.SYN).Seq(i * 1000))
			}
		}, map[string]uint64{"drop_syn_limited": 100}, nil},
		{"ICMP errors about one session", func(c *cluster, s *flow.Session) {
			q := dpdtest.TCP(s.Reply.Dst(), s.Reply.Src()).Seq(1).Bytes()
			for range 600 {
				c.server.Send(dpdtest.ICMPError(dpdtest.Addr("10.0.0.99"), 3, 1, 0, q, 548))
			}
		}, map[string]uint64{"drop_icmp_session_limited": 592}, map[string]uint64{"icmp_errors": 8}},
		{"answers of ours", func(c *cluster, s *flow.Session) {
			for range 80 {
				c.client.Send(dpdtest.TCP(s.Orig.Src(), s.Orig.Dst()).Seq(1).TTL(1))
			}
		}, map[string]uint64{"drop_ttl": 80}, map[string]uint64{"unanswered": 30, "generated": 50}},
		{"an ICMP error with a wrong checksum", func(c *cluster, s *flow.Session) {
			b := to(c, dpdtest.ICMPError(dpdtest.Addr("10.0.0.99"), 3, 1, 0, dpdtest.TCP(s.Reply.Dst(), s.Reply.Src()).Seq(1).Bytes(), 548))
			b[14+20+2] ^= 1
			c.client.SendFrame(b)
		}, map[string]uint64{"drop_bad_icmp_checksum": 1}, nil},
		{"a segment of nobody's", func(c *cluster, _ *flow.Session) {
			c.client.Send(dpdtest.TCP(clientAddr(false, 99), vipOf(false)).Text("middle"))
		}, map[string]uint64{"drop_no_session": 1}, map[string]uint64{"held": 1, "released": 1}},
		{"a segment that no peer answers for", func(c *cluster, _ *flow.Session) {
			c.nodes[1].loop.SetLoss(1, newRand())
			c.client.Send(dpdtest.TCP(clientAddr(false, 99), vipOf(false)).Text("middle"))
		}, map[string]uint64{"drop_hold_timeout": 1}, map[string]uint64{"held": 1, "released": 0}},
		{"no datagram that no peer answers for", func(c *cluster, _ *flow.Session) {
			c.nodes[1].loop.SetLoss(1, newRand())
			c.client.SendUDP(clientAddr(false, 99), vipOf(false), []byte("one"))
		}, map[string]uint64{}, map[string]uint64{"held": 1, "released": 0, "opened": 1}},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newCluster(t, 1, 1, 1)
			c.echo()
			c.show()
			c.warm()
			k := c.client.Dial(clientAddr(false, 4000), vipOf(false))
			c.run(100)
			c.talk([]*dpdtest.Conn{k}, 200)
			s := c.only(c.nodes[0], 4000)
			before := c.drops(c.nodes[0])
			was := map[string]uint64{}
			for name := range row.also {
				was[name] = c.sum(c.nodes[0], name)
			}
			row.send(c, &s)
			for range 24 {
				c.turn() // all of them in one millisecond
			}
			c.run(130)
			got := c.drops(c.nodes[0])
			for name, v := range before {
				if got[name] -= v; got[name] == 0 {
					delete(got, name)
				}
			}
			if !maps.Equal(got, row.want) {
				t.Errorf("dropped: %v, want %v", got, row.want)
			}
			for name, want := range row.also {
				if v := c.sum(c.nodes[0], name) - was[name]; v != want {
					t.Errorf("%s: %d, want %d", name, v, want)
				}
			}
		})
	}
}
