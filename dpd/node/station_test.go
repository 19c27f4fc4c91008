package node

import (
	"slices"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

func TestWhoAnswersForAnAddress(t *testing.T) {
	c := newCluster(t, 2, 2, 1)
	c.show()
	for _, row := range []struct {
		addr string
		want []int // positions of the nodes that answer
	}{
		{"10.0.0.10", []int{0}}, {"10.0.0.11", []int{1}}, {"fd00::10", []int{0}}, {"fd00::11", []int{1}}, // ports
		{"10.0.0.91", []int{0}}, {"10.0.0.92", []int{1}}, {"fd00::91", []int{0}}, {"fd00::92", []int{1}}, // sync addresses
		{"10.8.0.1", []int{0}}, {"10.8.0.2", []int{1}}, {"fd08::1", []int{0}}, {"fd08::2", []int{1}}, // the holder of a local address
		{"192.0.2.1", nil}, {"2001:db8:f::1", nil}, // VIPs: the routers know the way, nobody claims them on a segment
		{"10.0.0.77", nil}, {"fd00::77", nil},
	} {
		a := dpdtest.Addr(row.addr)
		var from []int
		c.sw.Tap(func(_ int64, port int, f []byte) {
			var i packet.Info
			if port < 2 || packet.Parse(f, &i) != packet.OK {
				return
			}
			switch i.Class {
			case packet.ClassARP:
				if h := packet.ARP(f[i.L3:]); a.Is4() && h.Op() == packet.ARPReply && h.SenderIP() == a.As4() {
					from = append(from, port-2)
				}
			case packet.ClassND:
				if i.Type == packet.ICMPv6Advertise && packet.ICMP(f[i.L4:i.End]).Target() == a.As16() {
					from = append(from, port-2)
				}
			}
		})
		if a.Is4() {
			c.client.SendFrame(dpdtest.ARP(packet.ARPRequest, c.client.MAC, dpdtest.Addr("10.0.0.2"), [6]byte{}, a).Bytes())
		} else {
			c.client.SendFrame(dpdtest.NS(c.client.MAC, dpdtest.Addr("fd00::2"), a).Bytes())
		}
		c.run(20)
		if !slices.Equal(from, row.want) {
			t.Errorf("%s is answered for by %v, want %v", row.addr, from, row.want)
		}
	}
}

func TestTheHolderOfABlockAnswersForItAfterAViewSaysSo(t *testing.T) {
	c := newCluster(t, 1, 1, 1)
	c.show()
	c.kill(0)
	c.show()
	answers := 0
	c.sw.Tap(func(_ int64, port int, f []byte) {
		var i packet.Info
		if packet.Parse(f, &i) == packet.OK && i.Class == packet.ClassARP && packet.ARP(f[i.L3:]).Op() == packet.ARPReply && packet.ARP(f[i.L3:]).SenderIP() == [4]byte{10, 8, 0, 1} {
			answers++
		}
	})
	ask := func() {
		c.client.SendFrame(dpdtest.ARP(packet.ARPRequest, c.client.MAC, dpdtest.Addr("10.0.0.2"), [6]byte{}, dpdtest.Addr("10.8.0.1")).Bytes())
		c.run(20)
	}
	ask()
	if answers != 0 {
		t.Error("somebody answers for the block of a dead node")
	}
	c.holder[0] = 1
	c.show()
	answers = 0 // a holder may announce itself
	ask()
	if answers != 1 {
		t.Errorf("%d answers for a block with a new holder", answers)
	}
}

func TestEchoToTheNodesOwnAddresses(t *testing.T) {
	c := newCluster(t, 2, 3)
	c.show()
	c.warm()
	got := map[string]int{}
	c.sw.Tap(func(_ int64, port int, f []byte) {
		var i packet.Info
		if port == 2 && packet.Parse(f, &i) == packet.OK && i.Class == packet.ClassEcho && (i.Type == packet.ICMPEchoReply || i.Type == packet.ICMPv6EchoReply) {
			k := keyOf(&i)
			got[k.Src().Addr().String()]++
		}
	})
	list := []string{"10.0.0.10", "fd00::10", "10.0.0.91", "fd00::91", "10.8.0.1", "fd08::1"}
	for _, a := range list {
		from := "10.0.0.2"
		if dpdtest.Addr(a).Is6() {
			from = "fd00::2"
		}
		c.client.Send(dpdtest.Echo(dpdtest.Addr(from), dpdtest.Addr(a), 7, 1))
		c.run(5)
	}
	for _, a := range list {
		if got[a] != 1 {
			t.Errorf("%d echo replies from %s", got[a], a)
		}
	}
}

func keyOf(i *packet.Info) flow.Key { return flow.Key{Addr: i.Addr, Meta: i.Meta} }
