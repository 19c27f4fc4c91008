package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/control"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

// syncTap gathers the sync datagrams on the switch, by the node that they go to.
type syncTap struct {
	payload [][]byte // of those to the first node
	sent    [][]byte // by the first node
	replies int      // of the first node
}

func (c *cluster) tapSync() *syncTap {
	s := &syncTap{}
	c.sw.Tap(func(_ int64, port int, f []byte) {
		var i packet.Info
		if packet.Parse(f, &i) != packet.OK || i.Class != packet.ClassUDP {
			return
		}
		k, b := keyOf(&i), slices.Clone(f[i.Payload:int(i.Payload)+int(i.PayloadLen)])
		switch {
		case port == c.plug[0] && k.SrcPort() == 7946:
			s.replies++
			s.sent = append(s.sent, b)
		case k.DstPort() == 7946 && (k.Dst().Addr() == dpdtest.Addr("10.0.0.91") || k.Dst().Addr() == dpdtest.Addr("fd00::91")):
			s.payload = append(s.payload, b)
		}
	})
	return s
}

// records is everything that a node holds, in words that time alone does not change.
func (c *cluster) records(n *Node) (out []string) {
	for _, s := range c.sessions(n) {
		out = append(out, fmt.Sprint(s.Orig, s.Reply, s.Birth, s.Owner, s.Term, s.Ver, s.Flags, s.State, s.Bits, s.Timeout))
	}
	slices.Sort(out)
	return out
}

// syncCounts are the node-wide counters of the sync thread's machine.
func (c *cluster) syncCounts(n *Node) map[string]uint64 {
	var s control.Stats
	c.apply(func(context.Context) error { s = n.Stats(); return nil })
	out := map[string]uint64{}
	for _, x := range s.Node {
		out[x.Name] = x.Value
	}
	return out
}

func TestHostileDatagramsChangeNothingAndGetNoReply(t *testing.T) {
	peer, stranger := dpdtest.AP("[fd00::92]:7946"), dpdtest.AP("[fd00::666]:7946")
	rnd := rand.New(rand.NewPCG(5, 6))
	pick := func(s *syncTap) []byte { return slices.Clone(s.payload[rnd.IntN(len(s.payload))]) }
	for _, row := range []struct {
		name string
		from netip.AddrPort
		make func(s *syncTap) []byte
	}{
		{"nothing at all", peer, func(*syncTap) []byte { return nil }},
		{"noise", peer, func(*syncTap) []byte {
			b := make([]byte, rnd.IntN(1400))
			for i := range b {
				b[i] = byte(rnd.Uint32())
			}
			return b
		}},
		{"noise behind a true header", peer, func(s *syncTap) []byte {
			b := pick(s)
			for i := 32; i < len(b); i++ {
				b[i] = byte(rnd.Uint32())
			}
			return b
		}},
		{"true datagrams again", peer, pick},
		{"true datagrams again, from elsewhere", stranger, pick},
		{"truncated", peer, func(s *syncTap) []byte { b := pick(s); return b[:rnd.IntN(len(b))] }},
		{"one bit flipped", peer, func(s *syncTap) []byte {
			b := pick(s)
			b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
			return b
		}},
		{"one bit flipped, from elsewhere", stranger, func(s *syncTap) []byte {
			b := pick(s)
			b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
			return b
		}},
		{"with a tail", peer, func(s *syncTap) []byte { return append(pick(s), make([]byte, 1+rnd.IntN(40))...) }},
		{"its own, reflected", peer, func(s *syncTap) []byte { return slices.Clone(s.sent[rnd.IntN(len(s.sent))]) }},
		{"in its own name", dpdtest.AP("[fd00::91]:7946"), pick},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newCluster(t, 1, 2, 1)
			c.echo()
			tap := c.tapSync()
			c.show()
			c.warm()
			c.to = byPort(2)
			conns := c.dial(16)
			c.talk(conns, 300)
			c.run(300)
			n := c.nodes[0]
			before, counts := c.records(n), c.syncCounts(n)
			c.turn()
			tap.replies = 0
			const shots = 400
			list := [][]byte{}
			for range shots {
				list = append(list, row.make(tap))
			}
			for _, b := range list {
				c.client.SendFrame(dpdtest.UDP(row.from, dpdtest.AP("[fd00::91]:7946")).Payload(b).Eth(nodeMAC(0), c.client.MAC).Bytes())
				c.turn() // no time passes, so whatever comes out is an answer
			}
			c.turn()
			if tap.replies != 0 {
				t.Errorf("%d replies", tap.replies)
			}
			after, now := c.records(n), c.syncCounts(n)
			if !slices.Equal(before, after) {
				t.Error("the table has changed")
			}
			refused := uint64(0)
			for k, v := range now {
				if strings.HasPrefix(k, "sync_refused_") || strings.HasPrefix(k, "sync_seal_") || slices.Contains([]string{"sync_foreign_source", "sync_not_member", "sync_self", "sync_not_believed", "sync_limited"}, k) {
					refused += v - counts[k]
				}
			}
			if d := now["sync_seal_opened"] - counts["sync_seal_opened"]; d != 0 {
				t.Errorf("%d were opened", d)
			}
			if refused != shots {
				t.Errorf("%d of %d are counted: %v", refused, shots, now)
			}
			c.talk(conns, 300)
			c.kill(1)
			c.onlyVia(0)
			c.talk(conns, 1500)
		})
	}
}

func TestDamagedFramesAtTheSyncPortAreDropped(t *testing.T) {
	c := newCluster(t, 1, 1, 1)
	tap := c.tapSync()
	c.show()
	c.run(300)
	n := c.nodes[0]
	before := c.records(n)
	rnd := rand.New(rand.NewPCG(7, 8))
	tap.replies = 0
	for range 3000 {
		b := dpdtest.UDP(dpdtest.AP("[fd00::92]:7946"), dpdtest.AP("[fd00::91]:7946")).Payload(tap.payload[rnd.IntN(len(tap.payload))]).Eth(nodeMAC(0), c.client.MAC).Bytes()
		for range 1 + rnd.IntN(3) {
			b[12+rnd.IntN(14+40+8-12)] ^= byte(1 + rnd.IntN(255)) // EtherType, IP and UDP headers
		}
		if rnd.IntN(4) == 0 {
			b = b[:rnd.IntN(len(b))]
		}
		c.client.SendFrame(b)
		c.turn()
	}
	if tap.replies != 0 || !slices.Equal(before, c.records(n)) {
		t.Errorf("%d replies, or a change", tap.replies)
	}
	c.run(500)
	c.watch(n)
	if p := n.Status().Peers; len(p) != 1 || !p[0].Established {
		t.Errorf("the link is gone: %+v", p)
	}
}
