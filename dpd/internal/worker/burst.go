package worker

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/nat"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
	"github.com/holdfast-lb/holdfast/dpd/internal/steer"
)

// The table's burst is as large. A negative number fails the build.
const _ = uint(conntrack.BurstMax - port.BatchMax)

// burst takes a burst through the stages, all of it through each: a stage leaves memory on its way that the next one reads. steerIt is
// false for packets that another thread has steered here. w.from says by which device each came in. The burst is empty afterwards: every
// packet was sent, handed over, kept or dropped.
func (w *Worker) burst(b *port.Batch, steerIt bool) {
	defer w.containBurst(b)
	w.pkt, w.n, w.done, w.admitting, w.gone = &b.Pkt, 0, 0, true, 0
	b.Prefetch()
	w.admitAll(b, steerIt)
	w.admitting, w.done = false, 0
	w.table.Match(w.ref[:w.n])
	for i := 0; i < w.n; i++ {
		first := i
		w.done = i
		i = w.followAll(first)
		w.forwardAll(first, i)
		if i == w.n {
			break
		}
		if s := &w.said[i]; s.Size != 0 { // plain
			w.key[i] = s.Key()
			packet.Parse(w.pkt[i].Data, &w.info[i]) // OK, or it would not be plain
		}
		w.done = i
		w.act(i)
	}
	b.N = 0
}

// admit parses packet i of the batch and keeps it for this burst, or sends it to the thread that it belongs to.
func (w *Worker) admit(i int, steerIt bool) {
	p, in, info := &w.pkt[i], w.from[i], &w.info[w.n]
	if r := packet.Parse(p.Data, info); r != packet.OK {
		w.parse[r]++
		w.discard(*p)
		return
	}
	if steerIt {
		if q := &w.cfg.Queues[in]; !info.ForMAC(q.MAC) {
			w.free(*p, stat.DropNotForUs)
			return
		} else if info.VLAN != q.VLAN {
			w.free(*p, stat.DropWrongVLAN)
			return
		}
	}
	if info.Class != packet.ClassTCP && info.Class != packet.ClassUDP && info.Class != packet.ClassError {
		w.toHost(*p, in)
		return
	}
	// A TCP packet is never for the sync thread, so with one worker there is no question whose it is.
	if steerIt && (!w.alone || info.Class != packet.ClassTCP) && w.view.Steer != nil && !w.goesHere(p, in, w.view.Steer.Steer(info), info.Addr, info.Meta) {
		return
	}
	k := &w.key[w.n]
	switch {
	case info.Class == packet.ClassError:
		k.Addr, k.Meta = info.Against()
	case info.Family() == flow.IPv4:
		// Word by word: a wider load would have to wait until Parse's stores have left the store buffer.
		k.Addr[0], k.Addr[1], k.Addr[2], k.Addr[3] = info.Addr[0], 0, 0, 0
		k.Meta = info.Meta
	default:
		k.Addr, k.Meta = info.Addr, info.Meta
	}
	n := w.n & mask
	w.table.Ask(n, k)
	if n != i {
		w.pkt[n], w.from[n] = *p, in
	}
	w.said[n].Size = 0
	w.n = n + 1
}

// goesHere reports whether a packet is for this worker; else it is on its way to the thread that it belongs to, and its slot is
// empty.
func (w *Worker) goesHere(p *port.Packet, in uint8, v steer.Verdict, addr [4]uint64, meta uint64) bool {
	if v.Kind == steer.ToSync {
		w.count[stat.ToSync]++
		if !w.cfg.Links.Sync.Put(p) {
			w.free(*p, stat.DropSyncFull)
		}
		*p = port.Packet{}
		return false
	}
	if v.Kind == steer.ToHost {
		// No service of the configuration; sessions of one that was removed live on where their client belongs.
		v.Worker = w.cfg.Map.Worker(w.view.Steer.Bucket(addr, meta))
	}
	if v.Worker != w.cfg.Index {
		w.hand(*p, in, v.Worker)
		*p = port.Packet{}
		return false
	}
	return true
}

func (w *Worker) hand(p port.Packet, in uint8, to int) {
	w.count[stat.Handed]++
	if r := w.cfg.Links.HandTo[to]; !r.Put(&Handed{Pkt: p, Port: in}) {
		w.free(p, stat.DropHandFull)
	}
}

// act decides about packet i of the burst, which w.info describes.
func (w *Worker) act(i int) {
	ref := w.table.Confirm(i, &w.key[i], w.ref[i])
	switch {
	case ref == 0:
		w.miss(i)
	case w.info[i].Class == packet.ClassError:
		w.icmpError(i, ref)
	default:
		w.hit(i, ref)
	}
}

// surprising outcomes need more than a rewrite.
const surprising = ^(conntrack.Doubted | conntrack.Untracked)

// hit books a packet of a known session and forwards it.
func (w *Worker) hit(i int, ref conntrack.Ref) {
	info := &w.info[i]
	if ref.Dir() == flow.In && w.begins(info) && w.reopen(i, ref.Handle()) {
		return
	}
	w.pass(i, ref)
}

// pass is hit of a session that stays.
func (w *Worker) pass(i int, ref conntrack.Ref) {
	info := &w.info[i]
	var o conntrack.Outcome
	if info.Class == packet.ClassTCP {
		seg := &w.seg // field by field, not as a whole, for the reason that admit gives
		seg.Seq, seg.Ack, seg.Payload = info.Seq, info.Ack, uint32(info.PayloadLen)
		seg.Window, seg.Flags = info.Window, info.Flags
		o = w.table.Pass(ref, seg, expiry.Tick(w.now), &w.to)
	} else {
		o = w.table.Pass(ref, nil, expiry.Tick(w.now), &w.to)
	}
	if o&surprising != 0 {
		h, d := ref.Handle(), ref.Dir()
		if !w.surprise(i, h, d, o) {
			return
		}
		w.table.Outgoing(h, d, &w.to)
	}
	w.count[stat.Hits]++
	w.forward(i)
}

func segment(info *packet.Info) conntrack.Segment {
	return conntrack.Segment{Seq: info.Seq, Ack: info.Ack, Payload: uint32(info.PayloadLen), Window: info.Window, Flags: info.Flags}
}

// forward rewrites packet i to the tuple w.to and sends it.
func (w *Worker) forward(i int) {
	info := &w.info[i]
	r := w.route(&w.to)
	if r != nil && int(info.End-info.L3) > r.MTU {
		w.answer(i, nat.TooBig, uint32(r.MTU))
		return
	}
	switch v := nat.Rewrite(info, w.pkt[i].Data, &w.to); v {
	case nat.Done:
	case nat.TTLExpired:
		w.answer(i, nat.TimeExceeded, 0)
		return
	default:
		w.free(w.pkt[i], untranslated[v])
		return
	}
	w.send(i, r)
}
