package worker

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

const others = conntrack.Foreign | conntrack.HitSoftTomb | conntrack.HitReplyOnly | conntrack.FirstLocalPacket

// surprise settles what Touch found beyond the ordinary and reports whether packet i goes on; else it is dealt with.
func (w *Worker) surprise(i int, h flow.Handle, d flow.Direction, o conntrack.Outcome) bool {
	info := &w.info[i]
	if d == flow.In && info.Class == packet.ClassTCP && info.Flags&(conntrack.SYN|conntrack.ACK|conntrack.RST) == conntrack.SYN &&
		o&(conntrack.SynOnExisting|conntrack.HitSoftTomb) != 0 {
		return w.synOnRecord(i, h)
	}
	if o&conntrack.FirstLocalPacket != 0 && info.Class != packet.ClassTCP && w.dead(h) {
		w.missing.note(w.now, 0) // the session came from a peer
		if d == flow.In && w.reopen(i, h) {
			return false
		}
	}
	if o&conntrack.DupAck != 0 {
		w.free(w.pkt[i], stat.DropAckStorm)
		return false
	}
	w.signal(h, o)
	if o&others != 0 {
		w.shard.Packet(w.wall, h, w.facts(info, d, o))
		if o&conntrack.HitSoftTomb != 0 {
			w.retouch(info, h, d) // Touch leaves tombstones alone; now it may be none any more
		}
		if o&(conntrack.HitSoftTomb|conntrack.FirstLocalPacket) != 0 {
			w.counted(h)
		}
	}
	Announce(w.shard, w.table, w.wall, h, d, o)
	if o&conntrack.HandshakeDone != 0 && w.table.Owned(h) {
		w.eventOf(flow.EventEstablished, h, "")
	}
	return true
}

// Announce has the shard tell its peers what a packet of direction d changed of an owned session, if they must know: that its
// handshake is done, that its end begins, or a second FIN that another node may see acknowledged. All else, as that a FIN was
// acknowledged, travels with what is told next. The simulator of session sync asks it too.
func Announce(s *syncer.Shard, t *conntrack.Table, wall int64, h flow.Handle, d flow.Direction, o conntrack.Outcome) {
	const news = conntrack.HandshakeDone | conntrack.Ending | conntrack.OtherFin
	if o&news == 0 || o&conntrack.Foreign != 0 { // who took the session over by this very packet told all of it
		return
	}
	switch {
	case o&conntrack.HandshakeDone != 0:
		s.Established(wall, h)
	case t.Flags(h)&flow.Embryonic != 0: // told when the handshake is done, or a flood of SYNs would reach all peers
	case o&conntrack.Ending != 0:
		s.Ending(wall, h)
	default:
		s.OtherFin(wall, h, d)
	}
}

func (w *Worker) retouch(info *packet.Info, h flow.Handle, d flow.Direction) {
	if info.Class == packet.ClassTCP {
		seg := segment(info)
		w.table.Touch(h, d, &seg, expiry.Tick(w.now))
		return
	}
	w.table.Touch(h, d, nil, expiry.Tick(w.now))
}

// synOnRecord lets the shard decide about a client's SYN that found a record which did not begin with it.
func (w *Worker) synOnRecord(i int, h flow.Handle) bool {
	switch w.shard.Syn(w.wall, h, w.info[i].Seq, w.usable(h)) {
	case syncer.SynServe:
		return true
	case syncer.SynReborn:
		w.retouch(&w.info[i], h, flow.In)
		return true
	case syncer.SynNew:
		w.open(i)
	default:
		w.free(w.pkt[i], stat.DropSynLimited)
	}
	return false
}

func (w *Worker) facts(info *packet.Info, d flow.Direction, o conntrack.Outcome) syncer.Packet {
	if info.Class != packet.ClassTCP {
		return Facts(nil, d, o)
	}
	seg := segment(info)
	return Facts(&seg, d, o)
}

// Facts are what the owner of a session must know of a packet of direction d that Touch said o of. seg is nil for what is not
// TCP. The simulator of session sync asks it too, so that no owner there learns what none would learn here.
func Facts(seg *conntrack.Segment, d flow.Direction, o conntrack.Outcome) syncer.Packet {
	p := syncer.Packet{Dir: d, Alive: true}
	if seg == nil {
		if o&conntrack.HandshakeDone != 0 {
			p.Hint = syncwire.HintAck
		}
		return p
	}
	const ctl = conntrack.SYN | conntrack.FIN | conntrack.RST
	p.Alive = seg.Flags&ctl == 0
	believed := o&conntrack.Doubted == 0
	switch {
	case seg.Flags&conntrack.RST != 0:
		if believed {
			p.Hint |= syncwire.HintRst
		}
	case seg.Flags&conntrack.SYN != 0:
		if d == flow.Out {
			p.Hint |= syncwire.HintSynAck
		}
	case seg.Flags&conntrack.FIN != 0:
		if believed {
			p.Hint |= syncwire.HintFin
			p.Seq = seg.Seq + seg.Payload + 1
		}
	}
	if o&conntrack.HandshakeDone != 0 {
		p.Hint |= syncwire.HintAck
	}
	if o&conntrack.FinAcked != 0 {
		p.Hint |= syncwire.HintFinAcked
	}
	return p
}

// signal notes what a session says about its server's health.
func (w *Worker) signal(h flow.Handle, o conntrack.Outcome) {
	if o&(conntrack.HandshakeDone|conntrack.ServerAlive|conntrack.ServerDead) == 0 {
		return
	}
	id := w.table.Server(h)
	if id == 0 {
		return
	}
	s := w.signals[id]
	if s == nil {
		if len(w.signals) >= maxSignals {
			return
		}
		s = &signal{}
		w.signals[id] = s
	}
	if o&conntrack.ServerDead != 0 {
		s.dead++
	} else {
		s.alive++
	}
}

// maxSignals bounds the servers that passive health is kept of.
const maxSignals = 1 << 16

// Signals calls each with what sessions said about every server. For requests.
func (w *Worker) Signals(each func(server uint32, alive, dead uint64)) {
	for id, s := range w.signals {
		each(id, s.alive, s.dead)
	}
}
