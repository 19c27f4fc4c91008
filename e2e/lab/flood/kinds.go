package main

import (
	"math/rand/v2"
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/e2e/lab/topo"
)

// kind is one sort of flood. make is its next packet to a node's device, whose link header is set by the sender.
type kind struct {
	name string
	make func(r *rand.Rand) *dpdtest.Frame
}

// stranger is a source that nobody has: in 198.18.1.0/24 and its twin, towards which the nodes have a route. The last hosts are
// left to the client.
func stranger(r *rand.Rand) netip.AddrPort {
	host := 16 + r.IntN(230)
	port := uint16(1024 + r.IntN(64000))
	if r.IntN(2) == 0 {
		return netip.AddrPortFrom(topo.V4(topo.NetClient, host), port)
	}
	return netip.AddrPortFrom(topo.V6(topo.NetClient, host), port)
}

func vipFor(a netip.AddrPort, port uint16) netip.AddrPort {
	if a.Addr().Is6() {
		return netip.AddrPortFrom(topo.VIP6, port)
	}
	return netip.AddrPortFrom(topo.VIP4, port)
}

// icmpUnreachable of either family.
func unreachable(a netip.Addr) uint8 {
	if a.Is6() {
		return 1
	}
	return 3
}

var kinds = []kind{
	{"syn", func(r *rand.Rand) *dpdtest.Frame {
		c := stranger(r)
		return dpdtest.TCP(c, vipFor(c, topo.PortStream)).Flags(dpdtest.SYN).Seq(r.Uint32())
	}},
	{"udp", func(r *rand.Rand) *dpdtest.Frame {
		c := stranger(r)
		return dpdtest.UDP(c, vipFor(c, topo.PortEchoUDP)).Text("flood")
	}},
	{"mid-stream", func(r *rand.Rand) *dpdtest.Frame {
		c := stranger(r)
		return dpdtest.TCP(c, vipFor(c, topo.PortStream)).Flags(dpdtest.ACK).Seq(r.Uint32()).Ack(r.Uint32()).Text("flood")
	}},
	{"icmp-error", func(r *rand.Rand) *dpdtest.Frame {
		c := stranger(r)
		quoted := dpdtest.TCP(vipFor(c, topo.PortStream), c).Flags(dpdtest.ACK).Seq(r.Uint32()).Bytes()
		return dpdtest.ICMPError(c.Addr(), unreachable(c.Addr()), 1, 0, quoted, 64)
	}},
	{"arp-nd", func(r *rand.Rand) *dpdtest.Frame {
		host, mac := 32+r.IntN(200), [6]byte{2, 0xf1, byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())}
		if r.IntN(2) == 0 {
			// An eighth of them say that a router's address is theirs.
			if r.IntN(8) == 0 {
				host = 1
			}
			a := topo.V4(topo.NetLB, host)
			return dpdtest.ARP(2, mac, a, mac, topo.V4(topo.NetLB, topo.LBHost(1)))
		}
		return dpdtest.NS(mac, topo.V6(topo.NetLB, host), topo.V6(topo.NetLB, topo.LBHost(1+r.IntN(3))))
	}},
}
