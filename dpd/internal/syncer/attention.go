package syncer

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

const (
	attendSize = 8192 // power of two
	repeatMax  = 4096
)

// attention is what a Shard remembers of a session that it serves for another owner. It lies in a direct-mapped array by
// handle; a collision forgets the older one, which costs a HINT too many or a takeover a little later. 56 bytes.
type attention struct {
	birth     flow.Birth
	lastHint  int64 // activity told
	first     int64 // first client packet counted
	notBefore int64 // takeover from a live owner
	h         flow.Handle
	seq       uint32
	suspicion uint32 // the last suspicion that moved it
	backoff   uint16 // tenths of a second
	packets   uint8
	hinted    [2]syncwire.HintFlags // by direction: told
	seen      [2]syncwire.HintFlags // by direction: the owner's record shows it
}

// repeat is a HINT that may have to be told again.
type repeat struct {
	birth flow.Birth
	due   int64
	h     flow.Handle
	tries uint8
}

func (s *Shard) attention(h flow.Handle, b flow.Birth) *attention {
	a := &s.attend[uint32(h)&(attendSize-1)]
	if a.h != h || a.birth != b {
		*a = attention{h: h, birth: b, lastHint: -1 << 40}
	}
	return a
}

// shown notes what the owner's record already shows of the things this node told it.
func (s *Shard) shown(h flow.Handle, x *flow.Session) {
	a := &s.attend[uint32(h)&(attendSize-1)]
	if a.h != h || a.birth != x.Birth {
		return
	}
	for d := range a.seen {
		a.seen[d] |= facts(x, flow.Direction(d))
	}
}

// facts are the HINT flags that a record already shows for a direction.
func facts(x *flow.Session, d flow.Direction) (f syncwire.HintFlags) {
	fin, acked, rst := finBits(d)
	if x.Bits&fin != 0 {
		f |= syncwire.HintFin
	}
	if x.Bits&acked != 0 {
		f |= syncwire.HintFinAcked
	}
	if x.Bits&rst != 0 {
		f |= syncwire.HintRst
	}
	if x.Bits&flow.SynOut != 0 {
		f |= syncwire.HintSynAck
	}
	if x.Flags&flow.Embryonic == 0 {
		f |= syncwire.HintAck
	}
	return f
}

const (
	hintEvery   = 100 // milliseconds between repeats
	hintTries   = 3
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
	urgent := p.Hint &^ (syncwire.HintActive | a.hinted[p.Dir] | a.seen[p.Dir])
	if urgent != 0 {
		a.hinted[p.Dir] |= urgent
		a.lastHint = s.now
		if urgent&syncwire.HintFin != 0 {
			a.seq = p.Seq
		}
		s.Count[HintSent]++
		s.hint(m, h, x, p.Dir, urgent|syncwire.HintActive, p.Seq)
		if len(s.repeats) >= repeatMax {
			s.Count[HintLimited]++
			return
		}
		s.repeats = append(s.repeats, repeat{birth: x.Birth, h: h, due: s.now + hintEvery, tries: 1})
		return
	}
	if s.now-a.lastHint >= min(int64(x.Timeout)*250, activityMax) {
		a.lastHint = s.now
		s.Count[HintSent]++
		s.hint(m, h, x, p.Dir, syncwire.HintActive, p.Seq)
	}
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
		if m == nil {
			continue
		}
		again := false
		for d := range a.hinted {
			if f := a.hinted[d] &^ a.seen[d]; f != 0 {
				again = true
				s.Count[HintRepeated]++
				s.hint(m, r.h, &s.cur, flow.Direction(d), f, a.seq)
			}
		}
		if r.tries++; again && r.tries < hintTries {
			r.due = s.now + hintEvery
			s.repeats = append(s.repeats, r)
		}
	}
	s.repeats = append(s.repeats[:0], s.repeats[n:]...)
}

// hinted is a HINT received.
func (s *Shard) hinted(m *member, msg *syncwire.Message) {
	k := flow.Key(msg.Rec.Orig)
	h, ok := s.findBirth(&k, flow.Birth(msg.Rec.Birth))
	if !ok {
		// The sender holds a record, said to be owned here, that this node lacks: ask for it.
		a := s.emit(ActSend)
		s.seq++
		s.queryID++
		a.To, a.Lane, a.Seq = m.node.ID, syncwire.LaneLive, s.seq
		a.Msg = syncwire.Message{Kind: syncwire.KindQuery, ID: s.queryID << 1, Rec: syncwire.Record{Orig: msg.Rec.Orig, Bucket: msg.Rec.Bucket}}
		return
	}
	x := &s.cur
	if x.Owner != s.self || !live(x) {
		s.nack(m, h, x)
		return
	}
	s.Count[HintUsed]++
	d := flow.Direction(msg.Dir & 1)
	fin, acked, rst := finBits(d)
	b := x.Bits
	for _, p := range [...]struct {
		f syncwire.HintFlags
		b flow.Bits
	}{
		{syncwire.HintSynAck, flow.SynOut}, {syncwire.HintFin, fin}, {syncwire.HintFinAcked, acked}, {syncwire.HintRst, rst},
	} {
		if msg.Hint&p.f != 0 {
			b |= p.b
		}
	}
	done := msg.Hint&syncwire.HintAck != 0 && x.Flags&flow.Embryonic != 0
	news := b != x.Bits || done
	x.Idle = min(x.Idle, msg.Rec.Idle)
	if done {
		x.State, x.Timeout = flow.TCPEstablished, 0
	}
	progress(x, b)
	if news && (announced(x) || done) {
		s.advance(h, x)
		return
	}
	s.update(h, x)
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
