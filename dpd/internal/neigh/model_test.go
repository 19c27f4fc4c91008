package neigh

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

// check holds what must be true of the table at any moment.
func (w *world) check() {
	w.t.Helper()
	asking, waiting := 0, 0
	for i, e := range w.m.list {
		if e.at != i || w.m.find(e.port, e.addr) != e {
			w.t.Fatalf("%v: list and index disagree", e.addr)
		}
		if known := e.state == Reachable || e.state == Stale || e.state == Probe; known != (e.hop != nil) {
			w.t.Fatalf("%v is %v and has hop %v", e.addr, e.state, e.hop)
		}
		if e.waiting > 0 && e.state != Incomplete {
			w.t.Fatalf("%v is %v and %d packets wait", e.addr, e.state, e.waiting)
		}
		if e.state == Incomplete {
			asking++
		}
		waiting += e.waiting
	}
	if len(w.m.index) != len(w.m.list) || len(w.m.list) > w.m.maxEntries || asking != w.m.asking || waiting != w.m.waiting || waiting > w.m.maxWaiting {
		w.t.Fatalf("%d in the index, %d listed, asking %d of %d, waiting %d of %d", len(w.m.index), len(w.m.list), w.m.asking, asking, w.m.waiting, waiting)
	}
	if used := w.pool.Size() - w.pool.Available(); used != waiting {
		w.t.Fatalf("%d packets are out, %d wait", used, waiting)
	}
}

// TestTheTableHoldsUnderRandomTraffic lets forty neighbours of a small table appear, answer, change their MAC, fall
// silent and be sent to, in random order.
func TestTheTableHoldsUnderRandomTraffic(t *testing.T) {
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 1))
		c := withGateways(testConfig())
		c.MaxNeighbors, c.MaxWaiting, c.ProbeMS = 24, 9, 500
		w := newWorld(t, c)
		addr := func() netip.Addr {
			n := byte(20 + r.IntN(40))
			if r.IntN(2) == 0 {
				return netip.AddrFrom4([4]byte{10, 0, 0, n})
			}
			return netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 15: n})
		}
		mac := func(a netip.Addr) [6]byte { return [6]byte{2, 0, 0, byte(r.IntN(2)), 1, a.AsSlice()[a.BitLen()/8-1]} }
		for range 4000 {
			a := addr()
			from := mac(a)
			switch op := r.IntN(12); {
			case op < 3:
				src := dpdtest.AP("10.0.0.10:1")
				if a.Is6() {
					src = dpdtest.AP("[2001:db8::10]:1")
				}
				w.m.Resolve(w.now, w.pool.Make(dpdtest.UDP(src, netip.AddrPortFrom(a, 2)).Bytes()), a)
			case op < 6 && a.Is4():
				w.in(0, dpdtest.ARP(packet.ARPReply, from, a, ourMAC, our4))
			case op < 6:
				w.in(0, dpdtest.NA(from, a, our6, a, packet.NDSolicited).Eth(ourMAC, from))
			case op < 8 && a.Is4():
				w.in(0, dpdtest.ARP(packet.ARPRequest, from, a, [6]byte{}, our4))
			case op < 8:
				w.in(0, dpdtest.NS(from, a, our6))
			case op == 8 && a.Is4():
				w.in(0, dpdtest.ARP(packet.ARPRequest, from, a, [6]byte{}, a))
			case op == 8:
				w.in(0, dpdtest.NA(from, a, dpdtest.Addr("ff02::1"), a, packet.NDOverride).Eth([6]byte{0x33, 0x33, 0, 0, 0, 1}, from))
			default:
				w.now += uint32(r.IntN(1500))
				w.m.Tick(w.now)
			}
			w.check()
		}
		w.take()
		w.pass(60_000)
		w.check()
		for _, e := range w.m.list {
			if !e.pinned {
				t.Fatalf("seed %d: %v is still %v", seed, e.addr, e.state)
			}
		}
	}
}

func TestGatewaysMayBeLinkLocal(t *testing.T) {
	c := testConfig()
	router := dpdtest.Addr("fe80::1")
	c.Ports[0].Addresses = c.Ports[0].Addresses[1:] // IPv6 alone
	c.Ports[0].Routes = []Route{{netip.MustParsePrefix("::/0"), router}}
	c.ProbeMS = 500
	w := newWorld(t, c)
	w.m.probeGateways(w.now)
	w.expect(0, dpdtest.NS(ourMAC, linkOurs, router))
	w.in(0, dpdtest.NA(gwMAC, router, linkOurs, router, packet.NDSolicited|packet.NDRouter).Eth(ourMAC, gwMAC))
	w.m.probeGateways(w.now + 500)
	w.expect(0, dpdtest.Echo(linkOurs, router, echoID, w.m.echoSeq).Eth(gwMAC, ourMAC))
	w.m.Tick(w.now)
	w.out = nil
	if h := w.m.Publisher().Load().Route(far6); h == nil || h.Next != router || h.Dst != gwMAC {
		t.Fatalf("%+v", h)
	}
	// The port has no IPv4 address to ask from, and no route.
	w.m.Resolve(w.now, w.pool.Make(dpdtest.UDP(dpdtest.AP("192.0.2.1:1"), dpdtest.AP("192.0.2.7:2")).Bytes()), far4)
	if w.count(NoRoute) != 1 {
		t.Fatal("IPv4 without an address")
	}
}

func TestInputRefuses(t *testing.T) {
	w := newWorld(t, testConfig()).quiet()
	w.in(0, dpdtest.UDP(dpdtest.AP("10.0.0.9:1"), dpdtest.AP("10.0.0.10:2")).Eth(ourMAC, peerMAC))
	w.in(2, request(our4))
	w.in(-1, request(our4))
	w.expect(0)
	if w.count(NotHandled) != 1 || w.count(WrongLink) != 2 {
		t.Fatalf("not handled %d, wrong link %d", w.count(NotHandled), w.count(WrongLink))
	}
}
