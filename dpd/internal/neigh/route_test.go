package neigh

import (
	"net/netip"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

func TestGateways(t *testing.T) {
	c := withGateways(testConfig())
	c.ProbeMS = 500
	w := newWorld(t, c)
	w.expect(0)
	w.m.Tick(w.now)
	if w.state(gw4) != "incomplete" || w.state(gw6) != "incomplete" {
		t.Fatal("the gateways are not asked at the start")
	}
	if a := w.m.pub.EchoAge(w.now + 20); a != 20 {
		t.Fatalf("echo age %d", a)
	}
	// Gateways that do not answer are asked again for ever.
	w.pass(10_000)
	if w.state(gw4) == "absent" || w.m.pub.EchoAge(w.now) != 10_000 {
		t.Fatalf("%s, echo age %d", w.state(gw4), w.m.pub.EchoAge(w.now))
	}
	for w.m.find(0, gw4).state != Incomplete || w.m.find(0, gw6).state != Incomplete {
		w.pass(10)
	}
	w.in(0, dpdtest.ARP(packet.ARPReply, gwMAC, gw4, ourMAC, our4))
	w.in(0, dpdtest.NA(gwMAC, gw6, our6, gw6, packet.NDSolicited|packet.NDRouter).Eth(ourMAC, gwMAC))
	w.out = nil
	w.pass(500)
	got := w.take()
	if len(got) != 2 {
		t.Fatalf("%d probes", len(got))
	}
	var info packet.Info
	for i, gw := range []netip.Addr{gw4, gw6} {
		if packet.Parse(got[i].frame, &info) != packet.OK || info.Class != packet.ClassEcho {
			t.Fatalf("%x", got[i].frame)
		}
		seq := packet.ICMP(got[i].frame[info.L4:]).Rest()
		src := our4
		if gw.Is6() {
			src = our6
		}
		w.now += 3
		w.in(0, dpdtest.EchoReply(gw, src, uint16(seq>>16), uint16(seq)).Eth(ourMAC, gwMAC))
		if a := w.m.pub.EchoAge(w.now + 7); a != 7 {
			t.Fatalf("echo age %d", a)
		}
	}
	// Neither an old answer, nor a stranger's, nor another identifier counts.
	w.now += 100
	w.in(0, dpdtest.EchoReply(gw4, our4, echoID, w.m.echoSeq-100).Eth(ourMAC, gwMAC))
	w.in(0, dpdtest.EchoReply(gw4, our4, echoID, w.m.echoSeq+1).Eth(ourMAC, gwMAC))
	w.in(0, dpdtest.EchoReply(peer4, our4, echoID, w.m.echoSeq).Eth(ourMAC, gwMAC))
	w.in(0, dpdtest.EchoReply(gw4, our4, 1, w.m.echoSeq).Eth(ourMAC, gwMAC))
	if a := w.m.pub.EchoAge(w.now); a != 100 {
		t.Fatalf("echo age %d", a)
	}
	if h := w.m.pub.Load().Route(far6); h == nil || h.Next != gw6 || h.Dst != gwMAC {
		t.Fatalf("default route %+v", h)
	}
}

func TestNoGatewayIsNeverAsked(t *testing.T) {
	w := newWorld(t, testConfig())
	if a := w.m.pub.EchoAge(w.now); a != -1 {
		t.Fatal(a)
	}
	w = newWorld(t, withGateways(testConfig()))
	w.pass(1000)
	if a := w.m.pub.EchoAge(w.now); a != -1 {
		t.Fatal(a)
	}
}

func TestRoutes(t *testing.T) {
	c := withGateways(testConfig())
	c.Ports[1].Routes = []Route{{netip.MustParsePrefix("192.0.2.0/24"), dpdtest.Addr("10.7.0.1")}}
	w := newWorld(t, c)
	w.m.Tick(w.now)
	for _, e := range w.m.list {
		mac := gwMAC
		if e.port == 1 {
			mac = peerMAC
		}
		w.m.confirm(w.now, e, mac)
	}
	w.m.Tick(w.now)
	s := w.m.pub.Load()
	for _, r := range []struct {
		dst  string
		port int
		next string
	}{
		{"203.0.113.1", 0, "10.0.0.1"},
		{"192.0.2.200", 1, "10.7.0.1"},
		{"2001:db8:ffff::1", 0, "2001:db8::1"},
	} {
		h := s.Route(dpdtest.Addr(r.dst))
		if h == nil || h.Port != r.port || h.Next != dpdtest.Addr(r.next) {
			t.Errorf("%s: %+v", r.dst, h)
			continue
		}
		if h.L3 != 14+4*r.port || h.MTU != w.m.ports[r.port].MTU {
			t.Errorf("%s: link of %d bytes, MTU %d", r.dst, h.L3, h.MTU)
		}
		src := "198.51.100.1:1"
		if h.Next.Is6() {
			src = "[2001:db8::5]:1"
		}
		k, err := flow.MakeKey(6, dpdtest.AP(src), netip.AddrPortFrom(dpdtest.Addr(r.dst), 80))
		if err != nil || s.RouteWords(words4or6(&k)) != h {
			t.Errorf("%s: the key finds another hop", r.dst)
		}
		if n := testing.AllocsPerRun(50, func() { s.RouteWords(words4or6(&k)) }); n != 0 {
			t.Errorf("%s: %v allocations", r.dst, n)
		}
	}
	if s.Route(peer4) != nil {
		t.Error("an unknown neighbour has a hop")
	}
}

func TestTakeoverIsAnnounced(t *testing.T) {
	w := newWorld(t, testConfig()).quiet()
	vip4, vip6 := netip.MustParsePrefix("10.0.0.50/32"), netip.MustParsePrefix("2001:db8::50/128")
	list := []Owned{{vip4, true}, {vip6, true}, {netip.MustParsePrefix("10.0.0.64/28"), true}, {netip.MustParsePrefix("10.0.0.51/32"), false}, {netip.MustParsePrefix("203.0.113.5/32"), true}}
	if err := w.m.SetAddresses(list); err != nil {
		t.Fatal(err)
	}
	w.pass(5000)
	garp := dpdtest.ARP(packet.ARPRequest, ourMAC, vip4.Addr(), [6]byte{}, vip4.Addr()).Pad(60).Bytes()
	na := dpdtest.NA(ourMAC, linkOurs, dpdtest.Addr("ff02::1"), vip6.Addr(), packet.NDOverride).Eth([6]byte{0x33, 0x33, 0, 0, 0, 1}, ourMAC).Bytes()
	report := dpdtest.ICMP(linkOurs, dpdtest.Addr("ff02::16"), 143, 0, 1).Ext(0, []byte{5, 2, 0, 0, 1, 0}).TTL(1).Eth([6]byte{0x33, 0x33, 0, 0, 0, 0x16}, ourMAC).
		Payload(append([]byte{4, 0, 0, 0}, dpdtest.Addr("ff02::1:ff00:50").AsSlice()...)).Bytes()
	seen := map[string]int{}
	for _, s := range w.take() {
		seen[string(s.frame)]++
	}
	if seen[string(garp)] != 3 || seen[string(na)] != 3 || seen[string(report)] != 3 || len(seen) != 3 {
		t.Fatalf("%d kinds: %d gratuitous ARP, %d advertisements, %d reports", len(seen), seen[string(garp)], seen[string(na)], seen[string(report)])
	}
	// The same list again is no takeover, and an address that is gone is announced no more.
	if err := w.m.SetAddresses(list); err != nil {
		t.Fatal(err)
	}
	w.pass(3000)
	w.expect(0)
	w.m.announceService(vip4.Addr())
	if err := w.m.SetAddresses(nil); err != nil {
		t.Fatal(err)
	}
	w.pass(3000)
	w.expect(0)
}

func TestGroupsAreReportedEveryMinute(t *testing.T) {
	w := newWorld(t, testConfig()).quiet()
	var list []Owned
	for i := range 100 {
		a := our6.As16()
		a[15], a[14] = byte(i), 1
		list = append(list, Owned{netip.PrefixFrom(netip.AddrFrom16(a), 128), true})
	}
	if err := w.m.SetAddresses(list); err != nil {
		t.Fatal(err)
	}
	w.pass(5000)
	w.out = nil
	w.pass(60_000)
	groups := map[int]int{}
	for _, s := range w.take() {
		at := 14 + 40 + 8
		if s.port == 1 {
			at += 4
		}
		if s.frame[at] != mldType {
			t.Fatalf("%x", s.frame)
		}
		groups[s.port] += int(s.frame[at+7])
	}
	// 100 addresses; the port's address and its link-local one share a group. Port 1 has its link-local one.
	if groups[0] != 101 || groups[1] != 1 {
		t.Fatalf("%v groups", groups)
	}
}

func BenchmarkRoute(b *testing.B) {
	pool := dpdtest.NewPool(16)
	c := withGateways(testConfig())
	c.Pool, c.Send = pool, func(_ int, p port.Packet) { pool.FreeOne(p) }
	m, err := New(0, c)
	if err != nil {
		b.Fatal(err)
	}
	m.Tick(0)
	m.confirm(0, m.find(0, gw4), gwMAC)
	m.publish(0)
	s := m.pub.Load()
	k, _ := flow.MakeKey(6, dpdtest.AP("198.51.100.1:1"), dpdtest.AP("192.0.2.7:80"))
	for b.Loop() {
		if s.RouteWords(words4or6(&k)) == nil {
			b.Fatal("no route")
		}
	}
}

// words4or6 is a tuple's destination as RouteWords takes it.
func words4or6(k *flow.Key) (family uint8, hi, lo uint64) {
	if k.Family() == flow.IPv4 {
		return flow.IPv4, 0, k.Addr[0] & 0xffffffff
	}
	return flow.IPv6, k.Addr[2], k.Addr[3]
}
