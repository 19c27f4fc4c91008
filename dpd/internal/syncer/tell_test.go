package syncer_test

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// owned puts a session of this node into a bench, whose packets of both directions were seen here.
func owned(t *testing.T, change func(*flow.Session)) (*bench, flow.Session, flow.Handle) {
	b := newBench(t, 0)
	s := session(1, 1, 5, 100<<16, 1, 1, 2)
	s.Seq = [2]flow.SeqHint{{Next: 100, Ack: 200, Seen: true}, {Next: 200, Ack: 100, Seen: true}}
	if change != nil {
		change(&s)
	}
	h, err := b.store.Insert(&s)
	if err != nil {
		t.Fatal(err)
	}
	b.Recount()
	return b, s, h
}

func (b *bench) hint(from uint32, s flow.Session, d flow.Direction, f syncwire.HintFlags, seq uint32) {
	b.Receive(b.now, nodeID(from), &syncwire.Message{Kind: syncwire.KindHint, Dir: uint8(d), Hint: f | syncwire.HintActive, Seq: seq,
		Rec: syncwire.Record{Orig: syncwire.Key(s.Orig), Birth: uint64(s.Birth), Bucket: 0x10}})
}

// What an owner sends of a fact that a HINT brings: to all, back to who told it, or nothing.
func TestAHintIsToldToAllOrAnswered(t *testing.T) {
	none := func(*flow.Session) {}
	for _, c := range []struct {
		name string
		has  func(*flow.Session)
		d    flow.Direction
		f    syncwire.HintFlags
		to   int // -1: nothing is sent
	}{
		{"activity", none, flow.Out, 0, -1},
		{"activity of a session that closes", func(s *flow.Session) { s.Bits |= flow.FinIn }, flow.Out, 0, 3},
		{"the first FIN", none, flow.Out, syncwire.HintFin, syncer.AllNodes},
		{"a RST", none, flow.Out, syncwire.HintRst, syncer.AllNodes},
		{"a RST after a FIN", func(s *flow.Session) { s.Bits |= flow.FinIn }, flow.Out, syncwire.HintRst, 3},
		{"the second FIN", func(s *flow.Session) { s.Bits |= flow.FinIn }, flow.Out, syncwire.HintFin, 3},
		{"the second FIN, whose acknowledgement does not pass here", func(s *flow.Session) {
			s.Bits |= flow.FinIn
			s.Seq[flow.In].Seen = false
		}, flow.Out, syncwire.HintFin, syncer.AllNodes},
		{"a FIN that was told already", func(s *flow.Session) { s.Bits |= flow.FinOut }, flow.Out, syncwire.HintFin, 3},
		{"that a FIN was acknowledged", func(s *flow.Session) { s.Bits |= flow.FinIn }, flow.Out, syncwire.HintFinAcked, 3},
		{"the SYN-ACK of an embryonic session", func(s *flow.Session) { s.Ver, s.Flags, s.Bits = 1, flow.Embryonic, flow.SynIn }, flow.Out, syncwire.HintSynAck, 3},
		{"the SYN-ACK of an established session", func(s *flow.Session) { s.Bits = flow.SynIn }, flow.Out, syncwire.HintSynAck, 3},
		{"the ACK of a handshake", func(s *flow.Session) { s.Ver, s.Flags = 1, flow.Embryonic }, flow.In, syncwire.HintAck, syncer.AllNodes},
	} {
		b, s, _ := owned(t, c.has)
		b.hint(3, s, c.d, c.f, 250)
		m := b.sends()
		switch {
		case c.to < 0 && len(m) != 0, c.to >= 0 && (len(m) != 1 || m[0].To != uint32(c.to) || m[0].Msg.Kind != syncwire.KindSession):
			t.Errorf("%s: sent %+v", c.name, m)
		case c.f&syncwire.HintFin != 0 && flow.Bits(m[0].Msg.Rec.Bits)&flow.FinOut == 0:
			t.Errorf("%s: what was sent does not show it", c.name)
		}
		b.sumsHold(t)
	}
}

func TestASecondFinIsToldWhereAnotherNodeMaySeeItAcknowledged(t *testing.T) {
	for _, c := range []struct {
		name string
		has  func(*flow.Session)
		want bool
	}{
		{"both directions pass here", nil, false},
		{"the other direction does not pass here", func(s *flow.Session) { s.Seq[flow.In] = flow.SeqHint{Next: 100} }, true},
		{"another node serves packets of it, too", func(s *flow.Session) { s.Flags |= flow.Shared }, true},
		{"another node owns it", func(s *flow.Session) { s.Owner, s.Flags = nodeID(2), flow.Shared }, false},
		{"it is aged", func(s *flow.Session) { s.Flags = flow.Shared | flow.SoftTomb }, false},
	} {
		b, _, h := owned(t, c.has)
		b.OtherFin(b.now, h, flow.Out)
		if m := b.sends(); (len(m) == 1 && m[0].To == syncer.AllNodes) != c.want || len(m) > 1 {
			t.Errorf("%s: sent %+v", c.name, m)
		}
	}
	t.Run("a HINT says that another node does", func(t *testing.T) {
		b, s, h := owned(t, nil)
		b.hint(2, s, flow.In, 0, 0)
		if b.OtherFin(b.now, h, flow.Out); len(b.sends()) != 1 {
			t.Error("not told")
		}
	})
}

func TestWhoLosesASessionTellsItsNewOwnerWhatThatLacks(t *testing.T) {
	t.Run("its former owner", func(t *testing.T) {
		b, s, _ := owned(t, func(s *flow.Session) { s.Bits |= flow.FinIn | flow.FinOut | flow.FinAckedIn })
		took := s
		took.Owner, took.Term, took.Ver, took.Bits = nodeID(2), 2, 2, flow.SynIn|flow.SynOut|flow.FinIn
		b.hear(2, syncwire.KindSession, took)
		m := b.sends()
		if len(m) != 1 || m[0].To != 2 || m[0].Msg.Dir != uint8(flow.Out) || m[0].Msg.Seq != 200 ||
			m[0].Msg.Hint&^syncwire.HintActive != syncwire.HintFin|syncwire.HintFinAcked {
			t.Errorf("sent %+v", m)
		}
		b.sumsHold(t)
	})
	t.Run("who served it for the former owner", func(t *testing.T) {
		b, s, h := foreign(t, 0)
		s.Bits |= flow.FinOut
		s.Seq[flow.Out] = flow.SeqHint{Next: 300, Seen: true}
		if err := b.store.Update(h, &s); err != nil {
			t.Fatal(err)
		}
		b.Packet(b.now, h, syncer.Packet{Dir: flow.Out, Hint: syncwire.HintFin, Seq: 300})
		b.hear(2, syncwire.KindSession, s) // the former owner knows it
		b.Done()
		took := s
		took.Owner, took.Term, took.Ver, took.Bits = nodeID(3), s.Term+1, 2, flow.SynIn|flow.SynOut
		b.hear(3, syncwire.KindSession, took)
		if m := b.sends(); len(m) != 1 || m[0].To != 3 || m[0].Msg.Hint&syncwire.HintFin == 0 || m[0].Msg.Seq != 300 {
			t.Errorf("sent %+v", m)
		}
	})
	t.Run("nobody else", func(t *testing.T) {
		b, s, h := foreign(t, 0)
		s.Bits |= flow.FinOut
		if err := b.store.Update(h, &s); err != nil {
			t.Fatal(err)
		}
		took := s
		took.Owner, took.Term, took.Ver, took.Bits = nodeID(3), s.Term+1, 2, flow.SynIn|flow.SynOut
		b.hear(3, syncwire.KindSession, took)
		if m := b.sends(); len(m) != 0 {
			t.Errorf("sent %+v", m)
		}
	})
}

func TestOnlyTheOwnersOwnWordEndsTheRepetitionOfAHint(t *testing.T) {
	b, s, h := foreign(t, 0)
	b.Packet(b.now, h, in(syncwire.HintFin))
	b.hints()
	s.Bits |= flow.FinIn
	b.hear(3, syncwire.KindSession, s) // knows it from elsewhere
	b.now += 100
	b.Tick(b.now, 0)
	if got := b.hints(); len(got) != 1 {
		t.Fatalf("repeated %v, want once: the owner may not know it", got)
	}
	b.hear(2, syncwire.KindSession, s)
	b.now += 100
	b.Tick(b.now, 0)
	if got := b.hints(); len(got) != 0 {
		t.Errorf("repeated %v, although the owner showed it", got)
	}
}

// A node that was given an embryonic session as an answer sends it again with what it saw, as after the loss of a HINT.
func TestACopyThatComesBackDoesNotEndAHandshake(t *testing.T) {
	b, s, _ := owned(t, func(s *flow.Session) {
		s.Ver, s.Flags, s.State, s.Bits = 1, flow.Embryonic, flow.TCPSynRecv, flow.SynIn
	})
	s.Bits |= flow.SynOut
	b.hear(2, syncwire.KindSession, s)
	if x := b.held(s); x.Flags&flow.Embryonic == 0 || x.Bits != s.Bits {
		t.Errorf("%+v", x)
	}
	if m := b.sends(); len(m) != 0 {
		t.Errorf("told %+v", m)
	}
}

// A lost HINT is made up for by the sender's record: it says as much as the HINT did.
func TestARecordSaysWhereAFinEnds(t *testing.T) {
	b, s, _ := owned(t, func(s *flow.Session) { s.Bits |= flow.FinIn; s.Seq[flow.In].Ack = 250 })
	msg := &syncwire.Message{Kind: syncwire.KindSession, Rec: record(s)}
	msg.Rec.Bits |= uint8(flow.FinOut)
	msg.Rec.Seq[flow.Out] = syncwire.Seq{Next: 250, Seen: 1}
	b.Receive(b.now, nodeID(2), msg)
	if x := b.held(s); x.Seq[flow.Out].Next != 250 || x.Bits&flow.FinAckedOut == 0 {
		t.Errorf("%+v", x)
	}
}

func TestSequenceHintsTravelWhereTheyAreUsed(t *testing.T) {
	closing := func(s *flow.Session) { s.Bits |= flow.FinIn }
	ended := func(s *flow.Session) {
		s.Bits |= flow.FinIn | flow.FinOut | flow.FinAckedIn | flow.FinAckedOut
	}
	theirs := func(s *flow.Session) { s.Owner = nodeID(2) }
	aged := func(s *flow.Session) { s.Flags = flow.SoftTomb }
	ask := func(b *bench, s flow.Session) {
		b.Receive(b.now, nodeID(2), &syncwire.Message{Kind: syncwire.KindQuery, ID: 5, Rec: syncwire.Record{Orig: syncwire.Key(s.Orig), Bucket: 0x10}})
	}
	older := func(b *bench, s flow.Session) { s.Ver--; b.hear(2, syncwire.KindSession, s) }
	for _, c := range []struct {
		name string
		has  func(*flow.Session)
		do   func(b *bench, s flow.Session, h flow.Handle)
		kind syncwire.Kind
		want bool
	}{
		{"established", nil, func(b *bench, _ flow.Session, h flow.Handle) { b.Established(b.now, h) }, syncwire.KindSession, true},
		{"the first FIN", closing, func(b *bench, _ flow.Session, h flow.Handle) { b.Ending(b.now, h) }, syncwire.KindSession, true},
		{"CLOSE", ended, func(b *bench, _ flow.Session, h flow.Handle) { b.Expired(b.now, h) }, syncwire.KindClose, false},
		{"AGE", nil, func(b *bench, _ flow.Session, h flow.Handle) { b.Expired(b.now, h) }, syncwire.KindAge, false},
		{"a takeover", theirs, func(b *bench, _ flow.Session, h flow.Handle) {
			b.SetView(b.now, view(2, 1, 3))
			b.Packet(b.now, h, in(0))
		}, syncwire.KindSession, true},
		{"a revival", aged, func(b *bench, _ flow.Session, h flow.Handle) { b.Packet(b.now, h, in(0)) }, syncwire.KindSession, true},
		{"an answer to who has an older version", nil, func(b *bench, s flow.Session, _ flow.Handle) { older(b, s) }, syncwire.KindNackVersion, true},
		{"of an aged session", aged, func(b *bench, s flow.Session, _ flow.Handle) { older(b, s) }, syncwire.KindNackVersion, false},
		{"an answer to a question", nil, func(b *bench, s flow.Session, _ flow.Handle) { ask(b, s) }, syncwire.KindAnswer, true},
		{"about an aged session", aged, func(b *bench, s flow.Session, _ flow.Handle) { ask(b, s) }, syncwire.KindAnswer, false},
	} {
		b, s, h := owned(t, c.has)
		c.do(b, s, h)
		m := b.sends()
		if len(m) == 0 || m[0].Msg.Kind != c.kind {
			t.Errorf("%s: sent %+v", c.name, m)
			continue
		}
		q := m[0].Msg.Rec.Seq
		if all := q[0].Seen&q[1].Seen != 0; all != c.want || !c.want && q != [2]syncwire.Seq{} {
			t.Errorf("%s: carries %+v", c.name, q)
		}
	}
	t.Run("what a message leaves out stays", func(t *testing.T) {
		b, s, _ := owned(t, func(s *flow.Session) { s.Owner = nodeID(2); s.Seq[flow.In].Seen = false })
		news := s
		news.Ver++
		news.Seq = [2]flow.SeqHint{}
		b.hear(2, syncwire.KindSession, news)
		if x := b.held(s); x.Ver != news.Ver || x.Seq != s.Seq {
			t.Errorf("holds %+v", x)
		}
	})
}
