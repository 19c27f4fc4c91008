package neigh

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

var (
	local4 = dpdtest.Addr("10.8.0.1")
	local6 = dpdtest.Addr("fd08::1")
)

// asked are the sources of the requests for a proof that were sent since the last time, with the sequence number of the last.
func (w *world) asked() (from []netip.Addr, seq uint16) {
	w.t.Helper()
	for _, s := range w.take() {
		var i packet.Info
		if packet.Parse(s.frame, &i) != packet.OK || i.Class != packet.ClassEcho || packet.ICMP(s.frame[i.L4:]).Rest()>>16 != proofID {
			continue
		}
		src, _ := netip.AddrFromSlice(s.frame[i.L3+8 : i.L3+24])
		if i.Family() == 4 {
			src, _ = netip.AddrFromSlice(s.frame[i.L3+12 : i.L3+16])
		}
		from, seq = append(from, src), uint16(packet.ICMP(s.frame[i.L4:]).Rest())
	}
	return from, seq
}

// provingWorld owns two local addresses, and knows its gateways.
func provingWorld(t *testing.T, c Config) *world {
	w := newWorld(t, c).quiet()
	if err := w.m.SetAddresses([]Owned{{netip.PrefixFrom(local4, 32), false}, {netip.PrefixFrom(local6, 128), false}}); err != nil {
		t.Fatal(err)
	}
	for w.m.find(0, gw4) != nil && (w.m.find(0, gw4).state != Incomplete || w.m.find(0, gw6).state != Incomplete) {
		w.pass(10)
	}
	w.in(0, dpdtest.ARP(packet.ARPReply, gwMAC, gw4, ourMAC, our4))
	w.in(0, dpdtest.NA(gwMAC, gw6, our6, gw6, packet.NDSolicited|packet.NDRouter).Eth(ourMAC, gwMAC))
	w.out = nil
	return w
}

func TestARouteIsProvedByTheEchoThatComesBackOverIt(t *testing.T) {
	w := provingWorld(t, withGateways(testConfig()))
	if w.m.pub.Proof() != nil {
		t.Error("a proof that nobody asked for")
	}
	w.m.Prove(w.now, 1, []netip.Addr{local4, local6})
	w.pass(10)
	from, seq := w.asked()
	if !slices.Equal(from, []netip.Addr{local4, local6}) {
		t.Fatalf("asked from %v", from)
	}
	left := func(when string, want ...netip.Addr) {
		t.Helper()
		if p := w.m.pub.Proof(); p.Of != 1 || !slices.Equal(p.Left, want) {
			t.Errorf("%s: %+v, want %v", when, p, want)
		}
	}
	left("before any answer", local4, local6)
	for _, bad := range []*dpdtest.Frame{
		dpdtest.EchoReply(gw4, local4, echoID, seq),    // to a probe
		dpdtest.EchoReply(peer4, local4, proofID, seq), // from a stranger
		dpdtest.EchoReply(gw4, local4, proofID, seq+1), // to what was not asked yet
		dpdtest.EchoReply(gw4, local4, proofID, seq-1), // to an earlier proof
		dpdtest.EchoReply(gw4, our4, proofID, seq),     // to an address that needs none
	} {
		w.in(0, bad.Eth(ourMAC, gwMAC))
	}
	left("after wrong ones", local4, local6)
	w.in(0, dpdtest.EchoReply(gw6, local6, proofID, seq).Eth(ourMAC, gwMAC))
	left("after that of IPv6", local4)
	w.pass(1000)
	if from, _ = w.asked(); len(from) < 9 || len(from) > 11 || slices.Contains(from, local6) {
		t.Errorf("in a second asked from %v", from)
	}
	w.in(0, dpdtest.EchoReply(gw4, local4, proofID, seq).Eth(ourMAC, gwMAC)) // late, but of this proof
	left("after both")
	w.pass(1000)
	if from, _ = w.asked(); len(from) > 0 {
		t.Errorf("still asked from %v", from)
	}
	if a, h := w.count(ProofAsked), w.count(ProofHeard); a < 11 || h != 2 {
		t.Errorf("%d asked, %d heard", a, h)
	}
	w.m.Prove(w.now, 2, []netip.Addr{local4})
	w.pass(10)
	w.in(0, dpdtest.EchoReply(gw4, local4, proofID, seq).Eth(ourMAC, gwMAC))
	if p := w.m.pub.Proof(); p.Of != 2 || len(p.Left) != 1 {
		t.Errorf("an answer to the former proof counts for the next: %+v", p)
	}
}

func TestWhatNoGatewayCanProveNeedsNoProof(t *testing.T) {
	for _, row := range []struct {
		name   string
		config func() Config
		left   int
	}{
		{"no gateway", testConfig, 0},
		{"gateways of both families", func() Config { return withGateways(testConfig()) }, 2},
		{"one of IPv6", func() Config {
			c := withGateways(testConfig())
			c.Ports[0].Routes = c.Ports[0].Routes[1:]
			return c
		}, 1},
	} {
		w := newWorld(t, row.config()).quiet()
		w.m.Prove(w.now, 1, []netip.Addr{local4, local6})
		w.pass(500) // nobody answers questions for the gateways' neighbours
		if from, _ := w.asked(); len(from) > 0 {
			t.Errorf("%s: asked from %v", row.name, from)
		}
		if p := w.m.pub.Proof(); p.Of != 1 || len(p.Left) != row.left {
			t.Errorf("%s: %+v", row.name, p)
		}
	}
}

func TestManyAddressesAreProvedAFewAtATime(t *testing.T) {
	w := provingWorld(t, withGateways(testConfig()))
	var list []netip.Addr
	for a := local4; len(list) < 40; a = a.Next() {
		list = append(list, a)
	}
	var owned []Owned
	for _, a := range list {
		owned = append(owned, Owned{netip.PrefixFrom(a, 32), false})
	}
	if err := w.m.SetAddresses(owned); err != nil {
		t.Fatal(err)
	}
	w.m.Prove(w.now, 1, list)
	for range 3 {
		w.pass(100)
		from, seq := w.asked()
		if len(from) > proofBatch {
			t.Errorf("%d requests at a time", len(from))
		}
		for _, a := range from {
			w.in(0, dpdtest.EchoReply(gw4, a, proofID, seq).Eth(ourMAC, gwMAC))
		}
	}
	if p := w.m.pub.Proof(); len(p.Left) != 0 {
		t.Errorf("not proved: %v", p.Left)
	}
}
