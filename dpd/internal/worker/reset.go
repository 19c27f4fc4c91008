package worker

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/nat"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
)

const (
	// resetAfter is how long, in milliseconds, after an AGE its sides are reset: a peer that serves the session after all has
	// refuted the AGE by then.
	resetAfter = 500
	resetsMax  = 4096 // that wait; power of two
	resetsTurn = 16   // sessions reset in a turn
)

// pendingReset is a session that was aged here.
type pendingReset struct {
	birth flow.Birth
	h     flow.Handle
	due   uint32
}

// resets are the sessions whose sides are to be reset, in order of their time.
type resets struct {
	list    [resetsMax]pendingReset
	from, n uint32
}

// wantsReset says whether record h, which is about to expire, is one whose sides are to hear of it: established, of this node,
// of a service that asks for it.
func (w *Worker) wantsReset(h flow.Handle) bool {
	if !w.table.Owned(h) {
		return false
	}
	s := &w.born
	w.table.Load(h, s)
	svc := w.view.Schedule.Service(s.Service)
	return svc != nil && svc.Reset && s.Mode == flow.FullNAT && s.State == flow.TCPEstablished && s.Flags&(flow.Embryonic|flow.Tomb|flow.ReplyOnly) == 0
}

// resetLater notes a session that was aged just now.
func (w *Worker) resetLater(h flow.Handle) {
	q := &w.resets
	if q.n == resetsMax {
		w.count[stat.ResetsLost] += 2
		return
	}
	w.table.Load(h, &w.born)
	q.list[(q.from+q.n)%resetsMax] = pendingReset{birth: w.born.Birth, h: h, due: w.now + resetAfter}
	q.n++
}

// resetDue resets the sides of sessions that stayed aged. Once a millisecond.
func (w *Worker) resetDue() {
	q := &w.resets
	for range resetsTurn {
		p := &q.list[q.from%resetsMax]
		if q.n == 0 || int32(w.now-p.due) < 0 {
			return
		}
		q.from, q.n = q.from+1, q.n-1
		s := &w.born
		w.table.Load(p.h, s)
		if s.Birth != p.birth || s.Flags&flow.SoftTomb == 0 || !w.table.Owned(p.h) {
			continue // refuted, revived by a packet, or gone
		}
		w.reset(s, flow.In)
		w.reset(s, flow.Out)
	}
}

// reset sends the RST of direction d: In goes to the server, Out to the client. It must have just the number that its receiver
// expects next (RFC 5961, section 3): what the sender sent last or what the receiver acknowledged last, whichever is later.
func (w *Worker) reset(s *flow.Session, d flow.Direction) {
	to := s.Reply.Reverse()
	if d == flow.Out {
		to = s.Orig.Reverse()
	}
	sent, acked := s.Seq[d], s.Seq[d^1]
	seq := sent.Next
	switch {
	case sent == (flow.SeqHint{}) && acked == (flow.SeqHint{}):
		w.count[stat.ResetsLost]++
		return
	case sent == (flow.SeqHint{}), acked != (flow.SeqHint{}) && int32(acked.Ack-sent.Next) > 0:
		seq = acked.Ack
	}
	r := w.route(&to)
	l3 := packet.EthernetSize
	if r != nil {
		l3 = r.L3
	}
	p, ok := w.cfg.Pool.Alloc(l3 + nat.ResetSize(to.Family()))
	if !ok {
		w.count[stat.DropNoMemory]++
		return
	}
	w.made = p
	clear(p.Data[:l3])
	nat.PutReset(p.Data[l3:], &to, seq)
	w.made = port.Packet{}
	w.count[stat.Generated]++
	w.count[stat.Resets]++
	if r == nil {
		etherType := uint16(packet.EtherTypeIPv4)
		if to.Family() == flow.IPv6 {
			etherType = packet.EtherTypeIPv6
		}
		packet.Ethernet(p.Data).SetType(etherType)
		w.resolve(p)
		return
	}
	r.SetLink(w.cfg.Pool, &p, l3) // of that size already
	w.queue(r.Port, &p)
}
