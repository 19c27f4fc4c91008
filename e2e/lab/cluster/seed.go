package cluster

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/holdfast-lb/holdfast/e2e/lab/topo"
)

// service is one of the lab's virtual services.
type service struct {
	name, protocol string
	vip            netip.Addr
	port           int
	servers        [2]netip.Addr
}

// services are three on each VIP. The real servers listen on the same ports.
func services() []service {
	var list []service
	servers := topo.ServerAddrs()
	for _, s := range []service{
		{name: "http", protocol: "tcp", port: topo.PortHTTP},
		{name: "stream", protocol: "tcp", port: topo.PortStream},
		{name: "echo", protocol: "udp", port: topo.PortEchoUDP},
	} {
		for family, vip := range []netip.Addr{topo.VIP4, topo.VIP6} {
			v := s
			v.name = fmt.Sprintf("%s-v%d", s.name, 4+2*family)
			v.vip = vip
			v.servers = [2]netip.Addr{servers[family], servers[2+family]}
			list = append(list, v)
		}
	}
	return list
}

// staticYAML is the part of a node's file that replaces the control plane: the services, and one laddr of each family.
func staticYAML(node int) string {
	var b strings.Builder
	laddr4, laddr6 := topo.LaddrPool4.Addr(), topo.LaddrPool6.Addr()
	for range node {
		laddr4, laddr6 = laddr4.Next(), laddr6.Next()
	}
	fmt.Fprintf(&b, "static:\n  node_id: %d\n  laddr_blocks: [{id: %d, addresses: [%q, %q], holder: %d}]\n  services:\n", node, node, laddr4, laddr6, node)
	for i, s := range services() {
		fmt.Fprintf(&b, "    - {id: %d, name: %s, vip: %q, port: %d, protocol: %s, servers: [", i+1, s.name, s.vip, s.port, s.protocol)
		for j, r := range s.servers {
			fmt.Fprintf(&b, "{id: %d, name: rs%d, address: %q, port: %d}, ", 2*i+j+1, j+1, r, s.port)
		}
		b.WriteString("]}\n")
	}
	return b.String()
}

// seedYAML is the desired state that services/mesh applies at start: the services with their servers, and the pools.
func seedYAML() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Written by the lab.")
	line("addressPools:")
	line("  laddr4: {purpose: POOL_PURPOSE_LADDR, prefixes: [%q], blockSize: 4}", topo.LaddrPool4)
	line("  laddr6: {purpose: POOL_PURPOSE_LADDR, prefixes: [%q], blockSize: 4}", topo.LaddrPool6)
	line("  sip4: {purpose: POOL_PURPOSE_SIP, prefixes: [%q]}", topo.SipPool4)
	line("  sip6: {purpose: POOL_PURPOSE_SIP, prefixes: [%q]}", topo.SipPool6)
	line("virtualServices:")
	for _, s := range services() {
		line("  %s: {vip: %q, port: %d, protocol: PROTOCOL_%s, algorithm: ALGORITHM_RR, realServers: {rs1: {address: %q, port: %d, weight: 1}, rs2: {address: %q, port: %d, weight: 1}}}",
			s.name, s.vip, s.port, strings.ToUpper(s.protocol), s.servers[0], s.port, s.servers[1], s.port)
	}
	return b.String()
}
