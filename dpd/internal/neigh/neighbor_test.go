package neigh

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

func TestPacketsWaitForTheirNeighbour(t *testing.T) {
	w := newWorld(t, testConfig()).quiet()
	data := func(s string) *dpdtest.Frame {
		return dpdtest.UDP(dpdtest.AP("10.0.0.10:1"), dpdtest.AP("10.0.0.9:2")).Text(s)
	}
	for _, s := range []string{"a", "b", "c", "d"} {
		w.m.Resolve(w.now, w.pool.Make(data(s).Bytes()), peer4)
	}
	w.expect(0, dpdtest.ARP(packet.ARPRequest, ourMAC, our4, [6]byte{}, peer4).Pad(60))
	if w.count(WaitFull) != 1 || w.count(Waited) != 4 || w.m.waiting != 3 {
		t.Fatalf("pushed out %d, waited %d, wait %d", w.count(WaitFull), w.count(Waited), w.m.waiting)
	}
	w.in(0, dpdtest.ARP(packet.ARPReply, peerMAC, peer4, ourMAC, our4))
	w.expect(0, data("b").Eth(peerMAC, ourMAC), data("c").Eth(peerMAC, ourMAC), data("d").Eth(peerMAC, ourMAC))
	w.m.Resolve(w.now, w.pool.Make(data("e").Bytes()), peer4)
	w.expect(0, data("e").Eth(peerMAC, ourMAC))
	w.m.Tick(w.now)
	if h := w.m.pub.Load().Route(peer4); h == nil || w.state(peer4) != "reachable" {
		t.Fatal("the answer was not published")
	}
}

func TestPacketsMoveBetweenTaggedAndUntaggedLinks(t *testing.T) {
	w := newWorld(t, testConfig()).quiet()
	data := func(to string) *dpdtest.Frame {
		return dpdtest.UDP(dpdtest.AP("10.0.0.10:1"), dpdtest.AP(to)).Text("x")
	}
	w.m.Resolve(w.now, w.pool.Make(data("10.7.0.9:2").Bytes()), dpdtest.Addr("10.7.0.9"))
	w.expect(1, dpdtest.ARP(packet.ARPRequest, ourMAC2, dpdtest.Addr("10.7.0.10"), [6]byte{}, dpdtest.Addr("10.7.0.9")).VLAN(7).Pad(60))
	w.in(1, dpdtest.ARP(packet.ARPReply, peerMAC, dpdtest.Addr("10.7.0.9"), ourMAC2, dpdtest.Addr("10.7.0.10")).VLAN(7))
	w.expect(1, data("10.7.0.9:2").Eth(peerMAC, ourMAC2).VLAN(7))
	w.in(0, request(our4))
	w.take()
	w.m.Resolve(w.now, w.pool.Make(data("10.0.0.9:2").VLAN(7).Bytes()), peer4)
	w.expect(0, data("10.0.0.9:2").Eth(peerMAC, ourMAC))
}

func TestAnUnansweredNeighbourFails(t *testing.T) {
	w := newWorld(t, testConfig()).quiet()
	w.m.Resolve(w.now, w.pool.Make(dpdtest.UDP(dpdtest.AP("10.0.0.10:1"), dpdtest.AP("10.0.0.9:2")).Bytes()), peer4)
	w.pass(2990)
	if n := len(w.take()); n != 3 || w.state(peer4) != "incomplete" {
		t.Fatalf("%d questions, %s", n, w.state(peer4))
	}
	w.pass(20)
	if w.count(Unreachable) != 1 || w.state(peer4) != "failed" {
		t.Fatalf("%d unreachable, %s", w.count(Unreachable), w.state(peer4))
	}
	w.m.Resolve(w.now, w.pool.Make(dpdtest.UDP(dpdtest.AP("10.0.0.10:1"), dpdtest.AP("10.0.0.9:2")).Bytes()), peer4)
	if w.count(Unreachable) != 2 {
		t.Fatal("a packet waits for a failed neighbour")
	}
	w.pass(1010)
	if w.state(peer4) != "absent" || len(w.take()) != 0 {
		t.Fatalf("%s", w.state(peer4))
	}
}

func TestALivingNeighbourIsConfirmedAndADeadOneForgotten(t *testing.T) {
	for _, c := range []struct {
		name   string
		target netip.Addr
		answer func() *dpdtest.Frame
		query  func() *dpdtest.Frame // the first, to one station
		last   func() *dpdtest.Frame // the third, to all
	}{
		{"over ARP", peer4, func() *dpdtest.Frame { return dpdtest.ARP(packet.ARPReply, peerMAC, peer4, ourMAC, our4) },
			func() *dpdtest.Frame {
				return dpdtest.ARP(packet.ARPRequest, ourMAC, our4, peerMAC, peer4).Eth(peerMAC, ourMAC).Pad(60)
			},
			func() *dpdtest.Frame { return dpdtest.ARP(packet.ARPRequest, ourMAC, our4, [6]byte{}, peer4).Pad(60) }},
		{"over neighbour discovery", peer6, func() *dpdtest.Frame {
			return dpdtest.NA(peerMAC, peer6, our6, peer6, packet.NDSolicited).Eth(ourMAC, peerMAC)
		},
			func() *dpdtest.Frame {
				return dpdtest.ICMP(our6, peer6, packet.ICMPv6Solicit, 0, 0).TTL(255).Eth(peerMAC, ourMAC).Payload(append(append(peer6.AsSlice(), 1, 1), ourMAC[:]...))
			},
			func() *dpdtest.Frame { return dpdtest.NS(ourMAC, our6, peer6) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, testConfig()).quiet()
			src, dst := dpdtest.AP("10.0.0.10:1"), netip.AddrPortFrom(c.target, 2)
			if c.target.Is6() {
				src = dpdtest.AP("[2001:db8::10]:1")
			}
			w.m.Resolve(w.now, w.pool.Make(dpdtest.UDP(src, dst).Bytes()), c.target)
			w.expect(0, c.last())
			w.in(0, c.answer())
			w.take()
			w.pass(30_010)
			if w.state(c.target) != "stale" {
				t.Fatal(w.state(c.target))
			}
			w.pass(5_000)
			if w.state(c.target) != "probe" {
				t.Fatal(w.state(c.target))
			}
			w.expect(0, c.query())
			w.in(0, c.answer())
			w.m.Tick(w.now)
			if w.state(c.target) != "reachable" {
				t.Fatal(w.state(c.target))
			}
			w.out = nil
			w.pass(35_030)
			w.pass(2_010)
			var asked []sent
			for _, s := range w.take() {
				if s.port == 0 && (s.frame[0] != 0x33 || s.frame[5] != 0x16) {
					asked = append(asked, s)
				}
			}
			if len(asked) != 3 || !bytes.Equal(asked[2].frame, c.last().Bytes()) {
				t.Fatalf("asked %x", asked)
			}
			if w.m.pub.Load().Route(c.target) == nil {
				t.Fatal("the MAC is given up before the last question's time is over")
			}
			w.pass(2_010)
			if w.m.pub.Load().Route(c.target) != nil || w.state(c.target) != "absent" {
				t.Fatal(w.state(c.target))
			}
		})
	}
}

func TestAnUnaskedClaimIsCheckedWithTheNeighbour(t *testing.T) {
	newMAC := [6]byte{2, 0, 0, 0, 1, 2}
	reach := func(w *world) {
		w.m.Resolve(w.now, w.pool.Make(dpdtest.UDP(dpdtest.AP("10.0.0.10:1"), dpdtest.AP("10.0.0.9:2")).Bytes()), peer4)
		w.in(0, dpdtest.ARP(packet.ARPReply, peerMAC, peer4, ourMAC, our4))
		w.take()
	}
	for name, claim := range map[string]*dpdtest.Frame{
		"gratuitous request":          dpdtest.ARP(packet.ARPRequest, newMAC, peer4, [6]byte{}, peer4),
		"unasked reply":               dpdtest.ARP(packet.ARPReply, newMAC, peer4, ourMAC, our4),
		"request for an address ours": dpdtest.ARP(packet.ARPRequest, newMAC, peer4, [6]byte{}, our4),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, testConfig()).quiet()
			reach(w)
			w.in(0, claim)
			if name != "unasked reply" { // a second one would be an answer to the question
				w.in(0, claim)
			}
			questions := 0
			for _, s := range w.take() {
				if bytes.Equal(s.frame, dpdtest.ARP(packet.ARPRequest, ourMAC, our4, [6]byte{}, peer4).Pad(60).Bytes()) {
					questions++
				}
			}
			w.m.Tick(w.now)
			if questions != 1 || w.m.pub.Load().Route(peer4).Dst != peerMAC {
				t.Fatalf("%d questions, hop %x", questions, w.m.pub.Load().Route(peer4).Dst)
			}
			w.in(0, dpdtest.ARP(packet.ARPReply, newMAC, peer4, ourMAC, our4))
			w.m.Tick(w.now)
			if w.m.pub.Load().Route(peer4).Dst != newMAC {
				t.Fatal("the answer is not believed")
			}
		})
	}
}

func TestUnknownNeighboursAreBounded(t *testing.T) {
	c := testConfig()
	c.MaxNeighbors, c.MaxWaiting = 16, 5
	w := newWorld(t, c).quiet()
	for i := range 50 {
		for range 3 {
			a := netip.AddrFrom4([4]byte{10, 0, 0, byte(100 + i)})
			w.m.Resolve(w.now, w.pool.Make(dpdtest.UDP(dpdtest.AP("10.0.0.10:1"), netip.AddrPortFrom(a, 2)).Bytes()), a)
		}
	}
	if w.m.asking != 4 || w.m.waiting != 5 || w.count(TableFull) == 0 || w.count(WaitFull) == 0 {
		t.Fatalf("asking %d, waiting %d", w.m.asking, w.m.waiting)
	}
	w.pass(5000)
	if w.m.asking != 0 || w.m.waiting != 0 || len(w.m.list) != 0 {
		t.Fatalf("asking %d, waiting %d, %d neighbours", w.m.asking, w.m.waiting, len(w.m.list))
	}
}

func TestResolveRefuses(t *testing.T) {
	w := newWorld(t, testConfig()).quiet()
	for _, a := range []netip.Addr{far4, far6, our4, linkOurs} {
		w.m.Resolve(w.now, w.pool.Make(dpdtest.UDP(dpdtest.AP("10.0.0.10:1"), dpdtest.AP("192.0.2.7:2")).Bytes()), a)
	}
	w.m.Resolve(w.now, w.pool.Make(make([]byte, 15)), peer4)
	w.expect(0)
	if w.count(NoRoute) != 5 {
		t.Fatal(w.count(NoRoute))
	}
}
