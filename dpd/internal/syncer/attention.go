package syncer

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

const (
	attendSize = 8192 // power of two
	repeatMax  = 4096
)

// attention is what a Shard remembers of a session that it serves for another owner. It lies in a
// direct-mapped array by handle; a collision forgets the older one, which costs a HINT too many or
// a takeover a little later. 56 bytes.
type attention struct {
	birth     flow.Birth
	lastHint  int64 // activity told
	first     int64 // first client packet counted
	notBefore int64 // takeover from a live owner
	askAt     int64 // the later life of a reply-only record may be asked for again
	h         flow.Handle
	suspicion uint32 // the last suspicion that moved it
	backoff   uint16 // tenths of a second
	packets   uint8
	hinted    [2]syncwire.HintFlags // by direction: told
	seen      [2]syncwire.HintFlags // by direction: the owner's record shows it
}

// repeat is a HINT that may have to be told again. 32 bytes.
type repeat struct {
	birth flow.Birth
	due   int64
	h     flow.Handle
	seq   uint32 // after a FIN
	dir   flow.Direction
	flags syncwire.HintFlags
	times uint8 // that it was told again
}

func (s *Shard) attention(h flow.Handle, b flow.Birth) *attention {
	a := &s.attend[uint32(h)&(attendSize-1)]
	if a.h != h || a.birth != b {
		*a = attention{h: h, birth: b, lastHint: -1 << 40}
	}
	return a
}

// attends says whether this node is known to serve packets of the session for its owner.
func (s *Shard) attends(h flow.Handle, b flow.Birth) bool {
	a := &s.attend[uint32(h)&(attendSize-1)]
	return a.h == h && a.birth == b
}

// shown notes what the owner's record, which it sent itself, already shows of the things this node told it.
func (s *Shard) shown(h flow.Handle, x *flow.Session) {
	if !s.attends(h, x.Birth) {
		return
	}
	a := s.attention(h, x.Birth)
	for d := range a.seen {
		a.seen[d] |= facts(x, flow.Direction(d))
	}
}

// facts are the HINT flags that a record already shows for a direction.
func facts(x *flow.Session, d flow.Direction) (f syncwire.HintFlags) {
	f = factsOf(x.Bits, d) | factsOf(x.Bits&flow.SynOut, flow.Out)
	if x.Flags&flow.Embryonic == 0 {
		f |= syncwire.HintAck
	}
	return f
}

// factsOf are the HINT flags of a direction for sticky bits.
func factsOf(b flow.Bits, d flow.Direction) (f syncwire.HintFlags) {
	fin, _, rst := finBits(d)
	_, acked, _ := finBits(d ^ 1)
	if b&fin != 0 {
		f |= syncwire.HintFin
	}
	if b&acked != 0 {
		f |= syncwire.HintFinAcked
	}
	if b&rst != 0 {
		f |= syncwire.HintRst
	}
	if b&flow.SynOut != 0 && d == flow.Out {
		f |= syncwire.HintSynAck
	}
	return f
}

// bitsOf is the inverse of factsOf.
func bitsOf(f syncwire.HintFlags, d flow.Direction) (b flow.Bits) {
	fin, _, rst := finBits(d)
	_, acked, _ := finBits(d ^ 1)
	for _, p := range [...]struct {
		f syncwire.HintFlags
		b flow.Bits
	}{
		{syncwire.HintSynAck, flow.SynOut}, {syncwire.HintFin, fin}, {syncwire.HintFinAcked, acked}, {syncwire.HintRst, rst},
	} {
		if f&p.f != 0 {
			b |= p.b
		}
	}
	return b
}

const (
	hintEvery   = 100 // milliseconds between repeats
	hintRepeats = 3
	activityMax = 30_000
)

// hint tells the owner what passed here.
func (s *Shard) hint(m *member, h flow.Handle, x *flow.Session, d flow.Direction, f syncwire.HintFlags, seq uint32) {
	a := s.send(m.node.ID, syncwire.LaneLive, syncwire.KindHint, h, x)
	a.Msg.Dir, a.Msg.Hint, a.Msg.Seq = uint8(d), f, seq
	if x.Flags&flow.ReplyOnly != 0 {
		a.Msg.Rec.Orig = a.Msg.Rec.Reply // the only tuple that finds it
	}
}

// inform decides what the owner m of a served session must hear now.
func (s *Shard) inform(m *member, h flow.Handle, x *flow.Session, a *attention, p *Packet) {
	news := s.urge(m, h, x, a, p.Dir, p.Hint&^syncwire.HintActive, p.Seq)
	if !news && s.now-a.lastHint >= min(int64(x.Timeout)*250, activityMax) {
		a.lastHint = s.now
		s.Count[HintSent]++
		s.hint(m, h, x, p.Dir, syncwire.HintActive, p.Seq)
	}
}

// urge tells the owner those of the facts of a direction at once that it was not told and doesn't show, and remembers to tell
// them again. The owner answers with its record unless it tells all, so that a HINT is not repeated for want of a word. It reports whether there were any.
func (s *Shard) urge(m *member, h flow.Handle, x *flow.Session, a *attention, d flow.Direction, f syncwire.HintFlags, seq uint32) bool {
	f &^= a.hinted[d&1] | a.seen[d&1]
	if f == 0 {
		return false
	}
	a.hinted[d&1] |= f
	a.lastHint = s.now
	s.Count[HintSent]++
	s.hint(m, h, x, d, f|syncwire.HintActive, seq)
	if len(s.repeats) >= repeatMax {
		s.Count[HintLimited]++
		return true
	}
	s.repeats = append(s.repeats, repeat{birth: x.Birth, h: h, due: s.now + hintEvery, dir: d & 1, flags: f, seq: seq})
	return true
}

// repeatHints tells again what the owner's records don't show yet.
func (s *Shard) repeatHints() {
	n := 0
	for n < len(s.repeats) && s.repeats[n].due <= s.now {
		r := s.repeats[n]
		n++
		a := &s.attend[uint32(r.h)&(attendSize-1)]
		s.store.Load(r.h, &s.cur)
		if a.h != r.h || a.birth != r.birth || s.cur.Birth != r.birth || s.cur.Owner == s.self || s.cur.Flags&flow.Tomb != 0 {
			continue
		}
		m := s.member(s.cur.Owner)
		if r.flags &^= a.seen[r.dir]; m == nil || r.flags == 0 {
			continue
		}
		s.Count[HintRepeated]++
		s.hint(m, r.h, &s.cur, r.dir, r.flags, r.seq)
		if r.times++; r.times < hintRepeats {
			r.due = s.now + hintEvery
			s.repeats = append(s.repeats, r)
		}
	}
	s.repeats = append(s.repeats[:0], s.repeats[n:]...)
}

// finReach is how far beyond what a direction showed here the end of its FIN is plausible.
const finReach = 1 << 26

// finished notes the sequence number after a FIN that passed elsewhere, so that its acknowledgement is known when it passes
// here. Like every sequence value of a peer it is a hint: what was seen here it may only continue.
func finished(q *flow.SeqHint, end uint32) {
	if !q.Seen || end-q.Next <= finReach {
		q.Next = end
	}
}

// acknowledged is the bit that says so if what passed here acknowledged the FIN of direction d, whose end was told and noted. The
// acknowledgement often passes before the word of the FIN comes.
func acknowledged(x *flow.Session, d flow.Direction, end uint32) flow.Bits {
	_, acked, _ := finBits(d)
	if q := &x.Seq[d^1]; q.Seen && q.Ack == end && x.Seq[d].Next == end {
		return acked
	}
	return 0
}

// ownNumbers puts what this node itself saw of sequence numbers over what came with a newer version x; what a message left out
// stays as it was. It returns the bits of FINs that x tells of and that were acknowledged here.
func ownNumbers(x, cur *flow.Session) (acked flow.Bits) {
	told := x.Seq
	for d := range told {
		if cur.Seq[d].Seen || told[d] == (flow.SeqHint{}) {
			x.Seq[d] = cur.Seq[d]
		}
	}
	return finEnds(x, x.Bits, &told)
}

// finEnds notes in x where the FINs among some bits end, as a peer told. It returns the bits of those that were acknowledged here.
func finEnds(x *flow.Session, fins flow.Bits, told *[2]flow.SeqHint) (acked flow.Bits) {
	for d := range told {
		if fin, _, _ := finBits(flow.Direction(d)); fins&fin != 0 && told[d] != (flow.SeqHint{}) {
			finished(&x.Seq[d], told[d].Next)
			acked |= acknowledged(x, flow.Direction(d), told[d].Next)
		}
	}
	return acked
}

// urgeBits tells the owner of a session what it lacks: FINs that were acknowledged here before this node knew of them, or what
// passed here before the session was another node's.
func (s *Shard) urgeBits(h flow.Handle, x *flow.Session, lacks flow.Bits) {
	m := s.member(x.Owner)
	if lacks == 0 || m == nil || !live(x) {
		return
	}
	a := s.attention(h, x.Birth)
	for d := flow.In; d <= flow.Out; d++ {
		f := factsOf(lacks, d)
		if x.Seq[d].Next == 0 {
			f &^= syncwire.HintFin // its end is not known here
		}
		s.urge(m, h, x, a, d, f, x.Seq[d].Next)
	}
}

// beyond are the bits of a session that its new owner may lack, since it told x without them: an owner told some to nobody, and
// who served it for the former owner told them to that one.
func (s *Shard) beyond(h flow.Handle, cur, x *flow.Session) flow.Bits {
	if cur.Owner == x.Owner || cur.Owner != s.self && !s.attends(h, x.Birth) {
		return 0
	}
	a := s.attention(h, x.Birth)
	a.hinted, a.seen = [2]syncwire.HintFlags{}, [2]syncwire.HintFlags{facts(x, flow.In), facts(x, flow.Out)}
	return cur.Bits &^ x.Bits
}

// hinted is a HINT received.
func (s *Shard) hinted(m *member, msg *syncwire.Message) {
	k := flow.Key(msg.Rec.Orig)
	h, ok := s.findBirth(&k, flow.Birth(msg.Rec.Birth))
	if !ok {
		// The sender holds a record, said to be owned here, that this node lacks: ask for it.
		s.askOne(m, &k, flow.Bucket(msg.Rec.Bucket))
		return
	}
	x := &s.cur
	if x.Owner != s.self || !live(x) {
		s.nack(m, h, x)
		return
	}
	s.Count[HintUsed]++
	d := flow.Direction(msg.Dir & 1)
	was, b := x.Bits, x.Bits|bitsOf(msg.Hint, d)
	if msg.Hint&syncwire.HintFin != 0 {
		finished(&x.Seq[d], msg.Seq)
		b |= acknowledged(x, d, msg.Seq)
	}
	done := msg.Hint&syncwire.HintAck != 0 && x.Flags&flow.Embryonic != 0
	x.Idle = min(x.Idle, msg.Rec.Idle)
	x.Flags |= flow.Shared
	if done {
		x.State, x.Timeout = flow.TCPEstablished, 0
		if x.Orig.Proto() != flow.ProtoTCP {
			x.State = flow.UDPNormal
		}
	}
	progress(x, b)
	if done || announced(x) && (endBegins(was, b) || msg.Hint&syncwire.HintFin != 0 && b != was && !x.Seq[d^1].Seen) {
		s.advance(h, x)
		return
	}
	s.update(h, x)
	if b&flow.Ending != 0 || msg.Hint&^syncwire.HintActive != 0 {
		s.answerHint(m, h, x)
	}
}

// answerHint shows the owner's record to who told of a fact that the others need not hear of, or who serves a session while it is
// closed and has not heard of all of that.
func (s *Shard) answerHint(m *member, h flow.Handle, x *flow.Session) {
	if !m.answers.take(s.now) {
		s.Count[AnswerLimited]++
		return
	}
	s.Count[HintAnswered]++
	s.send(m.node.ID, syncwire.LaneLive, syncwire.KindSession, h, x)
}

// findBirth loads the record of a birth that a tuple of either direction finds.
func (s *Shard) findBirth(k *flow.Key, b flow.Birth) (flow.Handle, bool) {
	h, _, ok := s.store.Find(k)
	if !ok {
		return 0, false
	}
	s.store.Load(h, &s.cur)
	return h, s.cur.Birth == b
}
