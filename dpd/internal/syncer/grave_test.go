package syncer_test

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// bury ends an own session, has everyone confirm it, and waits until it was collected.
func (b *bench) bury(t *testing.T, s flow.Session, age bool) flow.Handle {
	t.Helper()
	h := b.handle(s)
	if age {
		b.Expired(b.now, h)
	} else {
		b.Delete(b.now, h)
	}
	seq := b.sends()[0].Seq
	b.Confirmed(nodeID(2), seq)
	b.Confirmed(nodeID(3), seq)
	if b.after(11_000, s) {
		t.Fatal("not collected")
	}
	return h
}

func TestWhatWasLostIsSentAgainAsItIsNowOrAsItEnded(t *testing.T) {
	s := session(1, 2, 5, 100<<16, 1, 1, 2)
	later := session(2, 2, 5, 200<<16, 3, 1, 2) // another client on the same port
	for name, c := range map[string]struct {
		since func(t *testing.T, b *bench, h flow.Handle)
		kind  syncwire.Kind // 0: nothing is sent
		birth flow.Birth
		term  uint32
	}{
		"nothing happened":          {func(*testing.T, *bench, flow.Handle) {}, syncwire.KindSession, s.Birth, 1},
		"it was closed":             {func(_ *testing.T, b *bench, h flow.Handle) { b.Delete(b.now, h) }, syncwire.KindClose, s.Birth, 1},
		"it was closed and is gone": {func(t *testing.T, b *bench, _ flow.Handle) { b.bury(t, s, false) }, syncwire.KindClose, s.Birth, 1},
		"it was aged and is gone":   {func(t *testing.T, b *bench, _ flow.Handle) { b.bury(t, s, true) }, syncwire.KindAge, s.Birth, 1},
		"it was aged, is gone, and lives again elsewhere": {func(t *testing.T, b *bench, _ flow.Handle) {
			b.bury(t, s, true)
			x := s
			x.Owner, x.Term = nodeID(3), 2
			b.hear(3, syncwire.KindSession, x)
		}, syncwire.KindSession, s.Birth, 2},
		"it is gone, and another session lies where it lay": {func(t *testing.T, b *bench, h flow.Handle) {
			b.bury(t, s, false)
			b.store.last = h - 1
			b.hear(3, syncwire.KindSession, session(7, 3, 9, 300<<16, 3, 1, 2))
		}, syncwire.KindClose, s.Birth, 1},
		"a later life has its port": {func(_ *testing.T, b *bench, _ flow.Handle) { b.hear(3, syncwire.KindSession, later) }, syncwire.KindSession, later.Birth, 1},
		"a later life had its port, and is gone too": {func(_ *testing.T, b *bench, _ flow.Handle) {
			b.hear(3, syncwire.KindSession, later)
			b.store.Remove(b.handle(later))
			b.Recount()
		}, syncwire.KindClose, s.Birth, 1},
		"a SYN began it anew in its place": {func(_ *testing.T, b *bench, h flow.Handle) { b.Syn(b.now, h, 9, true) }, syncwire.KindSession, 0, 1},
		"it is gone and nobody remembers it": {func(_ *testing.T, b *bench, h flow.Handle) {
			b.store.Remove(h)
			b.Recount()
		}, 0, 0, 0},
		"nobody remembers it, and another session lies where it lay": {func(_ *testing.T, b *bench, h flow.Handle) {
			b.store.Remove(h)
			b.Recount()
			b.store.last = h - 1
			b.hear(3, syncwire.KindSession, session(7, 3, 9, 300<<16, 3, 1, 2))
		}, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 0)
			h, err := b.store.Insert(&s)
			if err != nil {
				t.Fatal(err)
			}
			b.Recount()
			c.since(t, b, h)
			b.calmView()
			b.Done()
			b.Resend(b.now, nodeID(3), 1, syncer.Ref{Birth: s.Birth, Handle: h})
			m := b.sends()
			if c.kind == 0 {
				if len(m) != 0 || !b.Repairing(nodeID(3)) || b.Count[syncer.ResendGone] != 1 {
					t.Errorf("sent %v, repairing %v", m, b.Repairing(nodeID(3)))
				}
				return
			}
			if len(m) != 1 || m[0].To != 3 || m[0].Msg.Kind != c.kind || m[0].Msg.Rec.Term != c.term {
				t.Fatalf("sent %+v", m)
			}
			if got := flow.Birth(m[0].Msg.Rec.Birth); c.birth != 0 && got != c.birth || got < s.Birth {
				t.Errorf("of birth %d, want %d", got, c.birth)
			}
			if b.Repairing(nodeID(3)) {
				t.Error("a repair began although it was told")
			}
			// Lost again, it is told again.
			b.Resend(b.now, nodeID(3), m[0].Seq, m[0].Ref)
			if again := b.sends(); len(again) != 1 || again[0].Msg.Kind != c.kind || again[0].Msg.Rec.Birth != m[0].Msg.Rec.Birth {
				t.Errorf("the second time %+v", again)
			}
			b.sumsHold(t)
		})
	}
}

// A copy that only this node gives up is no end of the session: its owner goes on.
func TestACopyThatIsForgottenIsNotToldAsEnded(t *testing.T) {
	b := newBench(t, 0)
	s := session(1, 2, 5, 100<<16, 2, 1, 1)
	s.Flags = flow.Embryonic
	h, err := b.store.Insert(&s)
	if err != nil {
		t.Fatal(err)
	}
	b.Recount()
	if b.Expired(b.now, h); b.held(s).Birth != 0 {
		t.Fatal("not forgotten")
	}
	b.Resend(b.now, nodeID(3), 1, syncer.Ref{Birth: s.Birth, Handle: h})
	if m := b.sends(); len(m) != 0 {
		t.Errorf("sent %+v", m)
	}
}

// Several nodes make sessions in one millisecond, of one birth therefore, and they end together.
func TestEndsOfOneBirthDoNotPushEachOtherOut(t *testing.T) {
	b := newBench(t, 0)
	var refs []syncer.Ref
	for i := range 8 {
		s := session(i, 2, uint16(20+i), 100<<16, 1, 1, 2)
		h, err := b.store.Insert(&s)
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, syncer.Ref{Birth: s.Birth, Handle: h})
	}
	b.Recount()
	for _, r := range refs {
		b.Delete(b.now, r.Handle)
	}
	b.Done()
	for i, r := range refs {
		b.Resend(b.now, nodeID(3), uint64(i+1), r)
	}
	if m := b.sends(); len(m) != len(refs) || m[0].Msg.Kind != syncwire.KindClose {
		t.Errorf("of %d that ended %d were told again", len(refs), len(m))
	}
}
