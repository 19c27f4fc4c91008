package cluster

import (
	"fmt"
	"strings"

	"github.com/holdfast-lb/holdfast/e2e/lab/topo"
)

// seedYAML is the desired state that services/mesh applies at start: three services on two VIPs, two real servers of both
// families, and the pools.
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
	servers := topo.ServerAddrs()
	for _, s := range []struct {
		name, protocol string
		port           int
	}{{"http", "TCP", topo.PortHTTP}, {"stream", "TCP", topo.PortStream}, {"echo", "UDP", topo.PortEchoUDP}} {
		for family, vip := range []string{topo.VIP4.String(), topo.VIP6.String()} {
			line("  %s%d: {vip: %q, port: %d, protocol: PROTOCOL_%s, algorithm: ALGORITHM_RR, realServers: {rs1: {address: %q, port: %d, weight: 1}, rs2: {address: %q, port: %d, weight: 1}}}",
				s.name, 4+2*family, vip, s.port, s.protocol, servers[family], s.port, servers[2+family], s.port)
		}
	}
	return b.String()
}
