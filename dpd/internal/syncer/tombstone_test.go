package syncer_test

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// closed makes a session of a block, owned here, and closes it. seq is the number of the CLOSE.
func closed(t *testing.T, block byte) (b *bench, s flow.Session, seq uint64) {
	return ends(t, block, false)
}

// ends makes a session of a block, owned here, and closes or ages it. seq is the number of the message.
func ends(t *testing.T, block byte, age bool) (b *bench, s flow.Session, seq uint64) {
	b = newBench(t, 0)
	s = session(1, block, 5, 100<<16, 1, 1, 2)
	h, err := b.store.Insert(&s)
	if err != nil {
		t.Fatal(err)
	}
	b.Recount()
	kind := syncwire.KindClose
	if age {
		kind = syncwire.KindAge
		b.Expired(b.now, h)
	} else {
		b.Delete(b.now, h)
	}
	m := b.sends()
	if len(m) != 1 || m[0].Msg.Kind != kind {
		t.Fatalf("sent %v", m)
	}
	return b, s, m[0].Seq
}

// after lets time pass, a quarter of a second at a time, and says whether the tombstone is still there: an aged session in its
// record, a closed one in the ended cache.
func (b *bench) after(ms int64, s flow.Session) bool {
	for end := b.now + ms; b.now < end; {
		b.now += 250
		b.Tick(b.now, 100)
		b.Done()
	}
	return b.held(s).Birth != 0 || b.HasEnded(s)
}

func TestTombstonesAreCollected(t *testing.T) {
	t.Run("after 10 s when every member has it", func(t *testing.T) {
		b, s, seq := closed(t, 2)
		b.Confirmed(nodeID(2), seq)
		b.Confirmed(nodeID(3), seq)
		if !b.after(9_500, s) {
			t.Fatal("too early")
		}
		if b.after(1_000, s) {
			t.Fatal("not collected")
		}
	})
	t.Run("not while one member is not known to have it, but for 120 s at the most", func(t *testing.T) {
		b, s, seq := closed(t, 2)
		b.Confirmed(nodeID(2), seq)
		b.Confirmed(nodeID(3), seq-1)
		if !b.after(119_000, s) {
			t.Error("collected")
		}
		if b.after(2_000, s) || b.Count[syncer.EndedUnconfirmed] != 1 {
			t.Error("not collected, or not counted")
		}
	})
	t.Run("when aged, neither, and its holder waits as long for the others once more", func(t *testing.T) {
		b, s, seq := ends(t, 1, true)
		b.Confirmed(nodeID(2), seq)
		b.Confirmed(nodeID(3), seq-1)
		if !b.after(239_000, s) {
			t.Error("collected")
		}
		if b.after(2_000, s) || b.Count[syncer.EndedUnconfirmed] != 2 || len(b.ports.freed) != 1 {
			t.Error("not collected, or not counted")
		}
	})
	t.Run("not when the message was lost and its repetition is not confirmed", func(t *testing.T) {
		b, s, seq := closed(t, 2)
		b.Resend(b.now, nodeID(3), seq, syncer.Ref{Birth: s.Birth, Handle: 1})
		again := b.sends()
		b.Confirmed(nodeID(2), seq)
		b.Confirmed(nodeID(3), seq)
		if !b.after(30_000, s) {
			t.Fatal("collected")
		}
		b.Confirmed(nodeID(3), again[0].Seq)
		if b.after(1_000, s) {
			t.Fatal("not collected")
		}
	})
	t.Run("after 60 s when every member's digest was equal since", func(t *testing.T) {
		b, s, _ := closed(t, 2)
		b.after(30_000, s)
		b.calmView()
		if !b.after(29_000, s) {
			t.Fatal("too early")
		}
		if b.after(2_000, s) {
			t.Fatal("not collected")
		}
	})
	t.Run("not by a digest from the time when old datagrams were still believed", func(t *testing.T) {
		b, s, _ := closed(t, 2)
		b.after(4_000, s)
		b.calmView()
		if !b.after(115_000, s) {
			t.Error("collected")
		}
	})
	t.Run("not by confirmation from before a loss that nobody repaired", func(t *testing.T) {
		b, s, seq := closed(t, 2)
		b.PeerDesync(b.now, nodeID(3))
		b.Confirmed(nodeID(2), seq)
		b.Confirmed(nodeID(3), seq)
		if !b.after(59_000, s) {
			t.Error("collected")
		}
	})
	t.Run("without the word of a node that joins; aged ones wait for it for 60 s", func(t *testing.T) {
		for _, age := range []bool{false, true} {
			b, s, seq := ends(t, 2, age)
			v := view(2, 1, 2, 3, 4)
			v.Members[3].Admitted = false
			b.SetView(b.now, v)
			b.Confirmed(nodeID(2), seq)
			b.Confirmed(nodeID(3), seq)
			b.after(11_000, s)
			if _, aged := b.Tombs(); aged != b2i(age) {
				t.Errorf("aged %v: %d wait", age, aged)
			}
			if closed, _ := b.Tombs(); closed != 0 {
				t.Error("a closed session waits for who joins")
			}
			if b.after(50_000, s); age && b.held(s).Birth != 0 {
				t.Error("still there after 61 s")
			}
		}
	})
	t.Run("and what was closed is remembered for a node that joins until it is admitted and has all", func(t *testing.T) {
		b, s, seq := closed(t, 2)
		v := view(2, 1, 2, 3, 4)
		v.Members[3].Admitted = false
		b.SetView(b.now, v)
		b.Confirmed(nodeID(2), seq)
		b.Confirmed(nodeID(3), seq)
		b.calmView()
		if !b.after(60_000, s) {
			t.Fatal("forgotten")
		}
		b.SetView(b.now, view(3, 1, 2, 3, 4))
		b.agree(4)
		if b.after(1_000, s) {
			t.Error("still there although all members have it")
		}
	})
	t.Run("without the word of a degraded member when closed, not when aged", func(t *testing.T) {
		for _, age := range []bool{false, true} {
			b := newDegradedBench(t)
			s := session(1, 2, 5, 100<<16, 1, 1, 2)
			h, _ := b.store.Insert(&s)
			b.Recount()
			if age {
				b.Expired(b.now, h)
			} else {
				b.Delete(b.now, h)
			}
			b.Confirmed(nodeID(2), b.sends()[0].Seq)
			b.after(15_000, s)
			if closed, aged := b.Tombs(); closed != 0 || aged != b2i(age) {
				t.Errorf("aged %v: %d closed and %d aged wait", age, closed, aged)
			}
		}
	})
	t.Run("of what a degraded member closed, whose word may never come; it is remembered for who asks", func(t *testing.T) {
		b := newDegradedBench(t)
		s := session(1, 2, 5, 100<<16, 3, 1, 2)
		s.Flags = flow.HardTomb
		b.hear(3, syncwire.KindClose, s)
		if closed, _ := b.Tombs(); closed != 1 {
			t.Fatalf("%d wait", closed)
		}
		b.after(12_000, s)
		if closed, _ := b.Tombs(); closed != 0 || !b.HasEnded(s) {
			t.Errorf("%d wait, known %v", closed, b.HasEnded(s))
		}
	})
	t.Run("of what was closed at once with its port", func(t *testing.T) {
		b, s, seq := closed(t, 1)
		b.Confirmed(nodeID(2), seq)
		b.Confirmed(nodeID(3), seq)
		if !b.after(9_500, s) || len(b.ports.freed) != 0 {
			t.Fatal("too early")
		}
		if b.after(1_000, s) || len(b.ports.freed) != 1 || b.ports.freed[0] != s.Reply {
			t.Error("not collected, or the port is not free")
		}
	})
	t.Run("of what aged by the holder of the block last, and then the port is free", func(t *testing.T) {
		b, s, seq := ends(t, 1, true)
		b.Confirmed(nodeID(2), seq)
		b.Confirmed(nodeID(3), seq)
		if !b.after(100_000, s) || len(b.ports.freed) != 0 {
			t.Fatal("collected while others may still hold it")
		}
		b.Watermarks(nodeID(2), syncer.Words{Floor: b.now})
		if !b.after(1_000, s) {
			t.Fatal("one member's word was enough")
		}
		b.Watermarks(nodeID(3), syncer.Words{Floor: b.now})
		if b.after(1_000, s) || len(b.ports.freed) != 1 {
			t.Error("not collected, or the port is not free")
		}
	})
	t.Run("by a replica when the owner says that all have it", func(t *testing.T) {
		b := newBench(t, 0)
		s := session(1, 2, 5, 100<<16, 2, 1, 2)
		s.Flags = flow.HardTomb
		b.hear(2, syncwire.KindClose, s)
		b.Watermarks(nodeID(2), syncer.Words{Closed: b.now, Aged: b.now + 60_000})
		if !b.after(30_000, s) {
			t.Fatal("collected on a word about earlier ones")
		}
		b.Watermarks(nodeID(2), syncer.Words{Closed: b.now - 29_999})
		if b.after(1_000, s) {
			t.Error("not collected")
		}
	})
	t.Run("not when the session was revived", func(t *testing.T) {
		b, s, h := foreign(t, 0)
		s.Owner = nodeID(1)
		if err := b.store.Update(h, &s); err != nil {
			t.Fatal(err)
		}
		b.Recount()
		b.Expired(b.now, h)
		b.Packet(b.now, h, in(0))
		b.Confirmed(nodeID(2), 1<<40)
		b.Confirmed(nodeID(3), 1<<40)
		if !b.after(30_000, s) || b.held(s).Flags&flow.Tomb != 0 {
			t.Error("collected")
		}
		if closed, aged := b.Tombs(); closed+aged != 0 {
			t.Errorf("%d and %d tombstones are waiting", closed, aged)
		}
	})
}

// A replica goes by the owner's word that every member has what it ended, so that word must wait for a degraded member as the
// owner itself does: not for a CLOSE, but for an AGE.
func TestTheOwnersWordOfItsTombstonesWaitsForADegradedMemberIfTheyAged(t *testing.T) {
	for _, age := range []bool{false, true} {
		owner, replica := newBenchOf(t, 1, 0), newBenchOf(t, 2, 0)
		s := session(1, 3, 5, 100<<16, 1, 1, 2)
		for i, b := range []*bench{owner, replica} {
			v := view(2, 1, 2, 3)
			v.Self, v.Members[2].Degraded = nodeID(uint32(i+1)), true
			b.SetView(b.now, v)
			if _, err := b.store.Insert(&s); err != nil {
				t.Fatal(err)
			}
			b.Recount()
		}
		if h := owner.handle(s); age {
			owner.Expired(owner.now, h)
		} else {
			owner.Delete(owner.now, h)
		}
		m := owner.sends()
		replica.Receive(replica.now, nodeID(1), &m[0].Msg)
		owner.Confirmed(nodeID(2), m[0].Seq) // and node 3 has not said a word
		for range 80 {
			for _, b := range []*bench{owner, replica} {
				b.now += 250
				b.Tick(b.now, 100)
			}
			for _, a := range owner.Actions() {
				if a.Kind == syncer.ActTombs {
					replica.Watermarks(nodeID(1), syncer.Words{Closed: a.ClosedAt, Aged: a.AgedAt, Floor: a.FloorAt})
				}
			}
			owner.Done()
			replica.Done()
		}
		for i, b := range []*bench{owner, replica} {
			if closed, aged := b.Tombs(); closed != 0 || aged != b2i(age) {
				t.Errorf("aged %v: %d closed and %d aged wait on node %d after 20 s", age, closed, aged, i+1)
			}
		}
		if !age {
			continue
		}
		owner.Confirmed(nodeID(3), m[0].Seq)
		if owner.after(1_000, s) {
			t.Error("not collected when the degraded member has it")
		}
	}
}

func TestTheHolderOfABlockWaitsForADegradedMemberToForgetWhatAged(t *testing.T) {
	for _, age := range []bool{false, true} {
		b := newDegradedBench(t)
		s := session(1, 1, 5, 100<<16, 1, 1, 2)
		other := session(2, 1, 6, 101<<16, 1, 1, 2) // closed behind it: must not wait for it
		h, _ := b.store.Insert(&s)
		g, _ := b.store.Insert(&other)
		b.Recount()
		if age {
			b.Expired(b.now, h)
		} else {
			b.Delete(b.now, h)
		}
		b.Delete(b.now, g)
		m := b.sends()
		b.Confirmed(nodeID(2), m[1].Seq)
		b.Confirmed(nodeID(3), m[1].Seq)
		b.after(11_000, s)
		b.Watermarks(nodeID(2), syncer.Words{Floor: b.now})
		b.after(1_000, s)
		if closed, aged := b.Tombs(); closed != 0 || aged != b2i(age) {
			t.Errorf("aged %v: %d closed and %d aged wait", age, closed, aged)
		}
		if len(b.ports.freed) == 0 || !age && len(b.ports.freed) != 2 {
			t.Errorf("aged %v: the closed one waits as well", age)
		}
		b.Watermarks(nodeID(3), syncer.Words{Floor: b.now})
		b.after(1_000, s)
		if _, aged := b.Tombs(); aged != 0 || len(b.ports.freed) != 2 {
			t.Errorf("aged %v: not collected in the end", age)
		}
	}
}

// What several tombstones wait for does not mix: the ones that may go do, in whatever order they may.
func TestSeveralTombstonesOfOneScan(t *testing.T) {
	b := newBench(t, 0)
	var all []flow.Session
	var seqs []uint64
	for i := range 40 {
		s := session(i, 2, uint16(5+i), flow.Birth(100+i)<<16, 1, 1, 2)
		h, err := b.store.Insert(&s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
		b.now += 10
		b.Tick(b.now, 100)
		b.Done()
		b.Delete(b.now, h)
		seqs = append(seqs, b.sends()[0].Seq)
	}
	b.Confirmed(nodeID(2), seqs[39])
	b.Confirmed(nodeID(3), seqs[19])
	b.after(11_000, all[0])
	for i, s := range all {
		if got := b.HasEnded(s); got != (i >= 20) {
			t.Errorf("tombstone %d is there: %v", i, got)
		}
	}
	if closed, _ := b.Tombs(); closed != 20 {
		t.Errorf("%d wait, want 20", closed)
	}
}

// newDegradedBench is node 1 of three, of which the third is degraded.
func newDegradedBench(t *testing.T) *bench {
	b := newBench(t, 0)
	v := view(2, 1, 2, 3)
	v.Members[2].Degraded = true
	b.SetView(b.now, v)
	return b
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
