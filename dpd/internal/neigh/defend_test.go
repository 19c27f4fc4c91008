package neigh

import (
	"net/netip"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

func TestAnAddressOfOursIsDefendedOnceInTenSeconds(t *testing.T) {
	vip := dpdtest.Addr("2001:db8::99")
	allNodesMAC := [6]byte{0x33, 0x33, 0, 0, 0, 1}
	for name, c := range map[string]struct {
		frame *dpdtest.Frame
		sends int // frames of a defence
	}{
		"an ARP reply":      {dpdtest.ARP(packet.ARPReply, evilMAC, our4, ourMAC, our4), 1},
		"an ARP request":    {dpdtest.ARP(packet.ARPRequest, evilMAC, our4, [6]byte{}, gw4), 1},
		"gratuitous ARP":    {dpdtest.ARP(packet.ARPRequest, evilMAC, our4, [6]byte{}, our4), 1},
		"an advertisement":  {dpdtest.NA(evilMAC, our6, dpdtest.Addr("ff02::1"), our6, packet.NDOverride).Eth(allNodesMAC, evilMAC), 2},
		"of a service's":    {dpdtest.NA(evilMAC, vip, dpdtest.Addr("ff02::1"), vip, packet.NDOverride).Eth(allNodesMAC, evilMAC), 0},
		"our own came back": {dpdtest.NA(ourMAC, our6, dpdtest.Addr("ff02::1"), our6, packet.NDOverride).Eth(allNodesMAC, ourMAC), 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, testConfig()).quiet()
			if err := w.m.SetAddresses([]Owned{{Prefix: netip.PrefixFrom(vip, 128), Answer: true}}); err != nil {
				t.Fatal(err)
			}
			for range 5 { // it is announced
				w.pass(1000)
			}
			w.take()
			for i := range 100 {
				w.now += 200 // the next defence is due after 50
				w.raw(0, c.frame.Bytes())
				want := 0
				if i%50 == 0 {
					want = c.sends
				}
				if got := len(w.take()); got != want {
					t.Fatalf("claim %d: %d frames, want %d", i, got, want)
				}
			}
			if n := w.count(Defended); n != uint64(min(c.sends, 1)*2) || w.count(Conflict) == 0 {
				t.Errorf("defended %d times, %d conflicts", n, w.count(Conflict))
			}
			if len(w.m.list) != 0 {
				t.Error("the other station is a neighbour")
			}
		})
	}
}

func TestADefenceSaysWhoseTheAddressIs(t *testing.T) {
	w := newWorld(t, testConfig()).quiet()
	w.in(0, dpdtest.ARP(packet.ARPReply, evilMAC, our4, ourMAC, our4))
	w.expect(0, dpdtest.ARP(packet.ARPRequest, ourMAC, our4, [6]byte{}, our4).Eth(broadcast, ourMAC).Pad(60))
	if _, ok := w.m.defended[our4]; !ok {
		t.Error("not noted")
	}
}
