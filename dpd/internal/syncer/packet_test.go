package syncer_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// foreign puts a session of node 2 into a bench.
func foreign(t *testing.T, flags flow.Flags) (*bench, flow.Session, flow.Handle) {
	b := newBench(t, 0)
	s := session(1, 2, 5, 100<<16, 2, 3, 4)
	s.Flags = flags
	return b, s, b.put(s)
}

func in(f syncwire.HintFlags) syncer.Packet { return syncer.Packet{Dir: flow.In, Hint: f, Alive: true} }
func out(f syncwire.HintFlags) syncer.Packet {
	return syncer.Packet{Dir: flow.Out, Hint: f, Alive: true}
}

func TestTakeoverFromALiveOwner(t *testing.T) {
	t.Run("needs three client packets over 200 ms", func(t *testing.T) {
		b, s, h := foreign(t, 0)
		for i, ms := range []int64{0, 10, 20, 199} {
			if b.Packet(b.now+ms, h, in(0)); b.held(s).Owner != nodeID(2) {
				t.Fatalf("taken over by packet %d", i)
			}
		}
		if b.Packet(b.now+200, h, in(0)); b.held(s).Owner != nodeID(1) || b.held(s).Term != 4 {
			t.Fatalf("not taken over: %+v", b.held(s))
		}
		b.sumsHold(t)
	})
	t.Run("begins to count anew after each", func(t *testing.T) {
		b, s, h := foreign(t, 0)
		back := func(ms int64) {
			x := b.held(s)
			x.Owner, x.Term, x.Ver = nodeID(2), x.Term+1, 2
			b.now += ms
			b.hear(2, syncwire.KindSession, x)
		}
		for range 3 {
			b.Packet(b.now, h, in(0))
			b.now += 100
		}
		if b.held(s).Owner != nodeID(1) || b.acts(syncer.ActTakenOver) != 1 {
			t.Fatalf("not taken over: %+v", b.held(s))
		}
		back(10_000)
		for i, ms := range []int64{0, 100, 99} {
			b.now += ms
			if b.Packet(b.now, h, in(0)); b.held(s).Owner != nodeID(2) {
				t.Fatalf("taken over by packet %d", i)
			}
		}
		b.now++
		if b.Packet(b.now, h, in(0)); b.held(s).Owner != nodeID(1) {
			t.Fatal("not taken over again")
		}
	})
	t.Run("is not made of what this node owns", func(t *testing.T) {
		b := newBench(t, 0)
		s := session(1, 2, 5, 100<<16, 1, 3, 4)
		h := b.put(s)
		for range 10 {
			b.now += 100
			b.Packet(b.now, h, in(syncwire.HintFin))
		}
		if x := b.held(s); x.Term != 3 || x.Ver != 4 || len(b.sends()) != 0 {
			t.Errorf("holds %+v", x)
		}
	})
	t.Run("is not made by the server's packets", func(t *testing.T) {
		b, s, h := foreign(t, 0)
		for ms := int64(0); ms < 5_000; ms += 10 {
			b.Packet(b.now+ms, h, out(0))
		}
		if b.held(s).Owner != nodeID(2) {
			t.Error("taken over")
		}
	})
	t.Run("waits twice as long each time the owner takes it back", func(t *testing.T) {
		b, s, h := foreign(t, 0)
		var at []int64
		for ms := int64(0); ms < 20_000; ms += 10 {
			if b.Packet(b.now+ms, h, in(0)); b.held(s).Owner == nodeID(1) {
				at = append(at, ms)
				back := b.held(s)
				back.Owner, back.Term, back.Ver = nodeID(2), back.Term+1, 2
				b.hear(2, syncwire.KindSession, back)
			}
		}
		for i := 2; i < len(at); i++ {
			if at[i]-at[i-1] < at[i-1]-at[i-2] {
				t.Errorf("takeovers at %v", at)
			}
		}
		if len(at) < 3 || len(at) > 7 {
			t.Errorf("%d takeovers in 20 s", len(at))
		}
	})
}

func TestTakeoverAtOnce(t *testing.T) {
	t.Run("of what nobody in the view owns", func(t *testing.T) {
		for _, p := range []syncer.Packet{in(0), out(0)} {
			b, s, h := foreign(t, 0)
			b.SetView(b.now, view(2, 1, 3))
			if b.Packet(b.now, h, p); b.held(s).Owner != nodeID(1) {
				t.Error("not taken over")
			}
		}
	})
	t.Run("of what a former incarnation owns", func(t *testing.T) {
		b, s, h := foreign(t, 0)
		b.Fenced(b.now, flow.Node{ID: 2, Inc: 11})
		if b.Packet(b.now, h, in(0)); b.held(s).Owner != nodeID(1) {
			t.Error("not taken over")
		}
	})
	t.Run("from a suspected owner, once a suspicion", func(t *testing.T) {
		b, s, h := foreign(t, 0)
		b.Suspect(b.now, nodeID(2), true)
		take := func(want bool) {
			t.Helper()
			b.Packet(b.now, h, in(0))
			if got := b.held(s).Owner == nodeID(1); got != want {
				t.Fatalf("taken over: %v, want %v", got, want)
			}
			back := b.held(s)
			back.Owner, back.Term, back.Ver = nodeID(2), back.Term+1, 2
			b.hear(2, syncwire.KindSession, back)
		}
		take(true)
		take(false)
		b.Suspect(b.now, nodeID(2), false)
		b.Suspect(b.now, nodeID(2), true)
		take(true)
	})
}

func TestPacketsOnTombstones(t *testing.T) {
	for _, c := range []struct {
		name  string
		flags flow.Flags
		alive bool
		lives bool
	}{
		{"data revives an aged session", flow.SoftTomb, true, true},
		{"FIN and RST pass an aged session and do not revive it", flow.SoftTomb, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, s, h := foreign(t, c.flags)
			p := in(0)
			p.Alive = c.alive
			b.Packet(b.now, h, p)
			x := b.held(s)
			if got := x.Flags&flow.Tomb == 0; got != c.lives {
				t.Errorf("lives: %v", got)
			}
			m := b.sends()
			if !c.lives && len(m) != 0 {
				t.Errorf("told %+v", m)
			}
			// In the same term the AGE would win: its owner is greater, or its version is.
			if c.lives && (x.Owner != nodeID(1) || x.Term != 4 || x.Idle != 0 || len(m) != 1 || m[0].To != syncer.AllNodes || m[0].Msg.Kind != syncwire.KindSession) {
				t.Errorf("revived as %+v, told %+v", x, m)
			}
			b.sumsHold(t)
		})
	}
}

func (b *bench) hints() (list []syncwire.HintFlags) {
	for _, a := range b.sends() {
		if a.Msg.Kind == syncwire.KindHint {
			list = append(list, a.Msg.Hint&^syncwire.HintActive)
		}
	}
	return list
}

func TestHints(t *testing.T) {
	t.Run("a FIN is told at once and repeated until the owner's record shows it", func(t *testing.T) {
		b, s, h := foreign(t, 0)
		b.Packet(b.now, h, in(syncwire.HintFin))
		b.Packet(b.now, h, in(syncwire.HintFin))
		if got := b.hints(); len(got) != 1 || got[0] != syncwire.HintFin {
			t.Fatalf("hints %v", got)
		}
		b.now += 100
		b.Tick(b.now, 0)
		if got := b.hints(); len(got) != 1 {
			t.Fatalf("repeated %v", got)
		}
		s.Ver++
		s.Bits |= flow.FinIn
		b.hear(2, syncwire.KindSession, s)
		b.now += 100
		b.Tick(b.now, 0)
		if got := b.hints(); len(got) != 0 {
			t.Fatalf("repeated although shown: %v", got)
		}
	})
	t.Run("at once, three times more, and then no more", func(t *testing.T) {
		b, _, h := foreign(t, 0)
		b.Packet(b.now, h, out(syncwire.HintRst))
		n := 0
		for range 20 {
			n += len(b.hints())
			b.now += 100
			b.Tick(b.now, 0)
		}
		if n != 4 || b.Count[syncer.HintRepeated] != 3 {
			t.Errorf("told %d times, %d of them again, want 4 and 3", n, b.Count[syncer.HintRepeated])
		}
	})
	t.Run("facts of both directions, each with its own end and its own repetitions", func(t *testing.T) {
		b, _, h := foreign(t, 0)
		b.Packet(b.now, h, syncer.Packet{Dir: flow.Out, Hint: syncwire.HintFin, Seq: 700})
		b.Packet(b.now, h, syncer.Packet{Dir: flow.In, Hint: syncwire.HintFin | syncwire.HintFinAcked, Seq: 300})
		got := map[string]int{}
		for range 20 {
			for _, a := range b.sends() {
				got[fmt.Sprint(a.Msg.Dir, a.Msg.Hint&^syncwire.HintActive, a.Msg.Seq)]++
			}
			b.now += 100
			b.Tick(b.now, 0)
		}
		want := map[string]int{"1 4 700": 4, "0 12 300": 4}
		if !maps.Equal(got, want) {
			t.Errorf("told %v, want %v (direction, fact, end)", got, want)
		}
	})
	t.Run("activity is told each quarter of the timeout", func(t *testing.T) {
		b, _, h := foreign(t, 0)
		n := 0
		for ms := int64(0); ms < 60_000; ms += 500 {
			b.Packet(b.now+ms, h, out(0))
			n += len(b.hints())
		}
		if n != 4 {
			t.Errorf("told %d times in 60 s, want 4", n)
		}
	})
	t.Run("an owner takes them up and tells all", func(t *testing.T) {
		b := newBench(t, 0)
		s := session(1, 1, 5, 0, 0, 0, 0)
		if _, err := b.Create(b.now, &s); err != nil {
			t.Fatal(err)
		}
		b.Done()
		hint := func(d uint8, f syncwire.HintFlags, birth flow.Birth) {
			b.Receive(b.now, nodeID(2), &syncwire.Message{Kind: syncwire.KindHint, Dir: d, Hint: f,
				Rec: syncwire.Record{Orig: syncwire.Key(s.Orig), Birth: uint64(birth), Bucket: 0x10}})
		}
		hint(1, syncwire.HintFin, s.Birth)
		if x := b.held(s); x.Bits&flow.FinOut == 0 || x.State != flow.TCPFinWait {
			t.Errorf("bits %x, state %d", x.Bits, x.State)
		}
		if m := b.sends(); len(m) != 1 || m[0].To != syncer.AllNodes {
			t.Errorf("told %v", m)
		}
		hint(1, syncwire.HintFin, s.Birth)
		if m := b.sends(); len(m) != 1 || m[0].To != 2 || m[0].Msg.Kind != syncwire.KindSession {
			t.Errorf("who told it again was answered %v", m)
		}
		b.sumsHold(t)
	})
	t.Run("an owner learns where a FIN ends, and knows its acknowledgement, whichever comes first", func(t *testing.T) {
		for _, c := range []struct {
			name  string
			hints [2]flow.SeqHint // of the owner
			end   uint32
			next  uint32 // of the server's direction, after
			acked bool
		}{
			{"no packet of the direction passed here", [2]flow.SeqHint{{}, {Next: 9}}, 700, 700, false},
			{"the end continues what passed here", [2]flow.SeqHint{{}, {Next: 650, Seen: true}}, 700, 700, false},
			{"across the wrap", [2]flow.SeqHint{{}, {Next: 0xffff_fff0, Seen: true}}, 20, 20, false},
			{"the end is behind what passed here", [2]flow.SeqHint{{}, {Next: 701, Seen: true}}, 700, 701, false},
			{"the end is too far ahead", [2]flow.SeqHint{{}, {Next: 650, Seen: true}}, 650 + 1<<26 + 1, 650, false},
			{"it was acknowledged here before the word of it came", [2]flow.SeqHint{{Ack: 700, Seen: true}, {}}, 700, 700, true},
			{"what came by sync acknowledges nothing", [2]flow.SeqHint{{Ack: 700}, {}}, 700, 700, false},
			{"what is acknowledged is beyond an end that is behind", [2]flow.SeqHint{{Ack: 701, Seen: true}, {Next: 701, Seen: true}}, 700, 701, false},
			{"what is acknowledged is an end that is too far ahead", [2]flow.SeqHint{{Ack: 1 << 30, Seen: true}, {Next: 650, Seen: true}}, 1 << 30, 650, false},
			{"less was acknowledged", [2]flow.SeqHint{{Ack: 699, Seen: true}, {}}, 700, 700, false},
		} {
			b := newBench(t, 0)
			s := session(1, 1, 5, 100<<16, 1, 1, 2)
			s.Seq = c.hints
			if _, err := b.store.Insert(&s); err != nil {
				t.Fatal(err)
			}
			b.Recount()
			b.Receive(b.now, nodeID(2), &syncwire.Message{Kind: syncwire.KindHint, Dir: 1, Hint: syncwire.HintFin, Seq: c.end,
				Rec: syncwire.Record{Orig: syncwire.Key(s.Orig), Birth: uint64(s.Birth), Bucket: 0x10}})
			x := b.held(s)
			if x.Seq[1].Next != c.next || x.Seq[1].Seen != c.hints[1].Seen || x.Bits&flow.FinOut == 0 || (x.Bits&flow.FinAckedOut != 0) != c.acked {
				t.Errorf("%s: %+v, bits %x", c.name, x.Seq[1], x.Bits)
			}
			if m := b.sends(); len(m) != 1 || m[0].Msg.Rec.Seq[1].Next != c.next {
				t.Errorf("%s: the others were told %+v", c.name, m)
			}
		}
	})
	t.Run("a replica that saw the acknowledgement before the owner's word of the FIN tells the owner", func(t *testing.T) {
		b, s, h := foreign(t, 0)
		s.Seq[1] = flow.SeqHint{Ack: 300, Seen: true}
		if err := b.store.Update(h, &s); err != nil {
			t.Fatal(err)
		}
		news := s
		news.Ver++
		news.Bits |= flow.FinIn
		msg := &syncwire.Message{Kind: syncwire.KindSession, Rec: record(news)}
		msg.Rec.Seq[0] = syncwire.Seq{Next: 300, Seen: 1}
		b.Receive(b.now, nodeID(2), msg)
		if x := b.held(s); x.Bits&flow.FinAckedIn == 0 {
			t.Errorf("bits %x", x.Bits)
		}
		m := b.sends()
		if len(m) != 1 || m[0].To != 2 || m[0].Msg.Dir != 1 || m[0].Msg.Hint&syncwire.HintFinAcked == 0 {
			t.Errorf("told %+v", m)
		}
		b.sumsHold(t)
	})
	t.Run("a node that is not the owner answers with what it knows", func(t *testing.T) {
		b, s, _ := foreign(t, 0)
		b.Receive(b.now, nodeID(3), &syncwire.Message{Kind: syncwire.KindHint, Hint: syncwire.HintFin,
			Rec: syncwire.Record{Orig: syncwire.Key(s.Orig), Birth: uint64(s.Birth), Bucket: 0x10}})
		if m := b.sends(); len(m) != 1 || m[0].To != 3 || m[0].Msg.Kind != syncwire.KindNackVersion {
			t.Errorf("answered %v", m)
		}
	})
	t.Run("a node that lacks the session asks for it", func(t *testing.T) {
		b := newBench(t, 0)
		s := session(1, 2, 5, 100<<16, 1, 1, 2)
		b.Receive(b.now, nodeID(3), &syncwire.Message{Kind: syncwire.KindHint, Rec: record(s)})
		if m := b.sends(); len(m) != 1 || m[0].To != 3 || m[0].Msg.Kind != syncwire.KindQuery {
			t.Errorf("sent %v", m)
		}
	})
}

func TestRefutation(t *testing.T) {
	for _, c := range []struct {
		name         string
		mine, theirs uint32 // idle times
		seen, want   bool
	}{
		{"of a flow whose packets pass here", 100, 60_000, true, true},
		{"not by who knows no more than the owner", 60_000, 60_000, true, false},
		{"not by what the way of the message explains", 59_500, 60_000, true, false},
		{"not by who saw no packet", 100, 60_000, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, s, h := foreign(t, 0)
			s.Idle, s.Seq[0].Seen = c.mine, c.seen
			if err := b.store.Update(h, &s); err != nil {
				t.Fatal(err)
			}
			age := s
			age.Idle, age.Flags, age.Ver = c.theirs, flow.SoftTomb, s.Ver+1
			b.hear(2, syncwire.KindAge, age)
			x := b.held(s)
			if got := x.Flags&flow.Tomb == 0 && x.Owner == nodeID(1) && x.Term == 4; got != c.want {
				t.Errorf("refuted: %v, %+v", got, x)
			}
			if e := b.events(syncer.ActRefuted, syncer.ActAged); (e[0] == 1) != c.want || e[0]+e[1] != 1 {
				t.Errorf("refuted and aged %v", e)
			}
			m := b.sends()
			if told := len(m) == 1 && m[0].To == syncer.AllNodes && m[0].Msg.Kind == syncwire.KindSession && m[0].Msg.Rec.Term == 4; told != c.want {
				t.Errorf("told %+v", m)
			}
			b.sumsHold(t)
		})
	}
	t.Run("beats the term of the AGE and takes up what that knows", func(t *testing.T) {
		b, s, h := foreign(t, 0)
		s.Seq[1].Seen = true
		if err := b.store.Update(h, &s); err != nil {
			t.Fatal(err)
		}
		age := s
		age.Idle, age.Flags, age.Term, age.Ver = 60_000, flow.SoftTomb|flow.ReplyOnly, 9, 3
		age.Bits |= flow.FinIn
		b.hear(3, syncwire.KindAge, age)
		x := b.held(s)
		if x.Term != 10 || x.Ver != 2 || x.Flags != flow.ReplyOnly || x.Bits != s.Bits|flow.FinIn || x.State != flow.TCPCloseWait {
			t.Errorf("holds %+v", x)
		}
		b.sumsHold(t)
	})
	t.Run("not of a session that is aged here too", func(t *testing.T) {
		b, s, h := foreign(t, flow.SoftTomb)
		s.Seq[0].Seen = true
		if err := b.store.Update(h, &s); err != nil {
			t.Fatal(err)
		}
		b.Recount()
		age := s
		age.Idle, age.Ver = 60_000, s.Ver+1
		b.hear(2, syncwire.KindAge, age)
		if x := b.held(s); x.Flags&flow.SoftTomb == 0 || x.Owner != nodeID(2) || x.Ver != age.Ver {
			t.Errorf("holds %+v", x)
		}
	})
}

func TestSyn(t *testing.T) {
	const last = 5_000 // sequence number after what was last seen
	for _, c := range []struct {
		name  string
		state flow.State
		flags flow.Flags
		owner uint32
		isn   uint32
		up    bool
		want  syncer.SynVerdict
	}{
		{"on an established session is a new birth in place", flow.TCPEstablished, 0, 1, 9_000, true, syncer.SynReborn},
		{"beyond the last number of a closing session is a new session", flow.TCPFinWait, 0, 1, 9_000, true, syncer.SynNew},
		{"not beyond the last number of a closing session is a new birth in place", flow.TCPTimeWait, 0, 1, 100, true, syncer.SynReborn},
		{"on an aged session is a new session", flow.TCPEstablished, flow.SoftTomb, 1, 9_000, true, syncer.SynNew},
		{"repeated is served", flow.TCPSynSent, flow.Embryonic, 1, last - 1, true, syncer.SynServe},
		{"with another number on an embryonic session is a new birth", flow.TCPSynSent, flow.Embryonic, 1, 9_000, true, syncer.SynReborn},
		{"on a session whose server is down goes to that", flow.TCPEstablished, 0, 1, 9_000, false, syncer.SynServe},
		{"on an embryonic session whose server is down is a new session", flow.TCPSynSent, flow.Embryonic, 1, 9_000, false, syncer.SynNew},
		{"on a replica that no digest confirmed is a new session", flow.TCPEstablished, 0, 2, 9_000, true, syncer.SynNew},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, 0)
			s := session(1, 2, 5, 100<<16, c.owner, 3, 4)
			s.State, s.Flags = c.state, c.flags
			s.Seq[flow.In] = flow.SeqHint{Next: last}
			h, err := b.store.Insert(&s)
			if err != nil {
				t.Fatal(err)
			}
			b.Recount()
			if got := b.Syn(b.now, h, c.isn, c.up); got != c.want {
				t.Fatalf("verdict %d, want %d", got, c.want)
			}
			x := b.held(s)
			if born := x.Birth > s.Birth && x.Term == 1 && x.Owner == nodeID(1) && x.Bits == flow.SynIn; born != (c.want == syncer.SynReborn) {
				t.Errorf("%+v", x)
			}
			if c.state == flow.TCPEstablished && c.want == syncer.SynReborn && x.State != flow.TCPEstablished {
				t.Error("a blind SYN made an established session embryonic")
			}
			b.sumsHold(t)
		})
	}
	t.Run("where no number was seen, begins anew in a closing session and is served in an embryonic one", func(t *testing.T) {
		for flags, want := range map[flow.Flags]syncer.SynVerdict{0: syncer.SynNew, flow.Embryonic: syncer.SynServe} {
			b := newBench(t, 0)
			s := session(1, 2, 5, 100<<16, 1, 3, 4)
			s.State, s.Flags = flow.TCPCloseWait, flags
			if got := b.Syn(b.now, b.put(s), 9_000, true); got != want {
				t.Errorf("flags %x: verdict %d, want %d", flags, got, want)
			}
		}
	})
	t.Run("with the very number that comes next is beyond it", func(t *testing.T) {
		for isn, want := range map[uint32]syncer.SynVerdict{last: syncer.SynNew, last - 1: syncer.SynReborn, last + 1<<31 - 1: syncer.SynNew} {
			for _, st := range []flow.State{flow.TCPFinWait, flow.TCPTimeWait, flow.TCPClose, flow.TCPCloseWait, flow.TCPLastAck} {
				b := newBench(t, 0)
				s := session(1, 2, 5, 100<<16, 1, 3, 4)
				s.State, s.Seq[flow.In].Next = st, last
				if got := b.Syn(b.now, b.put(s), isn, true); got != want {
					t.Errorf("state %d, number %d: verdict %d, want %d", st, isn, got, want)
				}
			}
		}
	})
	t.Run("leaves a new birth that peers hear of if they knew the former", func(t *testing.T) {
		for _, c := range []struct {
			name  string
			state flow.State
			owner uint32
			ver   uint32
			flags flow.Flags
			told  bool
			fresh bool
		}{
			{"an established one", flow.TCPEstablished, 1, 4, flow.Confirmed, true, false},
			{"a closing one, whose handshake is to be told again", flow.TCPTimeWait, 1, 4, 0, true, true},
			{"an embryonic one that nobody knows", flow.TCPSynSent, 1, 1, flow.Embryonic, false, true},
			{"an embryonic one of another's", flow.TCPSynSent, 2, 1, flow.Embryonic, true, true},
		} {
			b := newBench(t, 0)
			s := session(1, 2, 5, 100<<16, c.owner, 3, c.ver)
			s.State, s.Flags, s.Idle = c.state, c.flags, 7_000
			s.Seq[flow.In] = flow.SeqHint{Next: 20_000}
			h := b.put(s)
			b.agree(2)
			if got := b.Syn(b.now, h, 9_000, true); got != syncer.SynReborn {
				t.Fatalf("%s: verdict %d", c.name, got)
			}
			x := b.held(s)
			if x.Birth <= s.Birth || x.Idle != 0 || x.Flags&flow.Confirmed != 0 || x.Seq[flow.In] != (flow.SeqHint{Next: 9_001, Seen: true}) {
				t.Errorf("%s: holds %+v", c.name, x)
			}
			if fresh := x.Flags&flow.Embryonic != 0; fresh != c.fresh || fresh != (x.State == flow.TCPNone) {
				t.Errorf("%s: holds %+v", c.name, x)
			}
			if b.acts(syncer.ActReborn) != 1 {
				t.Errorf("%s: no event", c.name)
			}
			ver := uint32(1)
			if c.told {
				ver = 2
			}
			m := b.sends()
			if c.told != (len(m) == 1 && m[0].To == syncer.AllNodes && flow.Birth(m[0].Msg.Rec.Birth) == x.Birth) || !c.told && len(m) != 0 || x.Ver != ver {
				t.Errorf("%s: version %d, told %+v", c.name, x.Ver, m)
			}
			b.sumsHold(t)
			b.Resend(b.now, nodeID(3), 1, syncer.Ref{Birth: s.Birth, Handle: h})
			if m := b.sends(); len(m) != 1 || flow.Birth(m[0].Msg.Rec.Birth) != x.Birth {
				t.Errorf("%s: of the former life peers are told %+v", c.name, m)
			}
		}
	})
	t.Run("on a replica that a digest confirmed is a new birth in place", func(t *testing.T) {
		b, s, h := foreign(t, 0)
		b.agree(2)
		if got := b.Syn(b.now, h, 9_000, true); got != syncer.SynReborn {
			t.Errorf("verdict %d", got)
		}
		b.now += 50_000
		back := b.held(s)
		back.Owner, back.Term, back.Ver = nodeID(2), 2, 2
		b.hear(2, syncwire.KindSession, back)
		if got := b.Syn(b.now, h, 19_000, true); got != syncer.SynNew {
			t.Errorf("verdict %d after 50 s without a digest", got)
		}
	})
	t.Run("too many are dropped", func(t *testing.T) {
		b := newBench(t, 0)
		s := session(1, 2, 5, 100<<16, 1, 3, 4)
		h, _ := b.store.Insert(&s)
		b.Recount()
		n := 0
		for i := range uint32(2_000) {
			if b.Syn(b.now, h, i*1000, true) == syncer.SynReborn {
				n++
			}
		}
		if n > 1_000 || b.Count[syncer.RebirthLimited] == 0 {
			t.Errorf("%d new births at one moment", n)
		}
	})
}

// agree makes a member's digests equal to this node's, and this node's to the member's.
func (b *bench) agree(id uint32) { b.agreeOn(id, 0, 256) }

// agreeOn does so for some buckets alone.
func (b *bench) agreeOn(id uint32, from, to int) {
	sums, replies := b.Agrees(nodeID(id))
	for i := range sums {
		if n := int(sums[i].Bucket); n >= from && n < to {
			b.Digest(b.now, nodeID(id), &sums[i], true, b.Epoch())
		}
	}
	for i := range replies[from:to] {
		b.DigestReply(b.now, nodeID(id), &replies[from+i])
	}
}
