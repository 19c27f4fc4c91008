package conntrack

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

const (
	// dupWindowMS is how soon an equal acknowledgement must follow to count towards a storm: keep-alives don't.
	dupWindowMS = 64
	// ackSpan is how far an acknowledgement may lie behind what the other side sent to be plausible. It keeps a sender who
	// guesses from moving the sequence hints that RST and FIN are judged by.
	ackSpan = 1 << 26
	// ackAhead is how far an acknowledgement may lie beyond the last one of its direction, whatever was sent: the other
	// side's packets may pass by another node.
	ackAhead = 1 << 24
	// unusual flags take a packet off the short path.
	unusual = flow.Tomb | flow.ReplyOnly | flow.Synced | flow.Embryonic | flow.Probed
)

// Touch books a packet of direction d on record h: last-seen, sequence hints, protocol state, sticky bits. seg is read for
// TCP alone and may be nil otherwise.
//
// RST and FIN are believed if they continue the last packet of their direction seen on this node; values that came by sync
// are hints that convince nobody. One that isn't believed shortens the timer to 30 s, and the next data restores it.
func (t *Table) Touch(h flow.Handle, d flow.Direction, seg *Segment, now expiry.Tick) Outcome {
	r := t.at(h)
	d &= 1
	if r.word()&t.ordinary.mask != t.ordinary.want || seg == nil || seg.Flags&(SYN|FIN|RST|ACK) != ACK {
		return t.touchSlow(h, d, seg, now)
	}
	end := seg.Seq + seg.Payload
	if seg.Payload|(end^r.next[d])|(seg.Ack^r.ack[d])|uint32(seg.Window^r.window[d]) == 0 {
		return r.repeated(d, now)
	}
	r.seen = now
	r.advance(Ref(d), end, seg.Ack, seg.Window)
	return 0
}

// Pass is Touch and Outgoing of what a look-up found. to is what the record said after the one and before its outcome was
// acted upon.
func (t *Table) Pass(ref Ref, seg *Segment, now expiry.Tick, to *flow.Key) Outcome {
	o := t.Touch(ref.Handle(), ref.Dir(), seg, now)
	t.Outgoing(ref.Handle(), ref.Dir(), to)
	return o
}

// advance moves the sequence hints of direction d to a segment's, if what it acknowledges may have been sent. It is small, for the loop of
// Follow to be one without calls.
func (r *record) advance(d Ref, end, ack uint32, window uint16) {
	d &= 1
	if r.next[d^1]-ack > ackSpan && ack-r.ack[d] > ackAhead {
		return
	}
	if int32(end-r.next[d]) > 0 {
		r.next[d] = end
	}
	if int32(ack-r.ack[d]) > 0 {
		r.ack[d] = ack
	}
	r.window[d] = window
}

// repeated books an ACK that says nothing new. A receiver that misses data sends many in a row; only ones that answer each
// other are a storm.
func (r *record) repeated(d flow.Direction, now expiry.Tick) (o Outcome) {
	dir := uint8(d) * localDupOut
	switch {
	case now.Since(r.seen) > dupWindowMS:
		r.local = r.local&^localDupMask | dir
	case r.local&localDupOut == dir:
	case r.local&localDupCount == localDupCount:
		o = DupAck
		r.local ^= localDupOut
	default:
		r.local = (r.local + localDupUnit) ^ localDupOut
	}
	r.seen = now
	return o
}

func (t *Table) touchSlow(h flow.Handle, d flow.Direction, seg *Segment, now expiry.Tick) Outcome {
	r := t.at(h)
	var o Outcome
	if r.owner != t.self {
		o |= Foreign
	}
	tcp := r.proto == flow.ProtoTCP && seg != nil
	if r.flags&flow.SoftTomb != 0 {
		o |= HitSoftTomb
	}
	if r.flags&flow.ReplyOnly != 0 {
		o |= HitReplyOnly
	}
	if tcp && d == flow.In && seg.Flags&(SYN|ACK|RST|FIN) == SYN && r.bits&flow.SynIn != 0 && seg.end() != r.next[0] {
		o |= SynOnExisting
	}
	if o&(HitSoftTomb|SynOnExisting) != 0 {
		return o
	}
	if r.flags&flow.Synced != 0 {
		r.flags &^= flow.Synced
		o |= FirstLocalPacket
	}
	if d == flow.Out {
		r.flags &^= flow.Probed
	}
	before := r.state
	if tcp {
		o |= t.touchTCP(r, d, seg, now)
	} else {
		o |= touchDatagram(r, d, now)
	}
	if r.state != before {
		o |= StateChanged
		if (r.state == flow.TCPEstablished || r.state == flow.UDPNormal) && r.flags&flow.Embryonic != 0 {
			t.count(r, r.flags, -1)
			r.flags &^= flow.Embryonic
			t.count(r, r.flags, 1)
			o |= HandshakeDone
		}
		r.timeout = expiry.SpanOf(t.seconds(t.cold[h].service, r.state))
	}
	if o&(StateChanged|Doubted) != 0 || o&doubtLifted != 0 {
		t.arm(h)
	}
	return o &^ doubtLifted
}

// doubtLifted is for touchSlow alone: data came after a RST or FIN that was not believed.
const doubtLifted Outcome = 1 << 31

func touchDatagram(r *record, d flow.Direction, now expiry.Tick) (o Outcome) {
	r.seen = now
	r.local |= localSeenIn << d
	switch {
	case r.state == flow.UDPNone && d == flow.In:
		r.state = flow.UDPOneWay
	case (r.state == flow.UDPNone || r.state == flow.UDPOneWay) && d == flow.Out:
		r.state = flow.UDPNormal
		o = ServerAlive
	}
	return o
}

func (t *Table) touchTCP(r *record, d flow.Direction, seg *Segment, now expiry.Tick) (o Outcome) {
	kind := row[seg.Flags&31]
	if kind == rows || int(r.state) >= tcpStates || seg.Flags&(SYN|FIN) == SYN|FIN {
		r.seen = now
		return Untracked
	}
	if seg.Flags&(RST|FIN) != 0 && !r.believes(d, seg) {
		r.seen = now
		r.local |= localDoubt
		return Doubted
	}
	if seg.Flags&(SYN|FIN|RST) == 0 && seg.Payload == 0 && r.local&(localSeenIn<<d) != 0 &&
		seg.Seq == r.next[d] && seg.Ack == r.ack[d] && seg.Window == r.window[d] {
		o |= r.repeated(d, now)
	} else {
		r.local &^= localDupMask
	}
	if r.local&localDoubt != 0 && seg.Payload > 0 {
		r.local &^= localDoubt
		o |= doubtLifted
	}
	r.seen = now
	r.track(d, seg)
	return o | t.follow(r, d, kind, seg)
}

// believes says whether a RST or FIN continues direction d. A RST that answers the SYN has nothing to continue; it proves
// itself by acknowledging the client's number. A FIN already believed may be repeated.
func (r *record) believes(d flow.Direction, seg *Segment) bool {
	if r.local&(localSeenIn<<d) != 0 {
		return seg.Seq == r.next[d] || seg.Flags&RST == 0 && r.bits&(flow.FinIn<<d) != 0 && seg.end() == r.next[d]
	}
	return seg.Flags&(RST|ACK) == RST|ACK && d == flow.Out && r.bits&(flow.SynIn|flow.SynOut) == flow.SynIn &&
		r.local&localSeenIn != 0 && seg.Ack == r.next[flow.In]
}

// track moves the sequence hints. The first packet of a direction on this node sets them, whatever sync said.
func (r *record) track(d flow.Direction, seg *Segment) {
	switch {
	case seg.Flags&RST != 0:
		return
	case r.local&(localSeenIn<<d) == 0 || seg.Flags&SYN != 0 && r.bits&(flow.SynIn<<d) == 0:
		r.local |= localSeenIn << d
		r.next[d], r.ack[d], r.window[d] = seg.end(), seg.Ack, seg.Window
		if seg.Flags&SYN != 0 {
			r.ack[d^1] = seg.Seq // nothing of this direction is acknowledged yet
		}
	case seg.Flags&SYN != 0: // repeated
	case r.local&(localSeenIn<<(d^1)) != 0:
		r.advance(Ref(d), seg.end(), seg.Ack, seg.Window)
	default: // one direction passes here: nothing to judge the acknowledgement by
		if int32(seg.end()-r.next[d]) > 0 {
			r.next[d] = seg.end()
		}
		if r.ack[d] == 0 || int32(seg.Ack-r.ack[d]) > 0 {
			r.ack[d] = seg.Ack
		}
		r.window[d] = seg.Window
	}
}

// follow sets the sticky bits and the state.
func (t *Table) follow(r *record, d flow.Direction, kind uint8, seg *Segment) (o Outcome) {
	had := r.bits
	switch {
	case seg.Flags&RST != 0:
		r.bits |= flow.RstIn << d
	case seg.Flags&SYN != 0:
		r.bits |= flow.SynIn << d
	case seg.Flags&FIN != 0:
		r.bits |= flow.FinIn << d
	}
	switch {
	case had&flow.Ending == 0 && r.bits&flow.Ending != 0:
		o |= Ending
	case (r.bits^had)&(flow.FinIn|flow.FinOut) != 0:
		o |= OtherFin
	}
	if acked := flow.FinAckedIn << (d ^ 1); seg.Flags&(ACK|RST) == ACK && r.bits&(flow.FinIn<<(d^1)) != 0 && r.bits&acked == 0 && seg.Ack == r.next[d^1] {
		r.bits |= acked
		o |= FinAcked
	}
	if r.bits != had {
		o |= BitsChanged
		if ends(r.bits) && !ends(had) {
			o |= Closed
		}
	}
	before := r.state
	r.state = next[tableOf(r.mode(), d)][kind][r.state]
	if d == flow.Out && kind == rowRst && (before == flow.TCPSynRecv || before == flow.TCPSynSent) && r.state == flow.TCPClose {
		o |= ServerDead
	}
	return o
}

// ends says whether a session with these bits is over.
func ends(b flow.Bits) bool {
	const acked = flow.FinAckedIn | flow.FinAckedOut
	return b&acked == acked || b&(flow.RstIn|flow.RstOut) != 0
}
