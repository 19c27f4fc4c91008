package membership

import (
	"errors"
	"strings"
	"testing"
)

// pass lets milliseconds pass in rounds of 100.
func (b *bed) pass(ms int64) {
	for end := b.now + ms; b.now < end; {
		b.round()
	}
}

// A joiner that never got ready stayed in the view for ever, and its peers waited for it.
func TestAJoinerWithoutProgressIsPutAside(t *testing.T) {
	for _, c := range []struct {
		name  string
		setup func(b *bed, j uint32)
		each  func(b *bed, j uint32) // before each second
		why   string
	}{
		{"its gRPC is lost", func(b *bed, j uint32) {
			b.m.Control(b.now, j, b.dp[j].Inc, false)
			b.dp[j].gone = true
		}, nil, "its control connection does not stand"},
		{"it reports nothing", func(b *bed, j uint32) { b.dp[j].gone = true }, nil, "it reports nothing"},
		{"it does not take the view", func(b *bed, j uint32) { b.dp[j].gone = true }, func(b *bed, j uint32) {
			for range 2 {
				r := b.dp[j].Report
				r.View = 1
				b.m.Report(b.now, r)
			}
		}, ""},
		{"no HELLO is answered", func(b *bed, j uint32) {}, func(b *bed, j uint32) {
			for i := range b.dp[j].Peers {
				b.dp[j].Peers[i].Greeted = false
			}
		}, "no HELLO_ACK with lb-a; no HELLO_ACK with lb-b"},
		{"it has no configuration", func(b *bed, j uint32) {
			b.stock(j)
			b.dp[j].Met, b.dp[j].Missing = 6, "it says that it lacks CONFIG"
		}, nil, "it says that it lacks CONFIG"},
		{"it may allocate and its routes are never seen", func(b *bed, j uint32) { b.stock(j) }, nil, "nothing that is known here"},
		{"what it received goes up and down", func(b *bed, j uint32) {}, func(b *bed, j uint32) {
			b.stock(j)
			for i := range b.dp[j].Bulk {
				x := &b.dp[j].Bulk[i]
				x.Ended, x.Expected, x.Received = false, 100, uint64(30+b.now/1000%2*20)
			}
		}, ""},
		{"what it received grows beyond what was announced", func(b *bed, j uint32) {}, func(b *bed, j uint32) {
			b.stock(j)
			b.dp[j].Bulk = b.dp[j].Bulk[:1]
			b.dp[j].Bulk[0].Ended, b.dp[j].Bulk[0].Received = false, uint64(b.now)
			b.dp[j].Peers = nil
		}, "no BULK_BEGIN of lb-b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, 8)
			b.admit(2)
			j := b.join("lb-j").ID
			b.round()
			c.setup(b, j)
			for b.now < t0+200_000 && b.phase(j) != Removed {
				if c.each != nil {
					c.each(b, j)
				}
				b.pass(500)
			}
			n := b.node(j)
			if n.Phase != Removed || n.Cause != CauseAside || n.ByMachine || n.Fenced != n.Inc {
				t.Fatalf("is %+v", n)
			}
			if in := n.ChangedAt - n.JoinedAt; in < 60_000 || in > 80_000 {
				t.Errorf("put aside after %d ms", in)
			}
			if b.happened(NodeAside, j) != 1 || b.happened(NodeRemoved, j) != 0 {
				t.Errorf("said %d times", b.happened(NodeAside, j))
			}
			if !strings.HasPrefix(n.Reason, "no progress for 60 s: ") || !strings.Contains(n.Reason, c.why) {
				t.Errorf("the reason is %q", n.Reason)
			}
			b.want(1, Admitted)
			b.want(2, Admitted)
		})
	}
}

func TestAJoinerThatWaitsSaysForWhatAndForHowLong(t *testing.T) {
	b := newBed(t, 8)
	b.admit(1)
	j := b.join("lb-j").ID
	b.pass(5_000)
	why, idle, ok := b.m.Waiting(b.now, j)
	if !ok || !strings.Contains(why, "no BULK_BEGIN of lb-a") || idle < 4_000 || idle > 5_000 {
		t.Fatalf("%q for %d ms, %v", why, idle, ok)
	}
	if _, _, ok := b.m.Waiting(b.now, 1); ok {
		t.Fatal("an admitted node waits")
	}
}

func TestALongReasonIsCut(t *testing.T) {
	b := newBed(t, 8)
	b.admit(1)
	j := b.join("lb-j").ID
	b.stock(j)
	b.dp[j].Missing = strings.Repeat("ä", 1000)
	b.pass(100)
	if why, _, _ := b.m.Waiting(b.now, j); len(why) > maxMissing+4 || !strings.HasSuffix(why, "ä ...") {
		t.Fatalf("%d bytes: %s", len(why), why)
	}
}

// Each step counts once, so even the slowest joiner has a last one.
func TestASlowJoinerStaysAsLongAsItGetsOn(t *testing.T) {
	b := newBed(t, 8)
	b.admit(1)
	j := b.join("lb-j").ID
	for received := uint64(0); received <= 60; received++ {
		b.stock(j)
		b.dp[j].Bulk[0] = BulkReport{ID: 1, Inc: b.dp[1].Inc, Begun: true, Expected: 100_000, Received: received * 1000}
		b.dp[j].Met, b.dp[j].Missing = 5, "it says that it lacks STOCK"
		b.pass(9_000)
		if b.phase(j) == Removed {
			t.Fatalf("put aside at %d percent: %s", received, b.node(j).Reason)
		}
	}
	b.pass(75_000) // the member is left out after 10 s, which is a step too
	if n := b.node(j); n.Cause != CauseAside {
		t.Fatalf("is still there: %+v", n)
	}
}

func TestNobodyIsPutAsideWhileNobodyServes(t *testing.T) {
	b := newBed(t, 8)
	b.join("lb-a")
	b.join("lb-b")
	b.pass(300_000)
	if b.phase(1) == Removed || b.phase(2) == Removed {
		t.Fatal("put aside")
	}
}

func TestOneThatWasPutAsideJoinsAgainAfterAPauseThatDoubles(t *testing.T) {
	b := newBed(t, 8)
	b.admit(2)
	var pauses []int64
	for range 9 {
		n := b.join("lb-j")
		b.dp[n.ID].gone = true // says nothing
		for b.phase(n.ID) != Removed {
			b.pass(1_000)
		}
		views := b.stored.View
		since := b.now
		for {
			_, err := b.m.Join(b.now, ask("lb-j"))
			if err == nil {
				break
			}
			var wait *BackOffError
			if !errors.Is(err, ErrBackOff) || !errors.As(err, &wait) || wait.Until <= b.now {
				t.Fatal(err)
			}
			if b.take(); b.stored.View != views {
				t.Fatal("a join that was refused made a view")
			}
			b.pass(1_000)
		}
		b.take()
		pauses = append(pauses, (b.now-since)/1000)
		b.must(b.m.Leave(b.now, n.ID, b.node(n.ID).Inc))
		b.take()
		// The life that was just begun and left counts too; take it out of the count.
		s := b.m.st.Node(n.ID)
		s.Setbacks, s.JoinAfter = s.Setbacks-1, 0
	}
	for i, want := range []int64{10, 20, 40, 80, 160, 320, 600, 600, 600} {
		if got := pauses[i]; got < want-2 || got > want+1 {
			t.Errorf("pause %d took %d s, want %d: %v", i+1, got, want, pauses)
			break
		}
	}

	n := b.join("lb-j")
	b.dp[n.ID].gone = false
	b.whole(n.ID)
	b.pass(61_000)
	if got := b.node(n.ID); got.Phase != Admitted || got.Setbacks != 0 || got.JoinAfter != 0 {
		t.Fatalf("a life that was of use did not end the count: %+v", got)
	}
	if again := b.join("lb-j"); again.Inc <= n.Inc {
		t.Fatal("a restart after a good life was held back")
	}
}

func TestOneThatWasPutAsideNeedNotWaitWhenNobodyElseServes(t *testing.T) {
	b := newBed(t, 8)
	b.admit(1)
	n := b.join("lb-j")
	b.dp[n.ID].gone = true
	b.pass(65_000)
	b.want(n.ID, Removed)
	if _, err := b.m.Join(b.now, ask("lb-j")); !errors.Is(err, ErrBackOff) {
		t.Fatalf("let in at once: %v", err)
	}
	b.must(b.m.Leave(b.now, 1, b.dp[1].Inc))
	if again := b.join("lb-j"); again.Inc <= n.Inc {
		t.Fatal("not let in")
	}
}

func TestAPauseOutlivesTheCoordinatorButNotAClockThatWasWrong(t *testing.T) {
	b := newBed(t, 8)
	b.admit(2)
	n := b.join("lb-j")
	b.dp[n.ID].gone = true
	b.pass(65_000)
	b.restart(0)
	if _, err := b.m.Join(b.now, ask("lb-j")); !errors.Is(err, ErrBackOff) {
		t.Fatalf("the pause is forgotten: %v", err)
	}
	b.now -= 3_600_000 // the leader before had a clock an hour ahead
	if _, err := b.m.Join(b.now, ask("lb-j")); err != nil {
		t.Fatal(err)
	}
}

func TestOneThatWasPutAsideLeavesNothingBehind(t *testing.T) {
	b := newBed(t, 3)
	b.admit(2)
	j := b.join("lb-j")
	if got := b.block(j.ID); got.ID != 3 {
		t.Fatalf("holds %+v", got)
	}
	b.dp[j.ID].gone = true
	b.pass(65_000)
	b.want(j.ID, Removed)
	// Its block was never allocated from, so it is free without anyone's word.
	for _, x := range b.stored.Blocks {
		if x.ID == 3 && (x.Holder != 0 || !x.Clean) {
			t.Fatalf("block %+v", x)
		}
	}
	k := b.join("lb-k")
	if got := b.block(k.ID); got.ID != 3 || !got.Clean {
		t.Fatalf("another joiner got %+v", got)
	}
	b.whole(k.ID)
	b.pass(300)
	b.want(k.ID, Admitted)
}

func TestAReadyOneThatIsPutAsideKeepsItsBlockUntilNobodyHoldsAnythingOfIt(t *testing.T) {
	b := newBed(t, 3)
	b.admit(2)
	j := b.join("lb-j")
	b.stock(j.ID)
	b.pass(65_000)
	b.want(j.ID, Removed)
	if got := b.block(j.ID); got.ID != 3 || got.Allocatable || !got.Used {
		t.Fatalf("%+v", got)
	}
}
