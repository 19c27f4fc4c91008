package syncer_test

import (
	"maps"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

func (b *bench) no(from uint32, q *syncer.Action) {
	b.Receive(b.now, nodeID(from), &syncwire.Message{Kind: syncwire.KindAnswer, ID: q.Msg.ID, Rec: q.Msg.Rec})
}

// calmView lets every member's digest agree, so that nothing is unsettled.
func (b *bench) calmView() {
	b.agree(2)
	b.agree(3)
}

func TestMiss(t *testing.T) {
	s := session(1, 2, 5, 100<<16, 2, 1, 2)
	t.Run("asks every member once and waits", func(t *testing.T) {
		b := newBench(t, 0)
		for range 5 {
			if got := b.Miss(b.now, &s.Orig, 0x10); got != syncer.MissWait {
				t.Fatalf("verdict %d", got)
			}
		}
		if m := b.sends(); len(m) != 2 || m[0].To != 2 || m[1].To != 3 || m[0].Msg.Kind != syncwire.KindQuery {
			t.Errorf("sent %v", m)
		}
	})
	t.Run("is denied for a second when every member said no", func(t *testing.T) {
		b := newBench(t, 0)
		b.Miss(b.now, &s.Orig, 0x10)
		q := b.sends()
		b.no(2, &q[0])
		if b.acts(syncer.ActMissed) != 0 || b.Miss(b.now, &s.Orig, 0x10) != syncer.MissWait {
			t.Fatal("one no was enough")
		}
		b.no(2, &q[0]) // the same one again
		if b.acts(syncer.ActMissed) != 0 {
			t.Fatal("one member's two were enough")
		}
		b.no(3, &q[1])
		if b.acts(syncer.ActMissed) != 1 || b.Miss(b.now, &s.Orig, 0x10) != syncer.MissDrop {
			t.Fatal("no verdict although both said no")
		}
		b.now += 1_000
		if b.Miss(b.now, &s.Orig, 0x10) != syncer.MissWait {
			t.Error("still denied after a second")
		}
	})
	t.Run("is not remembered when a suspected member was not asked", func(t *testing.T) {
		b := newBench(t, 0)
		b.Suspect(b.now, nodeID(3), true)
		b.Miss(b.now, &s.Orig, 0x10)
		q := b.sends()
		b.no(2, &q[0])
		if len(q) != 1 || b.acts(syncer.ActMissed) != 1 || b.Miss(b.now, &s.Orig, 0x10) != syncer.MissWait {
			t.Error("was remembered")
		}
	})
	t.Run("an install clears what was denied", func(t *testing.T) {
		b := newBench(t, 0)
		b.Miss(b.now, &s.Reply, 0x10)
		q := b.sends()
		b.no(2, &q[0])
		b.no(3, &q[1])
		b.hear(2, syncwire.KindSession, s)
		if b.acts(syncer.ActInstalled) != 1 {
			t.Error("no word of the install")
		}
		if got := b.Miss(b.now, &s.Reply, 0x10); got != syncer.MissWait {
			t.Errorf("verdict %d", got)
		}
	})
	t.Run("with nobody to ask is dropped", func(t *testing.T) {
		b := newBench(t, 0)
		b.SetView(b.now, view(2, 1))
		if got := b.Miss(b.now, &s.Orig, 0x10); got != syncer.MissDrop {
			t.Errorf("verdict %d", got)
		}
	})
	t.Run("too many are dropped", func(t *testing.T) {
		b := newBench(t, 0)
		for i := range 3_000 {
			x := session(i, 2, 5, 0, 0, 0, 0)
			x.Orig.Meta += uint64(i) << 48
			b.Miss(b.now, &x.Orig, 0x10)
		}
		if n := b.Count[syncer.QuerySent]; n > 1_500 || b.Count[syncer.QueryLimited] == 0 {
			t.Errorf("%d queries at one moment", n)
		}
	})
}

func TestUDPMiss(t *testing.T) {
	k, r := session(1, 2, 5, 0, 0, 0, 0).Orig, session(1, 2, 5, 0, 0, 0, 0).Reply
	k.Meta = k.Meta&^0xff00 | flow.ProtoUDP<<8
	r.Meta = r.Meta&^0xff00 | flow.ProtoUDP<<8
	b := newBench(t, 0)
	b.calmView()
	if got := b.Miss(b.now, &k, 0x10); got != syncer.MissSchedule {
		t.Errorf("in quiet times verdict %d, want to schedule", got)
	}
	b.SetView(b.now, view(2, 1, 2, 3))
	if got := b.Miss(b.now, &k, 0x10); got != syncer.MissWait {
		t.Errorf("after a view change verdict %d, want to ask", got)
	}
	q := b.sends()
	b.no(2, &q[0])
	b.no(3, &q[1])
	if got := b.Miss(b.now, &k, 0x10); got != syncer.MissSchedule {
		t.Errorf("after all said no verdict %d, want to schedule", got)
	}
	b.now += 10_000
	b.calmView()
	b.GapOpen(nodeID(3), true)
	if got := b.Miss(b.now, &r, 0x10); got != syncer.MissWait {
		t.Errorf("while datagrams of a member are missing verdict %d, want to ask", got)
	}
	b.GapOpen(nodeID(3), false)
	k.Meta += 1 << 48 // another flow, of which nothing was asked
	if got := b.Miss(b.now, &k, 0x10); got != syncer.MissSchedule {
		t.Errorf("after they came verdict %d, want to schedule", got)
	}
	b.now += 10_000
	b.calmView()
	b.RouteChanged(b.now)
	if got := b.Miss(b.now, &r, 0x10); got != syncer.MissWait {
		t.Errorf("after a route change verdict %d, want to ask", got)
	}
	b.now += 10_000
	b.calmView()
	b.PeerDesync(b.now, nodeID(2))
	if got := b.Miss(b.now, &r, 0x10); got != syncer.MissWait {
		t.Errorf("during a repair verdict %d, want to ask", got)
	}
}

func TestQuestionsAndAnswersAreLimited(t *testing.T) {
	s := session(1, 2, 5, 100<<16, 2, 1, 2)
	t.Run("a member is answered so many questions a second, another one all the same", func(t *testing.T) {
		b := newBench(t, 0)
		ask := func(from uint32) bool {
			b.Receive(b.now, nodeID(from), &syncwire.Message{Kind: syncwire.KindQuery, ID: 9, Rec: syncwire.Record{Orig: syncwire.Key(s.Orig), Bucket: 0x10}})
			return len(b.sends()) == 1
		}
		n := 0
		for range 100_000 {
			if ask(2) {
				n++
			}
		}
		if n != 10_000 || b.Count[syncer.AnswerLimited] != 90_000 {
			t.Errorf("%d answers in one burst, %d counted as limited", n, b.Count[syncer.AnswerLimited])
		}
		if !ask(3) {
			t.Error("the other member pays for it")
		}
		if b.now += 1; !ask(2) {
			t.Error("not answered a millisecond later")
		}
	})
	t.Run("a HINT for what is not here asks by a bucket of its own", func(t *testing.T) {
		b := newBench(t, 0)
		n := 0
		for range 5_000 {
			b.Receive(b.now, nodeID(2), &syncwire.Message{Kind: syncwire.KindHint, Rec: record(s)})
			n += len(b.sends())
		}
		if n != 500 || b.Count[syncer.QuerySent] != 500 || b.Count[syncer.QueryLimited] != 4_500 {
			t.Errorf("%d questions in one burst, counted %d and %d limited", n, b.Count[syncer.QuerySent], b.Count[syncer.QueryLimited])
		}
		if b.Miss(b.now, &s.Orig, 0x10) != syncer.MissWait {
			t.Error("a packet pays for it")
		}
	})
}

func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		name  string
		flags flow.Flags
		out   bool // asked by the reply tuple
		found bool
	}{
		{"a replica answers", 0, false, true},
		{"by the reply tuple as well", 0, true, true},
		{"an aged session is an answer", flow.SoftTomb, false, true},
		{"an embryonic session is an answer", flow.Embryonic, false, true},
		{"a closed session is none", flow.HardTomb, false, false},
		{"a reply-only session is one to its client where nobody superseded it", flow.ReplyOnly, false, true},
		{"a reply-only session is one to its server", flow.ReplyOnly, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, s, _ := foreign(t, c.flags)
			k := s.Orig
			if c.out {
				k = s.Reply
			}
			b.Receive(b.now, nodeID(3), &syncwire.Message{Kind: syncwire.KindQuery, ID: 77, Rec: syncwire.Record{Orig: syncwire.Key(k), Bucket: 0x10}})
			m := b.sends()
			if len(m) != 1 || m[0].To != 3 || m[0].Msg.ID != 77 || m[0].Msg.Kind != syncwire.KindAnswer || m[0].Msg.Found != c.found {
				t.Fatalf("sent %+v", m)
			}
			if !c.found && flow.Key(m[0].Msg.Rec.Orig) != k {
				t.Error("the key as asked did not come back")
			}
		})
	}
}

// A datagram waits for no answer of a node that joins, which holds nothing that others lack, nor of one that hears nothing.
func TestADatagramAsksWhoMayKnowMore(t *testing.T) {
	for name, c := range map[string]struct {
		change func(m *syncer.Member)
		tcp    int // questions to the fourth node about a TCP segment
	}{
		"joining":  {func(m *syncer.Member) { m.Admitted = false }, 0},
		"degraded": {func(m *syncer.Member) { m.Degraded = true }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 0)
			v := view(2, 1, 2, 3, 4)
			c.change(&v.Members[3])
			b.SetView(b.now, v) // so misses ask, for a while
			udp := session(9, 2, 5, 0, 0, 0, 0).Orig
			udp.Meta = udp.Meta&^0xff00 | flow.ProtoUDP<<8
			b.sends()
			if got := b.Miss(b.now, &udp, 5); got != syncer.MissWait {
				t.Fatalf("verdict %d", got)
			}
			if n := b.asks(); n[2] != 1 || n[3] != 1 || n[4] != 0 {
				t.Errorf("asked of a datagram: %v", n)
			}
			tcp := session(8, 2, 5, 0, 0, 0, 0).Orig
			b.Miss(b.now, &tcp, 5)
			if n := b.asks(); n[2] != 1 || n[3] != 1 || n[4] != c.tcp {
				t.Errorf("asked of a segment: %v", n)
			}
		})
	}
}

// asks counts the questions since the last call, by whom they are for.
func (b *bench) asks() map[uint32]int {
	n := map[uint32]int{}
	for _, a := range b.sends() {
		if a.Msg.Kind == syncwire.KindQuery {
			n[a.To]++
		}
	}
	return n
}

// A datagram with a question or an answer may be lost, so whoever has not answered is asked again, as long as packets wait.
func TestAQuestionIsAskedAgainOfWhoHasNotAnswered(t *testing.T) {
	s := session(1, 2, 5, 100<<16, 2, 1, 2)
	udp := s
	udp.Orig.Meta = udp.Orig.Meta&^0xff00 | flow.ProtoUDP<<8
	for _, c := range []struct {
		name   string
		key    flow.Key
		before func(b *bench, q []syncer.Action)
		want   map[uint32]int // in the second after the first question
	}{
		{"nobody answers, while a TCP packet waits", s.Orig, nil, map[uint32]int{2: 2, 3: 2}},
		{"nobody answers, while a datagram waits", udp.Orig, nil, map[uint32]int{2: 14, 3: 14}},
		{"one said no", s.Orig, func(b *bench, q []syncer.Action) { b.no(2, &q[0]) }, map[uint32]int{3: 2}},
		{"all said no", s.Orig, func(b *bench, q []syncer.Action) { b.no(2, &q[0]); b.no(3, &q[1]) }, map[uint32]int{}},
		{"one has it", s.Orig, func(b *bench, q []syncer.Action) {
			b.Receive(b.now, nodeID(2), &syncwire.Message{Kind: syncwire.KindAnswer, ID: q[0].Msg.ID, Found: true, Rec: record(s)})
		}, map[uint32]int{}},
		{"it comes by itself", s.Orig, func(b *bench, _ []syncer.Action) { b.hear(2, syncwire.KindSession, s) }, map[uint32]int{}},
		{"no to another question", s.Orig, func(b *bench, q []syncer.Action) { q[0].Msg.ID += 2; b.no(2, &q[0]) }, map[uint32]int{2: 2, 3: 2}},
		{"no about another tuple", s.Orig, func(b *bench, q []syncer.Action) {
			q[0].Msg.Rec.Orig = syncwire.Key(s.Reply)
			b.no(2, &q[0])
		}, map[uint32]int{2: 2, 3: 2}},
		{"the view changed", s.Orig, func(b *bench, _ []syncer.Action) { b.SetView(b.now, view(2, 1, 2, 3)) }, map[uint32]int{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, 0)
			b.RouteChanged(b.now) // so that a datagram asks as well
			if got := b.Miss(b.now, &c.key, 0x10); got != syncer.MissWait {
				t.Fatalf("verdict %d", got)
			}
			q := b.sends()
			if len(q) != 2 || q[0].Seq >= q[1].Seq || q[0].Msg.ID == 0 || q[0].Msg.ID != q[1].Msg.ID {
				t.Fatalf("asked %+v", q)
			}
			if c.before != nil {
				c.before(b, q)
				b.Done()
			}
			got := map[uint32]int{}
			for range 1_000 {
				b.now++
				b.Tick(b.now, 0)
				for to, n := range b.asks() {
					got[to] += n
				}
			}
			if !maps.Equal(got, c.want) {
				t.Errorf("asked again %v, want %v", got, c.want)
			}
		})
	}
}

func TestAPacketWaitsForAnAnswerSoLongAndNoLonger(t *testing.T) {
	s := session(1, 2, 5, 100<<16, 2, 1, 2)
	udp := s.Orig
	udp.Meta = udp.Meta&^0xff00 | flow.ProtoUDP<<8
	for k, wait := range map[flow.Key]int64{s.Orig: 20, udp: 100} {
		b := newBench(t, 0)
		b.RouteChanged(b.now)
		b.Miss(b.now, &k, 0x10)
		b.Done()
		if b.Miss(b.now+wait-1, &k, 0x10); len(b.asks()) != 0 {
			t.Errorf("asked anew before %d ms", wait)
		}
		if b.Miss(b.now+wait, &k, 0x10); len(b.asks()) != 2 {
			t.Errorf("not asked anew after %d ms", wait)
		}
	}
}

// Whoever waits is woken once, by either tuple, and by nothing that can't translate.
func TestWhatWakesWaitingPackets(t *testing.T) {
	s := session(1, 2, 5, 100<<16, 2, 1, 2)
	for _, c := range []struct {
		name  string
		key   flow.Key
		flags flow.Flags
		want  int
	}{
		{"a session that its original tuple found", s.Orig, 0, 1},
		{"a session that its reply tuple found", s.Reply, 0, 1},
		{"an aged one", s.Orig, flow.SoftTomb, 1},
		{"not a closed one", s.Orig, flow.HardTomb, 0},
		{"not another one", session(2, 2, 6, 0, 0, 0, 0).Orig, 0, 0},
	} {
		for ms, late := range map[int64]bool{10: false, 2_000: true} {
			b := newBench(t, 0)
			b.Miss(b.now, &c.key, 0x10)
			b.now += ms
			x := s
			x.Flags = c.flags
			b.hear(2, syncwire.KindSession, x)
			want := c.want
			if late {
				want = 0
			}
			if got := b.acts(syncer.ActInstalled); got != want {
				t.Errorf("%s, after %d ms: woken %d times, want %d", c.name, ms, got, want)
			}
			x.Ver++
			if b.hear(3, syncwire.KindSession, x); b.acts(syncer.ActInstalled) > 1 {
				t.Errorf("%s: woken twice", c.name)
			}
		}
	}
}

// The word that nobody has it names the tuple, and a question that not all were asked is over with the last answer.
func TestTheWordThatNobodyHasIt(t *testing.T) {
	s := session(1, 2, 5, 100<<16, 2, 1, 2)
	for _, suspect := range []bool{false, true} {
		b := newBench(t, 0)
		b.Suspect(b.now, nodeID(3), suspect)
		b.Miss(b.now, &s.Orig, 0x10)
		q := b.sends()
		for i := range q {
			b.no(q[i].To, &q[i])
			b.no(q[i].To, &q[i])
		}
		n := 0
		for _, a := range b.Actions() {
			if a.Kind == syncer.ActMissed {
				n++
				if flow.Key(a.Msg.Rec.Orig) != s.Orig || a.Msg.Rec.Bucket != 0x10 {
					t.Errorf("suspected %v: the word is about %+v", suspect, a.Msg.Rec)
				}
			}
		}
		if n != 1 {
			t.Errorf("suspected %v: %d words", suspect, n)
		}
		b.Done()
		if b.Miss(b.now, &s.Orig, 0x10); (len(b.asks()) == 0) == suspect {
			t.Errorf("suspected %v: asked anew: %v", suspect, suspect)
		}
	}
}

func TestADatagramAsksFirstWhileWhatIsMissingMayComeYet(t *testing.T) {
	k := session(1, 2, 5, 0, 0, 0, 0).Orig
	k.Meta = k.Meta&^0xff00 | flow.ProtoUDP<<8
	quiet := func(b *bench) { b.now += 20_000; b.Tick(b.now, 1000); b.calmView(); b.Done() }
	for _, c := range []struct {
		name string
		do   func(b *bench)
		want syncer.MissVerdict
	}{
		{"nothing is going on", quiet, syncer.MissSchedule},
		{"a bulk is sent", func(b *bench) { quiet(b); b.StartBulk(b.now, nodeID(2)) }, syncer.MissWait},
		{"a bulk was sent, and digests agree", func(b *bench) {
			b.StartBulk(b.now, nodeID(2))
			quiet(b)
		}, syncer.MissSchedule},
		{"a member is joining, and what it has is not known", func(b *bench) {
			v := view(2, 1, 2, 3, 4)
			v.Members[3].Admitted = false
			b.SetView(b.now, v)
			quiet(b)
		}, syncer.MissSchedule},
		{"of a degraded member something is missing", func(b *bench) {
			v := view(2, 1, 2, 3)
			v.Members[2].Degraded = true
			b.SetView(b.now, v)
			quiet(b)
			b.GapOpen(nodeID(3), true)
		}, syncer.MissSchedule},
		{"of a member something is missing", func(b *bench) { quiet(b); b.GapOpen(nodeID(3), true) }, syncer.MissWait},
		{"a member is leaving", func(b *bench) {
			v := view(2, 1, 2, 3)
			v.Members[2].Admitted, v.Members[2].Draining = false, true
			b.SetView(b.now, v)
			quiet(b)
		}, syncer.MissSchedule},
		{"ten seconds after a change of routes but a millisecond", func(b *bench) { quiet(b); b.RouteChanged(b.now); b.now += 9_999 }, syncer.MissWait},
		{"ten seconds after a change of routes", func(b *bench) { quiet(b); b.RouteChanged(b.now); b.now += 10_000 }, syncer.MissSchedule},
		{"a member came back as another life", func(b *bench) { quiet(b); b.Fenced(b.now, flow.Node{ID: 3, Inc: 11}) }, syncer.MissWait},
		{"a member is heard again", func(b *bench) {
			quiet(b)
			b.Suspect(b.now, nodeID(3), true)
			b.calmView()
			b.Suspect(b.now, nodeID(3), false)
		}, syncer.MissWait},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, 0)
			c.do(b)
			if got := b.Miss(b.now, &k, 0x10); got != c.want {
				t.Errorf("verdict %d, want %d", got, c.want)
			}
		})
	}
}
