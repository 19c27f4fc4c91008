package syncer_test

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// superseded puts a session of node 2 into a bench and lets node 3 tell that it is reply-only. Its
// successor is not here.
func superseded(t *testing.T) (*bench, flow.Session, flow.Handle) {
	b, s, h := foreign(t, 0)
	s.Flags = flow.ReplyOnly
	b.hear(3, syncwire.KindSession, s)
	b.Done()
	return b, s, h
}

// servesClient says whether the client's packets find the session.
func (b *bench) servesClient(s flow.Session) bool {
	h, d, ok := b.store.Find(&s.Orig)
	return ok && d == flow.In && b.store.rec[h].Reply == s.Reply
}

func TestReplyOnlyYieldsToItsSuccessorAlone(t *testing.T) {
	t.Run("it serves the client until that comes, and passes on what it is", func(t *testing.T) {
		b, s, h := superseded(t)
		if !b.servesClient(s) || b.held(s).Flags&flow.ReplyOnly == 0 {
			t.Fatalf("serves the client: %v, %+v", b.servesClient(s), b.held(s))
		}
		b.SetView(b.now, view(2, 1, 3))
		b.Packet(b.now, h, in(0)) // takes it over
		if m := b.sends(); len(m) == 0 || flow.Flags(m[len(m)-1].Msg.Rec.Flags)&flow.ReplyOnly == 0 {
			t.Errorf("sent %+v", m)
		}
		later := session(1, 3, 6, 200<<16, 3, 1, 2)
		b.hear(3, syncwire.KindSession, later)
		if b.servesClient(s) || !b.servesClient(later) || b.held(s).Birth == 0 {
			t.Error("its successor did not take the client")
		}
		b.sumsHold(t)
	})
	t.Run("a copy that is new here serves as well", func(t *testing.T) {
		b := newBench(t, 0)
		s := session(1, 2, 5, 100<<16, 2, 3, 4)
		s.Flags = flow.ReplyOnly
		if b.hear(3, syncwire.KindSession, s); !b.servesClient(s) {
			t.Error("doesn't serve the client")
		}
	})
	t.Run("an aged successor takes the client, since it may be revived", func(t *testing.T) {
		b, s, _ := superseded(t)
		later := session(1, 3, 6, 200<<16, 3, 1, 2)
		later.Flags = flow.SoftTomb
		if b.hear(3, syncwire.KindAge, later); b.servesClient(s) || !b.servesClient(later) {
			t.Error("its successor did not take the client")
		}
	})
	t.Run("an earlier life is reply-only beside it", func(t *testing.T) {
		b, s, _ := superseded(t)
		earlier := session(1, 3, 6, 50<<16, 3, 1, 2)
		if b.hear(3, syncwire.KindSession, earlier); b.held(earlier).Flags&flow.ReplyOnly == 0 || !b.servesClient(s) {
			t.Errorf("%+v", b.held(earlier))
		}
	})
	t.Run("of two that are reply-only the later serves, whichever comes first", func(t *testing.T) {
		for _, births := range [][2]flow.Birth{{100 << 16, 150 << 16}, {150 << 16, 100 << 16}} {
			b := newBench(t, 0)
			one, two := session(1, 2, 5, births[0], 2, 1, 2), session(1, 3, 6, births[1], 3, 1, 2)
			one.Flags, two.Flags = flow.ReplyOnly, flow.ReplyOnly
			b.hear(2, syncwire.KindSession, one)
			b.hear(3, syncwire.KindSession, two)
			if b.servesClient(two) != (births[1] > births[0]) || b.servesClient(one) == b.servesClient(two) {
				t.Errorf("births %v: the first serves %v, the second %v", births, b.servesClient(one), b.servesClient(two))
			}
		}
	})
	t.Run("a SYN on it is a new birth, which nothing supersedes", func(t *testing.T) {
		b, s, h := superseded(t)
		b.agree(2)
		if got := b.Syn(b.now, h, 9_000, true); got != syncer.SynReborn {
			t.Fatalf("verdict %d", got)
		}
		if x := b.held(s); x.Flags&flow.ReplyOnly != 0 || x.Birth <= s.Birth || !b.servesClient(s) {
			t.Errorf("%+v", x)
		}
		b.sumsHold(t)
	})
	t.Run("its client's packets ask for the successor, once a second", func(t *testing.T) {
		b, _, h := superseded(t)
		asked := 0
		for ms := int64(0); ms < 3_000; ms += 100 {
			b.Packet(b.now+ms, h, out(0))
			b.Packet(b.now+ms, h, in(0))
			for _, a := range b.sends() {
				if a.Msg.Kind == syncwire.KindQuery {
					asked++
				}
			}
		}
		if asked != 3*2 {
			t.Errorf("%d questions in 3 s to two members, want 6", asked)
		}
	})
	t.Run("when its successor is closed, an answer gives it back to its client", func(t *testing.T) {
		b, s, _ := superseded(t)
		later := session(1, 3, 6, 200<<16, 3, 1, 2)
		b.hear(3, syncwire.KindSession, later)
		later.Ver, later.Flags = 3, flow.HardTomb
		b.hear(3, syncwire.KindClose, later)
		if v := b.Miss(b.now, &s.Orig, s.Bucket); v != syncer.MissWait {
			t.Fatalf("verdict %d", v)
		}
		id := b.sends()
		s.Idle = 1
		b.Receive(b.now, nodeID(2), &syncwire.Message{
			Kind: syncwire.KindAnswer, ID: id[len(id)-1].Msg.ID, Found: true, Rec: record(s),
		})
		if !b.servesClient(s) || b.acts(syncer.ActInstalled) != 1 {
			t.Errorf("serves: %v, woken: %d", b.servesClient(s), b.acts(syncer.ActInstalled))
		}
	})
}
