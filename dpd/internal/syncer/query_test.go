package syncer_test

import (
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
	t.Run("a HINT for what is not here asks no more than packets may", func(t *testing.T) {
		b := newBench(t, 0)
		n := 0
		for range 5_000 {
			b.Receive(b.now, nodeID(2), &syncwire.Message{Kind: syncwire.KindHint, Rec: record(s)})
			n += len(b.sends())
		}
		if n != 1_000 || b.Count[syncer.QuerySent] != 1_000 || b.Count[syncer.QueryLimited] != 4_000 {
			t.Errorf("%d questions in one burst, counted %d and %d limited", n, b.Count[syncer.QuerySent], b.Count[syncer.QueryLimited])
		}
		if b.Miss(b.now, &s.Orig, 0x10) != syncer.MissDrop {
			t.Error("the bucket is another one")
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
		{"a reply-only session is none to its client", flow.ReplyOnly, false, false},
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

// A node that joins and never gets ready must not make every datagram wait for ever.
func TestAJoinerMakesDatagramsWaitForAMinuteAtMost(t *testing.T) {
	v := view(2, 1, 2, 3, 4)
	v.Members[3].Admitted = false
	for ms, want := range map[int64]syncer.MissVerdict{30_000: syncer.MissWait, 61_000: syncer.MissSchedule} {
		b := newBench(t, 0)
		b.SetView(b.now, v)
		for end := b.now + ms; b.now < end; {
			b.now += 250
			b.Tick(b.now, 100)
			b.Done()
		}
		b.calmView()
		b.agree(4)
		k := session(9, 2, 5, 0, 0, 0, 0).Orig
		k.Meta = k.Meta&^0xff00 | flow.ProtoUDP<<8
		if got := b.Miss(b.now, &k, 5); got != want {
			t.Errorf("after %d ms: %v, want %v", ms, got, want)
		}
	}
}
