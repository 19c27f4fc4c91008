// Package topo is the lab's network: who has which address, and the commands that build it out of network namespaces.
//
//	          hf-client 198.18.1.2
//	              │ 198.18.1.0/24
//	BGP ┌──── hf-router 198.18.1.1, .2.1, .3.1 (FRR, ECMP) ────┐
//	    │         │ 198.18.2.0/24 (bridge lan-lb)              │ 198.18.3.0/24 (bridge lan-rs)
//	    │     hf-lb1 .11   hf-lb2 .12   hf-lb3 .13 (dpd)     hf-rs1 .11   hf-rs2 .12
//	    │         │ mgmt0     │            │
//	198.18.9.0/24 (bridge mgmt in hf-mgmt .1, where services/mesh runs; the host is .254)
//
// Every IPv4 network 198.18.N.0/24 has a twin fd68:6f6c:6466:N::/64 with the same host part. 198.18.0.0/15 is set aside for
// benchmarks (RFC 2544), so it is in nobody's way.
package topo

import (
	"fmt"
	"net/netip"
)

// MaxNodes bounds the lab.
const MaxNodes = 8

// Networks by their third octet.
const (
	NetClient = 1
	NetLB     = 2
	NetRS     = 3
	NetMgmt   = 9
)

// Namespaces. Those of nodes are made by LB.
const (
	Client = "hf-client"
	Router = "hf-router"
	Mgmt   = "hf-mgmt"
	RS1    = "hf-rs1"
	RS2    = "hf-rs2"
)

// Data is the kernel's name of a node's data device, HostLink that of the host's link to the management network.
const (
	DataDevice = "data0"
	MgmtDevice = "mgmt0"
	HostLink   = "hf-host"
)

// Autonomous systems of the router and of the nodes.
const (
	RouterASN = 65000
	NodeASN   = 65001
)

// Services of the lab. Each has an IPv4 and an IPv6 VIP.
const (
	PortHTTP    = 80   // TCP: a page that names its server
	PortStream  = 7000 // TCP: checksummed frames both ways
	PortEchoUDP = 7001 // UDP: echo
)

// V4 is host h of network n; V6 its twin.
func V4(n, h int) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, byte(n), byte(h)}) }

// V6 is the IPv6 twin of V4.
func V6(n, h int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("fd68:6f6c:6466:%x::%x", n, h))
}

// VIPs of all services.
var (
	VIP4 = netip.MustParseAddr("198.19.0.80")
	VIP6 = netip.MustParseAddr("fd68:6f6c:6466:f::80")
)

// Pools that the control plane leases from.
var (
	LaddrPool4 = netip.MustParsePrefix("198.19.1.0/26")
	LaddrPool6 = netip.MustParsePrefix("fd68:6f6c:6466:a::/122")
	SipPool4   = netip.MustParsePrefix("198.19.2.0/27")
	SipPool6   = netip.MustParsePrefix("fd68:6f6c:6466:b::/123")
)

// LB is the namespace of node i (1 to MaxNodes).
func LB(i int) string { return fmt.Sprintf("hf-lb%d", i) }

// Node is the name of node i in the control plane.
func Node(i int) string { return fmt.Sprintf("lb%d", i) }

// Host parts in their networks.
const (
	hostRouter = 1
	hostClient = 2
	hostMesh   = 1
	hostHost   = 254
	hostBGP    = 2 // the router in the management network
)

// LBHost is the host part of node i in the networks of data and management.
func LBHost(i int) int { return 10 + i }

// RouterOn is the router's addresses in network n.
func RouterOn(n int) (v4, v6 netip.Addr) { return V4(n, hostRouter), V6(n, hostRouter) }

// BGPPeer is the router's address in the management network.
func BGPPeer() netip.Addr { return V4(NetMgmt, hostBGP) }

// MeshAddr is where services/mesh listens.
func MeshAddr() netip.Addr { return V4(NetMgmt, hostMesh) }

// ServerAddrs are the real servers, IPv4 and IPv6 in turn.
func ServerAddrs() []netip.Addr {
	return []netip.Addr{V4(NetRS, 11), V6(NetRS, 11), V4(NetRS, 12), V6(NetRS, 12)}
}

// Namespaces lists all namespaces of a lab of n nodes.
func Namespaces(n int) []string {
	list := []string{Client, Router, Mgmt, RS1, RS2}
	for i := 1; i <= n; i++ {
		list = append(list, LB(i))
	}
	return list
}
