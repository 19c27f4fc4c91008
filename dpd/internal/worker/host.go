package worker

import (
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/ring"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
)

// hostPerTurn bounds what the host part takes from each ring in a turn.
const hostPerTurn = 32

// toHost passes a packet that is for the host part. The worker that carries it does the work at once, since w.info
// describes the packet already.
func (w *Worker) toHost(p port.Packet, in uint8) {
	w.count[stat.ToHost]++
	if w.cfg.Host != nil {
		w.gone = p.Ref
		w.cfg.Host.Input(w.now, int(in), &w.info[w.n], p)
		return
	}
	if !w.cfg.Links.Host.Put(&Handed{Pkt: p, Port: in}) {
		w.free(p, stat.DropHostFull)
	}
}

// resolve passes a packet whose next hop has no known neighbour.
func (w *Worker) resolve(p port.Packet) {
	w.count[stat.ToHost]++
	if w.cfg.Host == nil {
		if !w.cfg.Links.Host.Put(&Handed{Pkt: p, Resolve: true}) {
			w.free(p, stat.DropHostFull)
		}
		return
	}
	w.resolveHere(p)
}

func (w *Worker) resolveHere(p port.Packet) {
	if dst, ok := destination(p.Data); ok {
		w.gone = p.Ref
		w.cfg.Host.Resolve(w.now, p, dst)
		return
	}
	w.free(p, stat.DropNoRoute)
}

// destination reads the IP destination of a frame of ours. Cold path.
func destination(data []byte) (netip.Addr, bool) {
	var info packet.Info
	if packet.Parse(data, &info) != packet.OK {
		return netip.Addr{}, false
	}
	h := data[info.L3:]
	switch info.Family() {
	case 4:
		return netip.AddrFrom4([4]byte(h[16:20])), true
	case 6:
		return netip.AddrFrom16([16]byte(h[24:40])), true
	}
	return netip.Addr{}, false
}

// host runs the host part's timers and takes what other threads have for it.
func (w *Worker) host() {
	if w.cfg.Host == nil {
		return
	}
	w.cfg.Host.Tick(w.now)
	for _, r := range w.cfg.Links.HostFrom {
		w.hostFrom(r)
	}
}

func (w *Worker) hostFrom(r *ring.SPSC[Handed]) {
	var h Handed
	var info packet.Info
	for n := 0; n < hostPerTurn && r.Take(&h); n++ {
		if h.Resolve {
			w.resolveHere(h.Pkt)
			continue
		}
		if why := packet.Parse(h.Pkt.Data, &info); why != packet.OK {
			w.parse[why]++
			w.discard(h.Pkt)
			continue
		}
		w.cfg.Host.Input(w.now, int(h.Port), &info, h.Pkt)
	}
}

// SendFromHost takes over a frame of the host part. It is the Send of the neigh.Config of this worker's Host.
func (w *Worker) SendFromHost(dev int, p port.Packet) { w.queue(dev, &p) }
