package membership

import (
	"errors"
	"testing"
)

func TestRemovalNeedsTwoWitnesses(t *testing.T) {
	for _, c := range []struct {
		name  string
		nodes int
		setup func(*bed)
		want  Phase
		deg   Cause
	}{
		{"silence at all and gRPC lost", 3, func(b *bed) { b.kill(3) }, Removed, CauseNone},
		{"gRPC lost, everyone hears it", 3, func(b *bed) {
			b.m.Control(b.now, 3, b.dp[3].Inc, false)
		}, Admitted, CauseNone},
		{"silence at all, gRPC alive", 3, func(b *bed) { b.suspect(3, 1, 2) }, Admitted, CauseSilent},
		{"silence at half of two judges and gRPC lost", 3, func(b *bed) {
			b.m.Control(b.now, 3, b.dp[3].Inc, false)
			b.suspect(3, 1)
		}, Admitted, CauseNone},
		{"silence at two of four judges and gRPC lost", 5, func(b *bed) {
			b.m.Control(b.now, 5, b.dp[5].Inc, false)
			b.suspect(5, 1, 2)
		}, Admitted, CauseNone},
		{"silence at three of four judges and gRPC lost", 5, func(b *bed) {
			b.m.Control(b.now, 5, b.dp[5].Inc, false)
			b.suspect(5, 1, 2, 3)
		}, Removed, CauseNone},
		{"a judge whose own gRPC is lost does not count", 3, func(b *bed) {
			b.m.Control(b.now, 3, b.dp[3].Inc, false)
			b.m.Control(b.now, 2, b.dp[2].Inc, false)
			b.suspect(3, 1)
		}, Removed, CauseNone},
		{"no judge is left", 3, func(b *bed) {
			for id := uint32(1); id <= 3; id++ {
				b.m.Control(b.now, id, b.dp[id].Inc, false)
			}
			b.suspect(3, 1, 2)
		}, Admitted, CauseNone},
		{"late detectors do not judge", 3, func(b *bed) {
			b.dp[1].DetectorLate, b.dp[2].DetectorLate = true, true
			b.kill(3)
		}, Admitted, CauseNone},
		{"two nodes, one left to judge", 2, func(b *bed) { b.kill(2) }, Removed, CauseNone},
		{"one node, nobody to judge", 1, func(b *bed) { b.kill(1) }, Admitted, CauseNone},
		{"two nodes that do not hear each other: the lowest goes on", 2, func(b *bed) {
			b.suspect(2, 1)
			b.suspect(1, 2)
		}, Admitted, CauseSilent},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, 8)
			b.admit(c.nodes)
			c.setup(b)
			for range 20 {
				b.round()
			}
			last := b.node(uint32(c.nodes))
			if last.Phase != c.want || last.Degraded != c.deg {
				t.Fatalf("is %s %q, want %s %q", last.Phase, last.Degraded, c.want, c.deg)
			}
			if first := b.node(1); c.nodes > 1 && (first.Phase != Admitted || first.Degraded != CauseNone) {
				t.Fatalf("node 1 is %s %q", first.Phase, first.Degraded)
			}
		})
	}
}

func TestRemovalIsDecidedByTheReportThatCompletesIt(t *testing.T) {
	b := newBed(t, 4)
	b.admit(3)
	view := b.stored.View
	b.kill(3)
	b.say(1)
	b.want(3, Admitted)
	b.say(2) // no tick, no time
	b.want(3, Removed)
	if b.stored.View <= view {
		t.Fatalf("view stayed %d", b.stored.View)
	}
	n := b.node(3)
	if n.Fenced != n.Inc || n.Cause != CauseDead || !n.ByMachine {
		t.Fatalf("removed node %+v", n)
	}
	if blk := b.block(3); blk.Holder != 3 || blk.Allocatable {
		t.Fatalf("the dead node's block must stay leased to it and closed: %+v", blk)
	}
}

func TestAJudgementOutlivesALateMomentButNotAProbe(t *testing.T) {
	b := newBed(t, 4)
	b.admit(3)
	b.suspect(3, 1, 2)
	b.say(1) // judged in time
	b.dp[1].DetectorLate = true
	b.say(1) // late, still silent
	b.m.Control(b.now, 3, b.dp[3].Inc, false)
	b.hear(3, 1)
	b.say(1) // late, but a probe came: that is proof
	b.say(2)
	b.want(3, Admitted)
	b.suspect(3, 1)
	b.dp[1].DetectorLate = false
	b.say(1)
	b.want(3, Removed)
}

func TestASilenceAboutAFormerLifeDoesNotCount(t *testing.T) {
	b := newBed(t, 8)
	b.admit(3)
	b.suspect(3, 1, 2)
	stale := []Report{b.dp[1].Report, b.dp[2].Report}
	n := b.join("lb-c") // a fast restart
	b.m.Control(b.now, 3, n.Inc, false)
	for _, r := range stale {
		b.m.Report(b.now, r)
		b.take()
	}
	b.want(3, Joining)
}

func TestAtMostAThirdIsRemovedByMachineAlone(t *testing.T) {
	for _, c := range []struct{ nodes, limit int }{{2, 1}, {3, 1}, {5, 1}, {6, 2}, {9, 3}} {
		b := newBed(t, 12)
		b.admit(c.nodes)
		for id := uint32(c.nodes); id > 1; id-- {
			b.kill(id)
			b.round()
		}
		s := b.m.State()
		removed := 0
		for _, n := range s.Nodes {
			if n.Phase == Removed {
				removed++
			}
		}
		if removed != c.limit {
			t.Errorf("%d nodes: %d removed, want %d", c.nodes, removed, c.limit)
		}
	}
}

func TestAMomentOfSilenceDegradesNobody(t *testing.T) {
	b := newBed(t, 8)
	b.admit(3)
	for range 4 { // again and again, but never for long
		b.suspect(3, 1, 2)
		for range 10 {
			b.round()
		}
		b.hear(3, 1, 2)
		b.round()
	}
	if b.happened(NodeDegraded, 3) != 0 {
		t.Fatal("degraded")
	}
	b.suspect(3, 1, 2)
	for range 17 {
		b.round()
	}
	if b.happened(NodeDegraded, 3) != 1 {
		t.Fatal("not degraded")
	}
	b.hear(3, 1, 2)
	for range 25 {
		b.round()
	}
	if b.happened(NodeRecovered, 3) != 1 {
		t.Fatal("not recovered")
	}
}

func TestAJoinerIsNoJudge(t *testing.T) {
	b := newBed(t, 8)
	b.admit(2)
	j := b.join("lb-j")
	b.round()
	b.m.Control(b.now, 1, b.dp[1].Inc, false)
	b.m.Control(b.now, 2, b.dp[2].Inc, false)
	b.suspect(2, j.ID) // it has not met it yet
	b.say(j.ID)
	b.want(2, Admitted)
}

func TestTheLimitEndsWhenTheRemovedAreBackOrGivenUp(t *testing.T) {
	t.Run("back", func(t *testing.T) {
		b := newBed(t, 8)
		b.admit(3)
		b.kill(3)
		b.round()
		b.want(3, Removed)
		n := b.join("lb-c")
		if n.ID != 3 {
			t.Fatalf("came back as %d", n.ID)
		}
		b.whole(3)
		b.round()
		b.round()
		b.want(3, Admitted)
		b.kill(2)
		b.round()
		b.want(2, Removed)
	})
	t.Run("held, then given up in its name", func(t *testing.T) {
		b := newBed(t, 8)
		b.admit(3)
		b.kill(3)
		b.round()
		b.kill(2)
		for range 5 {
			b.round()
		}
		b.want(2, Admitted)
		if got := b.happened(RemovalHeld, 2); got != 1 {
			t.Fatalf("held said %d times", got)
		}
		b.must(b.m.Leave(b.now, 3, b.dp[3].Inc))
		b.round()
		b.want(2, Removed)
	})
	t.Run("joining again is not yet back", func(t *testing.T) {
		b := newBed(t, 8)
		b.admit(3)
		b.kill(3)
		b.round()
		b.join("lb-c")
		b.kill(2)
		b.round()
		b.want(2, Admitted)
	})
}

func TestAJoinerThatDiesIsRemovedAndCostsNothing(t *testing.T) {
	b := newBed(t, 8)
	b.admit(3)
	j := b.join("lb-d")
	b.round()
	b.kill(j.ID)
	b.round()
	b.want(j.ID, Removed)
	b.kill(3)
	b.round()
	b.want(3, Removed)
}

func TestDegradedByClock(t *testing.T) {
	b := newBed(t, 8)
	b.admit(3)
	b.sync()
	for id, off := range map[uint32][3]int64{1: {0, 0, 900}, 2: {0, 0, 900}, 3: {-900, -900, 0}} {
		for i := range b.dp[id].Peers {
			p := &b.dp[id].Peers[i]
			p.ClockKnown, p.ClockOffset = true, off[p.ID-1]
		}
	}
	b.round()
	for id, want := range map[uint32]Cause{1: CauseNone, 2: CauseNone, 3: CauseClock} {
		if got := b.node(id).Degraded; got != want {
			t.Errorf("node %d degraded %q, want %q", id, got, want)
		}
	}
	s := b.m.State()
	if s.MayAllocate(s.Holds(3, b.dp[3].Inc, false)) {
		t.Error("a degraded node may allocate")
	}
	for i := range b.dp[3].Peers {
		b.dp[3].Peers[i].ClockOffset = -100
	}
	b.round()
	if b.node(3).Degraded == CauseNone {
		t.Error("recovered without having been well for a while")
	}
	for range 25 {
		b.round()
	}
	if b.node(3).Degraded != CauseNone || b.happened(NodeRecovered, 3) != 1 {
		t.Error("did not recover")
	}
}

func TestOneClockThatIsOffDegradesNobodyElse(t *testing.T) {
	for _, row := range []struct {
		name   string
		clocks []int64
		want   []Cause
	}{
		{"one of three an hour ahead", []int64{0, 0, 3_600_000}, []Cause{CauseNone, CauseNone, CauseClock}},
		{"one of three an hour behind", []int64{-3_600_000, 0, 3}, []Cause{CauseClock, CauseNone, CauseNone}},
		{"one of four", []int64{0, 3_600_000, 10, -10}, []Cause{CauseNone, CauseClock, CauseNone, CauseNone}},
		{"one of two: nobody knows which", []int64{0, 3_600_000}, []Cause{CauseNone, CauseNone}},
		{"two against two", []int64{0, 0, 900, 900}, []Cause{CauseNone, CauseNone, CauseNone, CauseNone}},
		{"all on their own", []int64{0, 900, 1_800}, []Cause{CauseClock, CauseNone, CauseClock}},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := newBed(t, 8)
			b.admit(len(row.clocks))
			b.sync()
			for id := range uint32(len(row.clocks)) {
				for i := range b.dp[id+1].Peers {
					p := &b.dp[id+1].Peers[i]
					p.ClockKnown, p.ClockOffset = true, row.clocks[p.ID-1]-row.clocks[id]
				}
			}
			b.round()
			for id, want := range row.want {
				if got := b.node(uint32(id + 1)).Degraded; got != want {
					t.Errorf("node %d degraded %q, want %q", id+1, got, want)
				}
			}
		})
	}
}

func TestAZombiesWordsChangeNothing(t *testing.T) {
	b := newBed(t, 8)
	b.admit(3)
	old := b.dp[3].Report
	b.kill(3)
	b.round()
	b.want(3, Removed)
	before := b.m.State()
	b.m.Report(b.now, old)
	b.m.Control(b.now, 3, old.Inc, true)
	b.m.KeysApplied(b.now, 3, old.Inc, 99)
	if err := b.m.Leave(b.now, 3, old.Inc-1); !errors.Is(err, ErrStaleInc) {
		t.Errorf("leave of a former life: %v", err)
	}
	if o := b.take(); o.Changed || len(o.Events) > 0 || b.m.State().View != before.View {
		t.Fatalf("a removed life changed something: %+v", o)
	}
}
