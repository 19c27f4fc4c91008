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
	slot [routeSlots]routeSlot
	snap *neigh.Snapshot
}

type routeSlot struct {
	hi, lo uint64
	hop    *neigh.Hop
	family uint8
}

// route is the hop of packets with tuple to; nil when the host part must find it first.
func (w *Worker) route(to *flow.Key) *neigh.Hop {
	if to.Family() == flow.IPv4 {
		return w.route4(to.Addr[0] & 0xffffffff)
	}
	return w.routeTo(flow.IPv6, to.Addr[2], to.Addr[3])
}

// route4 is route by an IPv4 destination.
func (w *Worker) route4(dst uint64) *neigh.Hop { return w.routeTo(flow.IPv4, 0, dst) }

func (w *Worker) routeTo(family uint8, hi, lo uint64) *neigh.Hop {
	c := &w.routes
	// Clients lie behind a gateway, each with an address of its own: no cache by address would hold them.
	if c.snap != nil {
		if hop := c.snap.Via(family, hi, lo); hop != nil && hop.Port < len(w.cfg.Queues) {
			return hop
		}
	}
	s := &c.slot[(lo*0x9e3779b97f4a7c15^hi*0xc2b2ae3d27d4eb4f)>>54&(routeSlots-1)]
	if s.hop != nil && s.lo == lo && s.hi == hi && s.family == family {
		return s.hop
	}
	return w.routeSlow(s, hi, lo, family)
}

func (w *Worker) routeSlow(s *routeSlot, hi, lo uint64, family uint8) *neigh.Hop {
	if w.routes.snap == nil {
		return nil
	}
	hop := w.routes.snap.RouteWords(family, hi, lo)
	if hop == nil || hop.Port >= len(w.cfg.Queues) {
		return nil
	}
	*s = routeSlot{hi: hi, lo: lo, hop: hop, family: family}
	return hop
}

// freshRoutes forgets the cache when the host part published a new snapshot. Once a turn.
func (w *Worker) freshRoutes() {
	if s := w.cfg.Routes.Load(); s != w.routes.snap {
		w.routes.snap = s
		clear(w.routes.slot[:])
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
	if b.N == port.BurstMax {
		w.transmit(dev)
	}
	b.Pkt[b.N&(port.BurstMax-1)] = *p
	b.N++
}
