package worker

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/nat"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
)

// The short way: a plain packet (see packet.PlainFrame) of a session about which there is nothing to think goes through without a
// packet.Info, and as many such packets as follow each other go through each stage together, in loops that call next to
// nothing. Whatever is out of the ordinary falls back to the long way, which decides the same where both can.

// mask bounds an index into what a burst has of each packet.
const mask = port.BurstMax - 1

// admitAll takes the packets of the batch from i to end into the burst, or sends them where they belong, and asks the table for their
// records.
func (w *Worker) admitAll(b *port.Batch, i, end int, steerIt bool) {
	// With one worker there is no question whose a TCP packet is.
	asked := steerIt && !w.alone && w.view.Steer != nil
	for i < end {
		if run := w.plainRun(b, i, end); run > i {
			n := w.n
			w.keep(i, run, asked)
			w.table.AskPlain(n, w.said[n:w.n])
			if i = run; i == end {
				break
			}
		}
		w.admit(i, steerIt)
		i++
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
	said := &w.said
	for ; i < end; i++ {
		data, door := b.Pkt[i&mask].Data, w.door[w.from[i&mask]]
		if len(data) < packet.PlainSize {
			break
		}
		h := (*packet.PlainFrame)(data)
		if h.OddHead(door)|h.OddLength(len(data))|h.OddSum() != 0 {
			break
		}
		addr, ports := h.Tuple()
		seq, ack, payload, window := h.Segment()
		size := uint16(h.Total())
		s := &said[i&mask]
		s.Addr, s.Ports, s.Seq, s.Ack, s.Payload, s.Window, s.Size = addr, ports, seq, ack, payload, window, size
	}
	return i
}

// followAll forwards the packets of the burst from i to end for as long as they are plain and their sessions need nothing but to be told
// of them. It returns the number of the first that is not; of that one it has done nothing.
func (w *Worker) followAll(i, end int) int {
	end = i + w.table.Follow(w.ref[i:end], w.said[i:end], expiry.Tick(w.now))
	w.count[stat.Hits] += uint64(end - i)
	for ; i < end; i++ {
		if i = w.forwardRun(i, end); i == end {
			break
		}
		packet.Parse(w.pkt[i].Data, &w.info[i]) // OK, or it would not be plain
		w.to = w.said[i].Key()
		w.forward(i)
	}
	return end
}

// forwardRun rewrites plain packets from i to end and queues them, for as long as their route is at hand. It returns the number of the
// first whose is not.
func (w *Worker) forwardRun(i, end int) int {
	routes, pkt, said, tx := &w.routes, w.pkt, &w.said, w.tx
	for ; i < end; i++ {
		s, p := &said[i&mask], &pkt[i&mask]
		dst := uint32(s.Addr)
		r := routes.snap.Via4(dst)
		if r == nil {
			slot := routes.slot(dst)
			if r = slot.hop; r == nil || slot.dst != dst {
				break
			}
		}
		if len(p.Data) < packet.PlainSize || uint(r.Port) >= uint(len(tx)) || int(s.Size) > r.MTU || !r.Untagged() {
			break
		}
		b := &tx[r.Port]
		n := b.N
		if n >= port.BurstMax {
			break
		}
		h := (*packet.PlainFrame)(p.Data)
		r.SetPlain(h)
		moved := nat.Moved(h, s.Addr)
		nat.Network(h, s.Addr, moved)
		nat.Transport(h, s.Addr, moved, s.Ports)
		b.Pkt[n&mask] = *p
		b.N = n + 1
	}
	return i
}
