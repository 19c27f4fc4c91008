package worker

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/nat"
	"github.com/holdfast-lb/holdfast/dpd/internal/neigh"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
)

// The short way: a plain packet (see packet.PlainFrame) of a session about which there is nothing to think goes through without a
// packet.Info, and as many such packets as follow each other go through each stage together, in loops that call next to
// nothing. Whatever is out of the ordinary falls back to the long way, which decides the same where both can.

// mask bounds an index into what a burst has of each packet.
const mask = port.BatchMax - 1

// admitAll takes the packets of the batch into the burst, or sends them where they belong, and asks the table for their records.
func (w *Worker) admitAll(b *port.Batch, steerIt bool) {
	// With one worker there is no question whose a TCP packet is.
	asked := steerIt && !w.alone && w.view.Steer != nil
	for i := 0; i < b.N; i++ {
		w.done = i
		if run := w.plainRun(b, i, b.N); run > i {
			n := w.n
			w.keep(i, run, asked)
			w.table.AskPlain(n, w.said[n:w.n])
			if i = run; i == b.N {
				break
			}
			w.done = i
		}
		w.admit(i, steerIt)
	}
}

// keep takes the plain packets of the batch from i to end into the burst, but for those that belong to another worker if that is asked.
func (w *Worker) keep(i, end int, asked bool) {
	if !asked && w.n == i {
		w.n = end
		return
	}
	for ; i < end; i++ {
		if asked {
			k := w.said[i].Key()
			if !w.goesHere(&w.pkt[i], w.from[i], w.view.Steer.SteerKey(&k), k.Addr, k.Meta) {
				continue
			}
		}
		w.pkt[w.n], w.from[w.n], w.said[w.n] = w.pkt[i], w.from[i], w.said[i]
		w.n++
	}
}

// plainRun notes what the packets of the batch from i to end say for as long as they are plain, and returns the number of the first that
// is not.
func (w *Worker) plainRun(b *port.Batch, i, end int) int {
	if w.gate != nil {
		return i + note(&b.Pkt[i&mask], end-i, w.gate, &w.said[i&mask])
	}
	return i + noteGo(b.Pkt[i:end], w.from[i:end], &w.door, w.said[i:end])
}

// noteGo is note in Go, of packets from any devices: what it is tested against, and what runs where the processor can't do better.
func noteGo(pkt []port.Packet, from []uint8, doors *[256]packet.Door, said []conntrack.Plain) int {
	for i := range pkt {
		data, door := pkt[i].Data, doors[from[i]]
		if len(data) < packet.PlainSize {
			return i
		}
		h := (*packet.PlainFrame)(data)
		if h.OddHead(door)|h.OddLength(len(data))|h.OddSum() != 0 {
			return i
		}
		addr, ports := h.Tuple()
		seq, ack, payload, window := h.Segment()
		size := uint16(h.Total())
		s := &said[i]
		s.Addr, s.Ports, s.Seq, s.Ack, s.Payload, s.Window, s.Size = addr, ports, seq, ack, payload, window, size
	}
	return len(pkt)
}

// followAll tells the sessions of the packets of the burst from i on for as long as these are plain and their sessions need nothing but to
// be told of them. It returns the number of the first that is not; of that one it has done nothing.
func (w *Worker) followAll(i int) int {
	return i + w.table.Follow(w.ref[i:w.n], w.said[i:w.n], expiry.Tick(w.now))
}

// forwardAll forwards the packets of the burst from i to end, which were followed.
func (w *Worker) forwardAll(i, end int) {
	w.count[stat.Hits] += uint64(end - i)
	for ; i < end; i++ {
		if i = w.forwardRun(i, end); i == end {
			break
		}
		w.done = i
		packet.Parse(w.pkt[i].Data, &w.info[i]) // OK, or it would not be plain
		w.to = w.said[i].Key()
		w.forward(i)
	}
}

// forwardRun rewrites plain packets from i to end and queues them, for as long as their route is at hand. It returns the number of the
// first whose is not.
func (w *Worker) forwardRun(i, end int) int {
	return i + rewrite(&w.pkt[i&mask], &w.said[i&mask], end-i, w.routes.snap.Routes4(), &w.routes.slot4[0], w.tx)
}

// rewriteGo is rewrite in Go: what other machines run, and what the assembly is tested against. It gives packets the tuples that said
// has for them and queues them, and returns how many: it stops at one whose hop is neither in the list nor in its slot, or that needs
// thought.
func rewriteGo(pkt []port.Packet, said []conntrack.Plain, routes []neigh.Route4, slots *[routeSlots]routeSlot4, tx []port.Batch) int {
	for i := range pkt {
		s, p := &said[i], &pkt[i]
		dst := uint32(s.Addr)
		var r *neigh.PlainHop
		if hop := neigh.Via4(routes, dst); hop != nil {
			r = &hop.Plain
		} else if slot := &slots[slotOf(dst)]; slot.dst == dst {
			r = &slot.hop
		} else {
			return i
		}
		out := int(r.Port)
		if len(p.Data) < packet.PlainSize || uint(out) >= uint(len(tx)) || int32(s.Size) > r.MTU {
			return i
		}
		b := &tx[out]
		n := b.N
		if n >= port.BatchMax {
			return i
		}
		h := (*packet.PlainFrame)(p.Data)
		r.Set(h)
		moved := nat.Moved(h, s.Addr)
		nat.Network(h, s.Addr, moved)
		nat.Transport(h, s.Addr, moved, s.Ports)
		b.Pkt[n&mask] = *p
		b.N = n + 1
	}
	return len(pkt)
}
