package worker

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/neigh"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
)

const routeSlots = 1024 // power of two

// routeCache remembers the hop of recent destinations on-link, for as long as the host part's snapshot is the same.
// Direct-mapped by the destination address.
type routeCache struct {
	slot4 [routeSlots]routeSlot4
	hop4  [routeSlots]*neigh.Hop // of slot4
	slot6 [routeSlots]routeSlot6
	snap  *neigh.Snapshot // never nil
}

// routeSlot4 is what a plain packet needs of the hop, in half a cache line.
type routeSlot4 struct {
	hop neigh.PlainHop // its MTU is 0 in an empty slot
	dst uint32
}

type routeSlot6 struct {
	hop    *neigh.Hop
	hi, lo uint64
}

var noRoutes = new(neigh.Snapshot)

// slotOf is where the hop of an IPv4 destination is remembered. Another destination may be there.
func slotOf(dst uint32) uint32 { return dst * 0x9e3779b1 >> 22 & (routeSlots - 1) }

// route is the hop of packets with tuple to; nil when the host part must find it first.
func (w *Worker) route(to *flow.Key) *neigh.Hop {
	if to.Family() == flow.IPv4 {
		return w.route4(uint32(to.Addr[0]))
	}
	return w.route6(to.Addr[2], to.Addr[3])
}

// route4 is route by an IPv4 destination. Clients lie behind a gateway, each with an address of its own: no cache by
// address would hold them.
func (w *Worker) route4(dst uint32) *neigh.Hop {
	c := &w.routes
	hop := c.snap.Via4(dst)
	if hop == nil {
		i := slotOf(dst)
		if hop = c.hop4[i]; hop == nil || c.slot4[i].dst != dst {
			if hop = w.routeSlow(flow.IPv4, 0, uint64(dst)); hop != nil {
				c.hop4[i], c.slot4[i] = hop, routeSlot4{hop.Plain, dst}
			}
			return hop
		}
	}
	if hop.Port >= len(w.tx) {
		return nil
	}
	return hop
}

// route6 is route by an IPv6 destination.
func (w *Worker) route6(hi, lo uint64) *neigh.Hop {
	c := &w.routes
	if hop := c.snap.Via6(hi, lo); hop != nil && hop.Port < len(w.tx) {
		return hop
	}
	s := &c.slot6[(lo*0x9e3779b97f4a7c15^hi*0xc2b2ae3d27d4eb4f)>>54&(routeSlots-1)]
	if s.hop != nil && s.lo == lo && s.hi == hi {
		return s.hop
	}
	hop := w.routeSlow(flow.IPv6, hi, lo)
	if hop != nil {
		*s = routeSlot6{hi: hi, lo: lo, hop: hop}
	}
	return hop
}

func (w *Worker) routeSlow(family uint8, hi, lo uint64) *neigh.Hop {
	if w.routes.snap == noRoutes {
		return nil
	}
	hop := w.routes.snap.RouteWords(family, hi, lo)
	if hop == nil || hop.Port >= len(w.tx) {
		return nil
	}
	return hop
}

// freshRoutes forgets the cache when the host part published a new snapshot. Once a turn.
func (w *Worker) freshRoutes() {
	s := w.cfg.Routes.Load()
	if s == nil {
		s = noRoutes
	}
	if s != w.routes.snap {
		w.routes.snap = s
		clear(w.routes.slot4[:])
		clear(w.routes.hop4[:])
		clear(w.routes.slot6[:])
	}
}

// send gives the rewritten packet i its link header and queues it; without a hop the host part gets it.
func (w *Worker) send(i int, r *neigh.Hop) {
	p := &w.pkt[i] // in place: a packet on the stack would escape through the pool's interface
	if r == nil {
		w.resolve(*p)
		return
	}
	if !r.SetLink(w.cfg.Pool, p, int(w.info[i].L3)) {
		w.free(*p, stat.DropNoMemory)
		return
	}
	w.queue(r.Port, p)
}

// queue puts a finished frame into the burst of a device.
func (w *Worker) queue(dev int, p *port.Packet) {
	b := &w.tx[dev]
	if b.N == port.BatchMax {
		w.transmit(dev)
	}
	b.Pkt[b.N&(port.BatchMax-1)] = *p
	b.N++
}
