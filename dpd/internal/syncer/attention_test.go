package syncer_test

import (
	"fmt"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// factRows are the facts that a packet of a direction may show, and what of the owner's record shows each.
var factRows = []struct {
	name string
	fact syncwire.HintFlags
	dir  flow.Direction
	bits flow.Bits // that show it
}{
	{"a SYN-ACK", syncwire.HintSynAck, flow.Out, flow.SynOut},
	{"the client's FIN", syncwire.HintFin, flow.In, flow.FinIn},
	{"the server's FIN", syncwire.HintFin, flow.Out, flow.FinOut},
	{"the acknowledgement of the client's FIN", syncwire.HintFinAcked, flow.Out, flow.FinAckedIn},
	{"the acknowledgement of the server's FIN", syncwire.HintFinAcked, flow.In, flow.FinAckedOut},
	{"the client's RST", syncwire.HintRst, flow.In, flow.RstIn},
	{"the server's RST", syncwire.HintRst, flow.Out, flow.RstOut},
}

const allBits = flow.FinIn | flow.FinOut | flow.FinAckedIn | flow.FinAckedOut | flow.RstIn | flow.RstOut | flow.SynOut

// A fact is told again until the owner's record shows that very fact, and no other will do.
func TestAFactIsToldUntilTheOwnersRecordShowsIt(t *testing.T) {
	for _, c := range factRows {
		for _, shown := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, shown %v", c.name, shown), func(t *testing.T) {
				b := newBench(t, 0)
				s := session(1, 2, 5, 100<<16, 2, 3, 4)
				s.Bits = flow.SynIn
				h := b.put(s)
				b.Packet(b.now, h, syncer.Packet{Dir: c.dir, Hint: c.fact, Seq: 700})
				m := b.sends()
				if len(m) != 1 || m[0].To != 2 || flow.Direction(m[0].Msg.Dir) != c.dir || m[0].Msg.Hint&^syncwire.HintActive != c.fact {
					t.Fatalf("told %+v", m)
				}
				s.Ver++
				s.Bits = flow.SynIn | c.bits
				if !shown {
					s.Bits = flow.SynIn | allBits&^c.bits
				}
				b.hear(2, syncwire.KindSession, s)
				b.Done()
				b.now += 100
				b.Tick(b.now, 0)
				if got := len(b.hints()) == 0; got != shown {
					t.Errorf("told again: %v", !got)
				}
			})
		}
	}
	t.Run("the handshake's last ACK, until the record is embryonic no more", func(t *testing.T) {
		for _, shown := range []bool{true, false} {
			b, s, h := foreign(t, flow.Embryonic)
			b.Packet(b.now, h, in(syncwire.HintAck))
			if got := b.hints(); len(got) != 1 || got[0] != syncwire.HintAck {
				t.Fatalf("told %v", got)
			}
			s.Ver++
			if shown {
				s.Flags = 0
			}
			b.hear(2, syncwire.KindSession, s)
			b.Done()
			b.now += 100
			b.Tick(b.now, 0)
			if got := len(b.hints()) == 0; got != shown {
				t.Errorf("shown %v: told again %v", shown, !got)
			}
		}
	})
	t.Run("and not when it is no longer the record that it was", func(t *testing.T) {
		for name, since := range map[string]func(b *bench, s flow.Session, h flow.Handle){
			"this node owns it": func(b *bench, s flow.Session, h flow.Handle) {
				s.Owner, s.Term = nodeID(1), 4
				if err := b.store.Update(h, &s); err != nil {
					b.t.Fatal(err)
				}
			},
			"it aged": func(b *bench, s flow.Session, _ flow.Handle) {
				s.Flags, s.Ver = flow.SoftTomb, 5
				b.hear(2, syncwire.KindAge, s)
			},
			"it is gone":        func(b *bench, _ flow.Session, h flow.Handle) { b.store.Remove(h) },
			"it began anew":     func(b *bench, s flow.Session, _ flow.Handle) { s.Birth++; b.hear(2, syncwire.KindSession, s) },
			"its owner is gone": func(b *bench, _ flow.Session, _ flow.Handle) { b.SetView(b.now, view(2, 1, 3)) },
			"its place is another's": func(b *bench, _ flow.Session, h flow.Handle) {
				x := session(9, 3, 9, 300<<16, 2, 1, 2)
				b.store.last = h + 8191
				g := b.put(x)
				b.Packet(b.now, g, in(0))
			},
		} {
			b, s, h := foreign(t, 0)
			b.Packet(b.now, h, in(syncwire.HintFin))
			b.Done()
			since(b, s, h)
			b.Done()
			b.now += 100
			b.Tick(b.now, 0)
			if got := b.hints(); len(got) != 0 {
				t.Errorf("%s: told again %v", name, got)
			}
		}
	})
	t.Run("to whoever owns it by then", func(t *testing.T) {
		b, s, h := foreign(t, 0)
		b.Packet(b.now, h, in(syncwire.HintFin))
		s.Owner, s.Term = nodeID(3), 4
		b.hear(3, syncwire.KindSession, s)
		b.Done()
		b.now += 100
		b.Tick(b.now, 0)
		if m := b.sends(); len(m) != 1 || m[0].To != 3 {
			t.Errorf("told %+v", m)
		}
	})
}

// A superseded session is found by its reply tuple alone.
func TestAHINTNamesATupleThatFindsTheSession(t *testing.T) {
	for _, f := range []flow.Flags{0, flow.ReplyOnly} {
		b, s, h := foreign(t, f)
		b.Packet(b.now, h, out(syncwire.HintFin))
		want := s.Orig
		if f != 0 {
			want = s.Reply
		}
		m := b.sends()
		if len(m) != 1 || flow.Key(m[0].Msg.Rec.Orig) != want {
			t.Fatalf("flags %x: told %+v", f, m)
		}
		o := newBenchOf(t, 2, 0)
		o.put(s)
		o.Receive(o.now, nodeID(1), &m[0].Msg)
		if x := o.held(s); x.Bits&flow.FinOut == 0 {
			t.Errorf("flags %x: the owner holds bits %x", f, x.Bits)
		}
	}
}

// What the owner does with the word of a fact.
func TestTheOwnerTakesUpEachFact(t *testing.T) {
	hint := func(b *bench, s *flow.Session, d flow.Direction, f syncwire.HintFlags, idle uint32) {
		b.Receive(b.now, nodeID(2), &syncwire.Message{Kind: syncwire.KindHint, Dir: uint8(d), Hint: f, Seq: 700,
			Rec: syncwire.Record{Orig: syncwire.Key(s.Orig), Birth: uint64(s.Birth), Bucket: 0x10, Idle: idle}})
	}
	for _, c := range factRows {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, 0)
			s := session(1, 2, 5, 100<<16, 1, 3, 4)
			s.Bits, s.Idle = flow.SynIn, 9_000
			b.put(s)
			hint(b, &s, c.dir, c.fact, 2_000)
			if x := b.held(s); x.Bits != flow.SynIn|c.bits || x.Idle != 2_000 {
				t.Errorf("holds bits %x, idle %d", x.Bits, x.Idle)
			}
			b.sumsHold(t)
		})
	}
	t.Run("activity moves last-seen forward only, and is no news", func(t *testing.T) {
		for idle, want := range map[uint32]uint32{2_000: 2_000, 20_000: 9_000} {
			b := newBench(t, 0)
			s := session(1, 2, 5, 100<<16, 1, 3, 4)
			s.Idle = 9_000
			b.put(s)
			hint(b, &s, flow.In, syncwire.HintActive, idle)
			if x := b.held(s); x.Idle != want || x.Ver != 4 || len(b.sends()) != 0 {
				t.Errorf("idle %d: holds idle %d, version %d", idle, x.Idle, x.Ver)
			}
		}
	})
	t.Run("the handshake's last ACK establishes an embryonic session, and that is told", func(t *testing.T) {
		for _, c := range []struct {
			flags  flow.Flags
			ver    uint32
			fact   syncwire.HintFlags
			bits   flow.Bits
			estab  bool
			told   bool
			finish uint32 // version
		}{
			{flow.Embryonic, 1, syncwire.HintAck, flow.SynIn, true, true, 2},
			{flow.Embryonic, 1, syncwire.HintSynAck, flow.SynIn, false, false, 1}, // nobody knows it yet
			{0, 4, syncwire.HintAck, flow.SynIn | flow.SynOut, false, false, 4},
		} {
			b := newBench(t, 0)
			s := session(1, 2, 5, 100<<16, 1, 3, c.ver)
			s.State, s.Timeout, s.Flags, s.Bits = flow.TCPSynRecv, 30, c.flags, c.bits
			b.put(s)
			hint(b, &s, flow.In, c.fact, 0)
			x := b.held(s)
			if (x.State == flow.TCPEstablished) != c.estab || x.Ver != c.finish || c.estab && (x.Flags&flow.Embryonic != 0 || x.Timeout != 0) {
				t.Errorf("%+v: holds %+v", c, x)
			}
			m := b.sends()
			if told := len(m) == 1 && m[0].To == syncer.AllNodes; told != c.told || len(m) > 1 {
				t.Errorf("%+v: told %+v", c, m)
			}
			if c.fact == syncwire.HintSynAck && (len(m) != 1 || m[0].To != 2 || m[0].Msg.Kind != syncwire.KindSession) {
				t.Errorf("%+v: answered %+v", c, m)
			}
			b.sumsHold(t)
		}
	})
	t.Run("an end without its FIN says nothing", func(t *testing.T) {
		b := newBench(t, 0)
		s := session(1, 2, 5, 100<<16, 1, 3, 4)
		s.Seq = [2]flow.SeqHint{{Next: 650, Seen: true}, {Ack: 700, Seen: true}}
		b.put(s)
		hint(b, &s, flow.In, syncwire.HintActive, 0)
		if x := b.held(s); x.Seq != s.Seq || x.Bits != s.Bits {
			t.Errorf("holds %+v", x)
		}
	})
	t.Run("not of a session that it aged, which it answers", func(t *testing.T) {
		b := newBench(t, 0)
		s := session(1, 2, 5, 100<<16, 1, 3, 4)
		s.Flags = flow.SoftTomb
		b.put(s)
		hint(b, &s, flow.In, syncwire.HintFin, 0)
		if m := b.sends(); len(m) != 1 || m[0].To != 2 || m[0].Msg.Kind != syncwire.KindNackVersion || b.held(s).Bits != s.Bits {
			t.Errorf("answered %+v", m)
		}
	})
}

// A node that serves another's packets says so each quarter of the timeout, or each half minute if that is sooner; any other word
// counts as one.
func TestHowOftenActivityIsTold(t *testing.T) {
	for timeout, every := range map[uint32]int64{8: 2_000, 60: 15_000, 120: 30_000, 3_600: 30_000} {
		b := newBench(t, 0)
		s := session(1, 2, 5, 100<<16, 2, 3, 4)
		s.Timeout = timeout
		h := b.put(s)
		b.Packet(b.now, h, out(0))
		if len(b.hints()) != 1 {
			t.Fatal("the first packet is not told")
		}
		if b.Packet(b.now+every-1, h, out(0)); len(b.hints()) != 0 {
			t.Errorf("timeout %d: told after less than %d ms", timeout, every)
		}
		if b.Packet(b.now+every, h, out(0)); len(b.hints()) != 1 {
			t.Errorf("timeout %d: not told after %d ms", timeout, every)
		}
		b.Packet(b.now+2*every-1, h, out(syncwire.HintFin))
		if got := b.hints(); len(got) != 1 || got[0] != syncwire.HintFin {
			t.Fatalf("told %v", got)
		}
		if b.Packet(b.now+3*every-2, h, out(0)); len(b.hints()) != 0 {
			t.Errorf("timeout %d: told again although a FIN was in between", timeout)
		}
	}
}

func TestRepetitionsOfFactsAreBounded(t *testing.T) {
	b := newBench(t, 0)
	for i := range 5_000 {
		s := session(i%250, byte(2+i/250), uint16(5+i%250), flow.Birth(100+i)<<16, 2, 3, 4)
		s.Orig.Meta += uint64(i/250) << 48
		h, err := b.store.Insert(&s)
		if err != nil {
			t.Fatal(err)
		}
		b.Packet(b.now, h, in(syncwire.HintFin))
	}
	if n := len(b.hints()); n != 5_000 || b.Count[syncer.HintLimited] != 904 {
		t.Errorf("%d told, %d not to be told again", n, b.Count[syncer.HintLimited])
	}
	b.now += 100
	b.Tick(b.now, 0)
	if n := len(b.hints()); n != 4_096 {
		t.Errorf("%d told again", n)
	}
}
