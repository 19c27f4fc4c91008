package syncer

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// Packet is what a Shard must know of a packet on a record that needs its word.
type Packet struct {
	Dir flow.Direction
	// Hint says what the packet showed: SYN-ACK, the handshake's ACK, FIN, a believed RST, or that it acknowledged the FIN of
	// the other direction.
	Hint syncwire.HintFlags
	// Seq is the sequence number after a FIN.
	Seq uint32
	// Alive: neither SYN, FIN nor RST, so it revives an aged session.
	Alive bool
}

const (
	takeoverPackets = 3       // client-side packets here, over
	takeoverAfter   = 200     // milliseconds, before a session is taken from a live owner
	backoffFirst    = 4       // tenths of a second until the same session is taken again
	backoffMax      = 60 * 10 // tenths of a second
)

// Packet is called for a packet on a record that another node owns, that is aged or reply-only, or that no packet of
// this node used yet. The table has noted the packet already.
func (s *Shard) Packet(now int64, h flow.Handle, p Packet) {
	s.time(now)
	x := &s.cur
	s.store.Load(h, x)
	if x.Flags&flow.SoftTomb != 0 {
		if p.Alive {
			s.revive(h, x)
		}
		return
	}
	if x.Flags&flow.ReplyOnly != 0 && p.Dir == flow.In {
		s.askLater(h, x)
	}
	if x.Owner == s.self {
		return
	}
	m := s.member(x.Owner)
	if m == nil {
		s.takeOver(h, x)
		return
	}
	a := s.attention(h, x.Birth)
	if m.suspected && a.suspicion != m.suspicion {
		a.suspicion = m.suspicion
		s.takeOver(h, x)
		return
	}
	s.inform(m, h, x, a, &p)
	if p.Dir != flow.In {
		return
	}
	if a.packets == 0 {
		a.first = s.now
	}
	if a.packets < takeoverPackets {
		a.packets++
	}
	if a.packets >= takeoverPackets && s.now-a.first >= takeoverAfter && s.now >= a.notBefore {
		a.packets = 0
		a.backoff = min(max(a.backoff*2, backoffFirst), backoffMax)
		a.notBefore = s.now + int64(a.backoff)*100
		s.takeOver(h, x)
	}
}

func (s *Shard) takeOver(h flow.Handle, x *flow.Session) {
	s.Count[TakenOver]++
	s.claim(h, x)
	s.event(ActTakenOver, x)
}

// revive makes an aged session live again: its packets came.
func (s *Shard) revive(h flow.Handle, x *flow.Session) {
	s.Count[Revived]++
	s.account(x, -1)
	x.Flags &^= flow.Tomb
	if !s.off(ReviveInTerm) {
		x.Term++
	}
	x.Owner, x.Ver = s.self, 2
	x.Idle = 0
	s.update(h, x)
	s.account(x, +1)
	s.tell(h, x)
	s.event(ActTakenOver, x)
}

// SynVerdict says what to do with a SYN on a record.
type SynVerdict uint8

const (
	// SynServe says to translate it with the record; it is a retransmission or does not begin anything.
	SynServe SynVerdict = iota
	// SynReborn says that the record got a new birth with the same mapping; translate.
	SynReborn
	// SynNew says to schedule it as a new session. Create displaces the record.
	SynNew
	// SynDrop says that there are too many of them.
	SynDrop
)

// confirmedFor is how long, in milliseconds, a replica that no digest confirmed may be passed a SYN.
const confirmedFor = 50_000

// Syn decides about a SYN with initial sequence number isn that found record h by its original tuple. serverOK says
// whether the record's server is configured and up.
func (s *Shard) Syn(now int64, h flow.Handle, isn uint32, serverOK bool) SynVerdict {
	s.time(now)
	x := &s.cur
	s.store.Load(h, x)
	if !live(x) {
		return SynNew
	}
	last := x.Seq[flow.In].Next
	known := x.Seq[flow.In] != flow.SeqHint{}
	if x.Flags&flow.Embryonic != 0 && (!known || isn+1 == last) {
		return SynServe
	}
	fresh := x.State != flow.TCPEstablished
	switch x.State {
	case flow.TCPFinWait, flow.TCPTimeWait, flow.TCPClose, flow.TCPCloseWait, flow.TCPLastAck:
		if !known || int32(isn-last) >= 0 {
			return SynNew
		}
	}
	if s.off(KeepBirthOnSyn) {
		return SynServe
	}
	if x.Owner != s.self && !s.confirmedLately(x) {
		return SynNew
	}
	if !serverOK {
		return s.probe(h, x)
	}
	if !s.rebirth.take(s.now) {
		s.Count[RebirthLimited]++
		return SynDrop
	}
	s.Count[Reborn]++
	s.remember(h, x)
	s.account(x, -1)
	if known = announced(x) || x.Owner != s.self; x.Owner != s.self {
		s.disturb(x)
	}
	x.Birth = s.clock.next(s.now+s.ahead, x.Birth)
	x.Owner, x.Term, x.Ver = s.self, 1, 1
	if known {
		x.Ver = 2
	}
	x.Bits = flow.SynIn
	x.Seq[flow.In] = flow.SeqHint{Next: isn + 1, Seen: true}
	if x.Flags&flow.ReplyOnly != 0 {
		x.Timeout = 0 // no longer that of a superseded one
	}
	x.Flags &^= flow.Tomb | flow.ReplyOnly | flow.Confirmed
	x.Idle = 0
	if fresh {
		// Its handshake will be told again. An established one stays so, or a blind SYN would end it.
		x.State, x.Timeout = flow.TCPNone, 0
		x.Flags |= flow.Embryonic
	}
	s.update(h, x)
	s.account(x, +1)
	if known {
		s.tell(h, x)
	}
	s.event(ActReborn, x)
	return SynReborn
}
