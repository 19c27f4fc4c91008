package membership

import "testing"

// unheard makes nodes report of one peer that its PROBEs confirm nothing.
func (b *bed) unheard(id uint32, v bool, by ...uint32) {
	b.sync()
	for _, j := range by {
		for i := range b.dp[j].Peers {
			if b.dp[j].Peers[i].ID == id {
				b.dp[j].Peers[i].Unheard = v
			}
		}
	}
}

func (b *bed) gone(id uint32) bool { return b.dp[id].gone }

// A member that is heard but hears nothing confirms nothing, so every tombstone of its peers waited for it, and nobody
// found anything wrong with it.
func TestAMemberThatHearsNothingIsDegraded(t *testing.T) {
	for _, c := range []struct {
		name  string
		nodes int
		setup func(*bed) // node 2 is the one in question
		want  Cause
	}{
		{"it hears none of two peers", 3, func(b *bed) { b.suspect(1, 2); b.suspect(3, 2) }, CauseDeaf},
		{"it hears one of two peers", 3, func(b *bed) { b.suspect(1, 2) }, CauseNone},
		{"it hears one of three peers", 4, func(b *bed) { b.suspect(1, 2); b.suspect(3, 2) }, CauseDeaf},
		{"it hears not its only peer", 2, func(b *bed) { b.suspect(1, 2) }, CauseDeaf},
		{"both peers see that nothing reaches it", 3, func(b *bed) { b.unheard(2, true, 1, 3) }, CauseDeaf},
		{"one of two peers sees that", 3, func(b *bed) { b.unheard(2, true, 1) }, CauseNone},
		{"its gRPC is lost, and both peers see it", 3, func(b *bed) {
			b.m.Control(b.now, 2, b.dp[2].Inc, false)
			b.dp[2].gone = true
			b.unheard(2, true, 1, 3)
		}, CauseDeaf},
		{"neither hears it, so what its PROBEs said before counts no more", 3, func(b *bed) {
			b.unheard(2, true, 1, 3)
			b.suspect(2, 1, 3)
		}, CauseSilent},
		{"one hears it no more, so that the other's word alone counts", 3, func(b *bed) {
			b.unheard(2, true, 1, 3)
			b.suspect(2, 1)
		}, CauseNone},
		{"its own detector is late", 3, func(b *bed) {
			b.dp[2].DetectorLate = true
			b.suspect(1, 2)
			b.suspect(3, 2)
		}, CauseNone},
		{"its peers are dead: there is nothing to hear", 3, func(b *bed) {
			b.kill(1)
			b.kill(3)
		}, CauseNone},
		{"a joiner that it has not met is no peer", 2, func(b *bed) {
			j := b.join("lb-j").ID
			b.sync()
			b.suspect(j, 2)
		}, CauseNone},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, 8)
			b.admit(c.nodes)
			c.setup(b)
			b.pass(1_000)
			if got := b.node(2); got.Degraded != CauseNone {
				t.Fatalf("degraded by a moment: %q", got.Degraded)
			}
			b.pass(2_000)
			if got := b.node(2); got.Phase != Admitted || got.Degraded != c.want {
				t.Fatalf("is %s %q, want %q", got.Phase, got.Degraded, c.want)
			}
			for _, x := range b.m.State().Nodes {
				if x.ID != 2 && !b.gone(x.ID) && x.Degraded != CauseNone {
					t.Errorf("node %d is degraded too: %q", x.ID, x.Degraded)
				}
			}
			if s := b.m.State(); c.want != CauseNone && s.MayAllocate(s.Holds(2, b.dp[2].Inc, false)) {
				t.Error("it allocates")
			}
			if c.want != CauseDeaf {
				return
			}
			b.hear(1, 2)
			b.hear(3, 2)
			b.unheard(2, false, b.ids()...)
			b.m.Control(b.now, 2, b.dp[2].Inc, true)
			b.dp[2].gone = false
			b.pass(3_000)
			if got := b.node(2); got.Degraded != CauseNone {
				t.Errorf("does not recover: %q", got.Degraded)
			}
		})
	}
}

// A deaf member hears nobody, and was a witness against everyone.
func TestADeafMemberIsNoWitness(t *testing.T) {
	b := newBed(t, 8)
	b.admit(4)
	for _, id := range []uint32{1, 3, 4} {
		b.suspect(id, 2)
	}
	b.pass(3_000)
	if n := b.node(2); n.Degraded != CauseDeaf {
		t.Fatalf("%+v", n)
	}
	// Node 1 loses its gRPC and the way to node 3: of the two that hear others, one hears it.
	b.m.Control(b.now, 1, b.dp[1].Inc, false)
	b.dp[1].gone = true
	b.suspect(1, 3)
	b.pass(1_000)
	b.want(1, Admitted)
	// It dies in earnest: both say so.
	b.suspect(1, 4)
	b.pass(300)
	b.want(1, Removed)
}

// A dead node that the limit on removals kept in the view was not degraded: the survivors waited for it.
func TestADeadNodeThatTheLimitKeepsIsDegraded(t *testing.T) {
	b := newBed(t, 8)
	b.admit(3)
	b.kill(3)
	b.pass(300)
	b.want(3, Removed)
	b.kill(2)
	b.pass(3_000)
	if n := b.node(2); n.Phase != Admitted || n.Degraded != CauseSilent || b.happened(RemovalHeld, 2) != 1 {
		t.Fatalf("is %s %q", n.Phase, n.Degraded)
	}
	if n := b.node(1); n.Degraded != CauseNone {
		t.Fatalf("the survivor is degraded: %q", n.Degraded)
	}
}

// A clock that is off now and then turned the view each second or two, for ever.
func TestAMemberThatIsIllNowAndThenTurnsTheViewLessAndLess(t *testing.T) {
	b := newBed(t, 8)
	b.admit(3)
	offset := func(ms int64) {
		b.sync()
		for id, p := range b.dp {
			for i := range p.Peers {
				x := &p.Peers[i]
				x.ClockKnown, x.ClockOffset = true, 0
				switch {
				case id == 3:
					x.ClockOffset = -ms
				case x.ID == 3:
					x.ClockOffset = ms
				}
			}
		}
	}
	views := b.stored.View
	for end := b.now + 3_600_000; b.now < end; {
		offset(900)
		b.pass(200)
		offset(0)
		for b.node(3).Degraded != CauseNone {
			b.round()
		}
	}
	if got := b.stored.View - views; got > 60 {
		t.Errorf("%d views in an hour", got)
	}
	b.pass(700_000) // well for long: the next illness is the first one again
	offset(900)
	b.pass(200)
	offset(0)
	b.pass(3_000)
	if got := b.node(3).Degraded; got != CauseNone {
		t.Errorf("is still degraded: %q", got)
	}
}

func TestADataPlaneThatReportsNonsenseAsItsViewLiftsItOnce(t *testing.T) {
	for _, c := range []struct {
		name  string
		ahead func(now uint64) uint64
		lifts uint64
	}{
		{"always one above", func(now uint64) uint64 { return now + 1 }, 1},
		{"the highest number there is", func(uint64) uint64 { return 1<<64 - 1 }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, 8)
			b.admit(2)
			before := b.stored.View
			for range 100 {
				r := b.dp[2].Report
				r.View = c.ahead(b.stored.View)
				b.now += 100
				b.m.Report(b.now, r)
				b.take()
			}
			if got := b.stored.View - before; got > 2*c.lifts {
				t.Fatalf("%d views", got)
			}
		})
	}
	t.Run("at the start of a coordinator", func(t *testing.T) {
		b := newBed(t, 8)
		b.admit(2)
		before := b.stored.View
		b.restart(1<<64 - 1)
		if b.stored.View != before+1 {
			t.Fatalf("view %d after %d", b.stored.View, before)
		}
	})
}
