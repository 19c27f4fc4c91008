package node

import (
	"net/netip"
	"slices"

	"github.com/holdfast-lb/holdfast/dpd/internal/announce"
	"github.com/holdfast-lb/holdfast/dpd/internal/control"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// Purposes of a route, as GetInfo says them.
const (
	purposeVIP    = "vip"
	purposeLaddr  = "laddr"
	purposeBackup = "laddr-backup"
	purposeSIP    = "sip"
)

type purposeRoute struct {
	announce.Route
	purpose string
}

// routes is what this node announces in a state:
//
//	sip              as soon as the node has one, until it has drained or is fenced
//	laddr blocks     from READY on, and before it once nothing but their proof is missing: the own ones plainly, all others as backup, so that the router falls over for VIP and
//	                 laddr in the same moment when a node dies, with no coordinator in the path
//	VIPs             while admitted, and by the view's word
//
// What an address is for is said by the first of VIP, laddr, sip that names it.
func routes(s control.State, m *control.Membership, vips []netip.Addr, prepend int, has [2]bool) (out []purposeRoute) {
	seen := map[netip.Addr]bool{}
	add := func(a netip.Addr, prepend int, purpose string) {
		if !a.IsValid() || seen[a] || !has[family(a)] {
			return
		}
		seen[a] = true
		out = append(out, purposeRoute{announce.Route{Prefix: netip.PrefixFrom(a, a.BitLen()), Prepend: prepend}, purpose})
	}
	if serving(s) {
		for _, a := range vips {
			add(a, 0, purposeVIP)
		}
	}
	if serving(s) || s == control.StateReady || s == control.StateDraining {
		for _, b := range m.Blocks {
			mine := b.Holder == m.Self.Life && b.Holder != (flow.Node{})
			for _, a := range b.Addrs {
				if mine {
					add(a, 0, purposeLaddr)
				} else {
					add(a, prepend, purposeBackup)
				}
			}
		}
	}
	switch s {
	case control.StateStarting, control.StateDrained, control.StateFenced:
	default:
		add(m.Self.SIP[0], 0, purposeSIP)
		add(m.Self.SIP[1], 0, purposeSIP)
	}
	return out
}

// serving says whether a node in a state takes traffic of VIPs.
func serving(s control.State) bool { return s == control.StateAdmitted || s == control.StateDegraded }

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

func plain(in []purposeRoute) []announce.Route {
	out := make([]announce.Route, len(in))
	for i := range in {
		out[i] = in[i].Route
	}
	return out
}

// vipsOf are the distinct VIPs of the services, in order.
func vipsOf(c *control.Config) []netip.Addr {
	var out []netip.Addr
	for i := range c.Services {
		out = append(out, c.Services[i].VIP.Addr())
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}
