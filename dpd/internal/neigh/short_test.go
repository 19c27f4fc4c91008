package neigh

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/gaissmai/bart"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// TestViaAgreesWithRoute: for random routes and destinations Via gives what Route gives when the route has a gateway, and
// nothing otherwise.
func TestViaAgreesWithRoute(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 1))
	addr := func(six bool) netip.Addr {
		if !six {
			return netip.AddrFrom4([4]byte{byte(rnd.IntN(3)), byte(rnd.IntN(3)), byte(rnd.IntN(4)), byte(rnd.IntN(256))})
		}
		var b [16]byte
		b[0], b[6], b[7], b[8], b[15] = 0x20, byte(rnd.IntN(2)), byte(rnd.IntN(3)), byte(rnd.IntN(3)), byte(rnd.IntN(256))
		return netip.AddrFrom16(b)
	}
	found := 0
	for round := range 400 {
		six := round%2 == 1
		width := 33
		if six {
			width = 129
		}
		s := &Snapshot{routes: &bart.Table[way]{}, hops: map[nextKey]*Hop{}}
		for range rnd.IntN(shortMax + 3) {
			w := way{port: rnd.IntN(2)}
			if rnd.IntN(3) > 0 {
				w.via = addr(six)
				if rnd.IntN(4) > 0 {
					s.hops[makeNextKey(w.port, w.via)] = &Hop{Next: w.via, Port: w.port}
				}
			}
			s.routes.Insert(netip.PrefixFrom(addr(six), rnd.IntN(width)).Masked(), w)
		}
		s.short4, s.short6 = short4(s.shortRoutes(flow.IPv4)), s.shortRoutes(flow.IPv6)
		for range 300 {
			dst := addr(six)
			var want *Hop
			if w, ok := s.routes.Lookup(dst); ok && w.via.IsValid() && s.routes.Size() <= shortMax {
				want = s.hops[makeNextKey(w.port, w.via)]
			}
			hi, lo := words(dst)
			got := s.Via6(hi, lo)
			if !six {
				got = s.Via4(uint32(lo))
			}
			if got != want {
				t.Fatalf("round %d, %v: %v, want %v\n%v", round, dst, describe(got), describe(want), s.routes)
			}
			if got != nil {
				found++
			}
		}
	}
	if found < 1000 {
		t.Errorf("only %d destinations had a known gateway", found)
	}
}

func describe(h *Hop) string {
	if h == nil {
		return "none"
	}
	return fmt.Sprint(h.Next, " by port ", h.Port)
}
