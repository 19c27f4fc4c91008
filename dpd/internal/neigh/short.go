package neigh

import (
	"net/netip"
	"slices"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// shortMax is how many routes of a family a list may have to be searched from its front for every packet. A data plane
// has a network or two and a default route; with more the cache by destination has to do.
const shortMax = 16

// shortRoute is a route as words, with its gateway's hop; nil when it is on-link or the gateway isn't known.
type shortRoute struct {
	maskHi, maskLo uint64
	hi, lo         uint64
	hop            *Hop
}

// Route4 is a route of IPv4, with its gateway's hop; nil when it is on-link or the gateway isn't known.
type Route4 struct {
	Mask, Net uint32
	Hop       *Hop
}

func short4(list []shortRoute) []Route4 {
	out := make([]Route4, len(list))
	for i, r := range list {
		out[i] = Route4{uint32(r.maskLo), uint32(r.lo), r.hop}
	}
	return out
}

// shortRoutes lists the routes of a family, the longest prefixes first; none when there are too many.
func (s *Snapshot) shortRoutes(family uint8) []shortRoute {
	size, all, bits := s.routes.Size4(), s.routes.All4(), 32
	if family == flow.IPv6 {
		size, all, bits = s.routes.Size6(), s.routes.All6(), 128
	}
	if size > shortMax {
		return nil
	}
	type entry struct {
		prefix netip.Prefix
		way    way
	}
	list := make([]entry, 0, size)
	for p, w := range all {
		list = append(list, entry{p, w})
	}
	slices.SortFunc(list, func(a, b entry) int { return b.prefix.Bits() - a.prefix.Bits() })
	out := make([]shortRoute, 0, len(list))
	for _, e := range list {
		var r shortRoute
		r.hi, r.lo = words(e.prefix.Addr())
		host := bits - e.prefix.Bits() // bits that any address of the prefix may have set
		r.maskHi, r.maskLo = ^uint64(0)<<max(0, host-64), ^uint64(0)<<min(host, 64)
		if e.way.via.IsValid() {
			r.hop = s.hops[makeNextKey(e.way.port, e.way.via)]
		}
		out = append(out, r)
	}
	return out
}

// Via4 is the hop of packets for an IPv4 destination if their route has a gateway; nil means that Route must be asked. It costs a
// few instructions for each route that there is.
func (s *Snapshot) Via4(dst uint32) *Hop { return Via4(s.short4, dst) }

// Routes4 are the routes that Via4 looks at, the longest prefixes first; none when there are too many to look at all for each packet.
func (s *Snapshot) Routes4() []Route4 { return s.short4 }

// Via4 is Snapshot.Via4 of the routes.
func Via4(routes []Route4, dst uint32) *Hop {
	for i := range routes {
		if r := &routes[i]; dst&r.Mask == r.Net {
			return r.Hop
		}
	}
	return nil
}

// Via6 is Via4 of an IPv6 destination in the words of flow.Key.
func (s *Snapshot) Via6(hi, lo uint64) *Hop {
	for i := range s.short6 {
		if r := &s.short6[i]; lo&r.maskLo == r.lo && hi&r.maskHi == r.hi {
			return r.hop
		}
	}
	return nil
}
