package node

import (
	"net/netip"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

// A datagram whose QUERY was lost was scheduled as new after 20 ms, and its flow moved to another local port.
func TestADatagramFlowStaysWhereItIsWhenQuestionsAreLost(t *testing.T) {
	for _, row := range []struct {
		name   string
		silent int64 // milliseconds without any sync datagram
		moves  bool
	}{
		{"the first question lost", 5, false},
		{"no answer for 60 ms", 60, false},
		{"control: no answer at all", 150, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newCluster(t, 1, 1, 1)
			c.show()
			var from []netip.AddrPort
			c.server.OnUDP = func(src, _ netip.AddrPort, p []byte) []byte { from = append(from, src); return p }
			c.warm()
			c.to = func(bool, *packet.Info) int { return 0 }
			c.client.SendUDP(clientAddr(false, 6000), vipOf(false), []byte("one"))
			c.run(100)
			c.forget(c.nodes[1])
			from = from[len(from)-1:]
			c.to = func(in bool, _ *packet.Info) int { return 1 }
			for _, n := range c.nodes {
				n.loop.SetLoss(1, newRand())
			}
			c.client.SendUDP(clientAddr(false, 6000), vipOf(false), []byte("two"))
			c.run(row.silent)
			for _, n := range c.nodes {
				n.loop.SetLoss(0, newRand())
			}
			c.run(120)
			if len(from) != 2 {
				t.Fatalf("%d datagrams arrived", len(from)-1)
			}
			if moved := from[0] != from[1]; moved != row.moves {
				t.Errorf("the flow came from %v, then from %v", from[0], from[1])
			}
		})
	}
}
