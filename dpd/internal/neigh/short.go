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

// shortRoute4 is a shortRoute of IPv4 alone.
type shortRoute4 struct {
	mask, net uint32
	hop       *Hop
}

func short4(list []shortRoute) []shortRoute4 {
	out := make([]shortRoute4, len(list))
	for i, r := range list {
		out[i] = shortRoute4{uint32(r.maskLo), uint32(r.lo), r.hop}
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
func (s *Snapshot) Via4(dst uint32) *Hop {
	for i := range s.short4 {
		if r := &s.short4[i]; dst&r.mask == r.net {
			return r.hop
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
