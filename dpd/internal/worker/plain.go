package worker

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/nat"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
)

// The short way: a plain packet (see packet.Plain) of a session about which there is nothing to think goes through without a
// packet.Info, from its own bytes, which lie in the first cache. Whatever is out of the ordinary falls back to the long way, which
// decides the same where both can.

// noDoor is no packet.MACWord: nothing is plain that comes in by a device whose frames are tagged.
const noDoor = 1 << 63

// admitPlain keeps packet i of the batch for this burst, or sends it to the worker that it belongs to, if it is plain.
func (w *Worker) admitPlain(i int, steerIt bool) bool {
	i &= port.BurstMax - 1
	p, in := &w.pkt[i], w.from[i]
	addr, meta, ok := packet.Plain(p.Data, w.door[in])
	if !ok {
		return false
	}
	n := w.n & (port.BurstMax - 1)
	k := &w.key[n]
	k.Addr[0], k.Addr[1], k.Addr[2], k.Addr[3] = addr, 0, 0, 0
	k.Meta = meta
	if steerIt && !w.alone && w.view.Steer != nil && !w.goesHere(p, in, w.view.Steer.SteerKey(k), k.Addr, meta) {
		return true
	}
	w.plain[n] = true
	if n != i {
		w.pkt[n], w.from[n] = *p, in
	}
	w.n = n + 1
	return true
}

// follow forwards plain packet i of the burst if its session needs nothing but to be told of it; else it has done nothing.
func (w *Worker) follow(i int) bool {
	i &= port.BurstMax - 1
	ref, k := w.ref[i], &w.key[i]
	if ref == 0 || w.shaken {
		return false
	}
	p := &w.pkt[i]
	var seg conntrack.Segment
	var total int
	seg.Seq, seg.Ack, seg.Payload, seg.Window, total = packet.PlainSegment(p.Data)
	addr, ports, ok := w.table.Follow(ref, k.Addr[0], uint32(k.Meta>>32), seg, expiry.Tick(w.now))
	if !ok {
		return false
	}
	w.count[stat.Hits]++
	r := w.route4(uint32(addr))
	if r == nil || total > r.MTU || !r.SetPlain(p.Data) {
		packet.Parse(p.Data, &w.info[i])
		w.to = flow.Key{Addr: [4]uint64{addr}, Meta: uint64(ports)<<32 | flow.ProtoTCP<<8 | flow.IPv4}
		w.forward(i)
		return true
	}
	nat.Plain(p.Data, addr, ports)
	w.queue(r.Port, p)
	return true
}
