package syncer

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// travels are the flags that mean something to another node; the rest speak of this one.
const travels = flow.ReplyOnly | flow.SoftTomb | flow.HardTomb | flow.Embryonic

// Whoever takes a session over, or gives it a new birth, needs a higher number.
const (
	termMost  = 1 << 31
	birthMost = 1 << 63
)

// maxTimeout bounds what a peer may ask a record to live, in seconds.
const maxTimeout = 30 * 24 * 3600

func toWire(r *syncwire.Record, s *flow.Session) {
	*r = syncwire.Record{
		Orig: syncwire.Key(s.Orig), Reply: syncwire.Key(s.Reply),
		Birth: uint64(s.Birth), OwnerInc: s.Owner.Inc, OwnerID: s.Owner.ID,
		Term: s.Term, Ver: s.Ver, Service: s.Service, Server: s.Server,
		Idle: s.Idle, Timeout: s.Timeout,
		Flags: uint16(s.Flags & travels), Mode: uint8(s.Mode), State: uint8(s.State), Bits: uint8(s.Bits), Bucket: uint8(s.Bucket),
	}
	for i := range s.Seq {
		if q := &s.Seq[i]; q.Next != 0 { // what a direction acknowledged is of no use without that
			r.Seq[i] = syncwire.Seq{Next: q.Next, Ack: q.Ack, Seen: 1}
		}
	}
}

func fromWire(s *flow.Session, r *syncwire.Record) {
	*s = flow.Session{
		Orig: flow.Key(r.Orig), Reply: flow.Key(r.Reply),
		Birth: flow.Birth(r.Birth), Owner: flow.Node{Inc: r.OwnerInc, ID: r.OwnerID},
		Term: r.Term, Ver: r.Ver, Service: r.Service, Server: r.Server,
		Idle: r.Idle, Timeout: r.Timeout,
		Flags: flow.Flags(r.Flags) & travels, Mode: flow.Mode(r.Mode), State: flow.State(r.State), Bits: flow.Bits(r.Bits),
		Bucket: flow.Bucket(r.Bucket),
	}
	for i := range s.Seq {
		if q := &r.Seq[i]; q.Seen != 0 {
			s.Seq[i] = flow.SeqHint{Next: q.Next, Ack: q.Ack}
		}
	}
}

// valid says whether a record that passed the codec also makes sense as a session.
func valid(s *flow.Session) bool {
	fo, fr := s.Orig.Family(), s.Reply.Family()
	return (fo == flow.IPv4 || fo == flow.IPv6) && (fr == flow.IPv4 || fr == flow.IPv6) &&
		s.Birth != 0 && s.Birth < birthMost && s.Owner.ID != 0 && s.Term != 0 && s.Term < termMost && s.Ver != 0 &&
		s.Timeout <= maxTimeout && s.State < flow.NumStates &&
		s.Mode >= flow.FullNAT && s.Mode <= flow.Tunnel &&
		s.Flags&flow.Tomb != flow.Tomb &&
		(s.Mode != flow.FullNAT && s.Mode != flow.SNAT || uint8(s.Reply.DstPort()) == uint8(s.Bucket))
}

// finBits are the sticky bits that a direction's FIN, its acknowledgement and its RST set.
func finBits(d flow.Direction) (fin, acked, rst flow.Bits) {
	if d == flow.In {
		return flow.FinIn, flow.FinAckedIn, flow.RstIn
	}
	return flow.FinOut, flow.FinAckedOut, flow.RstOut
}

// stateOf derives the state from the sticky bits where they decide it, else keeps cur.
func stateOf(cur flow.State, b flow.Bits) flow.State {
	if cur > flow.TCPSynAck {
		return cur
	}
	switch {
	case b&(flow.RstIn|flow.RstOut) != 0:
		return flow.TCPClose
	case b&flow.FinIn != 0 && b&flow.FinOut != 0:
		return flow.TCPTimeWait
	case b&flow.FinIn != 0:
		return flow.TCPCloseWait
	case b&flow.FinOut != 0:
		return flow.TCPFinWait
	}
	return cur
}

// progress sets the sticky bits and the state that follows from them; a new state brings its own timeout, which the
// store knows.
func progress(x *flow.Session, b flow.Bits) {
	x.Bits = b
	if st := stateOf(x.State, b); st != x.State {
		x.State, x.Timeout = st, 0
	}
}

// endBegins says whether the end of a session has begun by what these bits have more than those that were.
func endBegins(was, b flow.Bits) bool { return was&flow.Ending == 0 && b&flow.Ending != 0 }

// isOver says whether both sides agreed that a TCP session is over.
func isOver(s *flow.Session) bool {
	const acked = flow.FinAckedIn | flow.FinAckedOut
	return s.Bits&(flow.RstIn|flow.RstOut) != 0 || s.Bits&acked == acked
}

// bothFins says whether both sides sent a FIN, which alone ends nothing: the last one may have to be sent again.
func bothFins(s *flow.Session) bool {
	const fins = flow.FinIn | flow.FinOut
	return s.Bits&fins == fins
}

// mapped says whether a record can translate packets.
func mapped(s *flow.Session) bool { return s.Birth != 0 && s.Flags&flow.HardTomb == 0 }

// live says whether a record is no tombstone.
func live(s *flow.Session) bool { return s.Birth != 0 && s.Flags&flow.Tomb == 0 }
