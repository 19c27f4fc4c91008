package membership

import "testing"

// lost is a bed in which node 3 is dead and its block waits, node 1 holds nothing of it, and node 2 can't be reached but by node 1.
func lost(t *testing.T) (b *bed, blk Block) {
	b = newBed(t, 4)
	b.admit(3)
	blk = b.block(3)
	b.kill(3)
	b.round()
	b.want(3, Removed)
	b.now += 6000
	b.sync()
	for _, id := range []uint32{1, 2} {
		b.dp[id].Fenced = []FenceReport{{ID: 3, Inc: b.dp[3].Inc, Age: 6000}}
		b.entry(id, blk.ID).Records = 0
	}
	b.entry(2, blk.ID).Tombstones = 1
	b.say(2)
	b.m.Control(b.now, 2, b.dp[2].Inc, false)
	b.take()
	b.say(1)
	b.now += 3000
	return b, blk
}

func (b *bed) entry(id, blk uint32) *BlockReport {
	for i := range b.dp[id].Blocks {
		if b.dp[id].Blocks[i].ID == blk {
			return &b.dp[id].Blocks[i]
		}
	}
	panic("no such block")
}

// word is what node 2 tells when it holds nothing of a block any more.
func (b *bed) word(blk Block) RelayedReport {
	return RelayedReport{Member: 2, Inc: b.dp[2].Inc, Block: blk.ID, Holder: 3, HolderInc: blk.HolderInc, Fenced: 9000}
}

func TestABlockIsFreeByAWordThatCameByAPeer(t *testing.T) {
	for _, c := range []struct {
		name string
		spy  func(b *bed, r *RelayedReport)
		free bool
		kept bool
	}{
		{"nothing left, fenced for 9 s", func(*bed, *RelayedReport) {}, true, true},
		{"fenced for 5 s", func(_ *bed, r *RelayedReport) { r.Fenced = 5000 }, true, true},
		{"a later life of the holder fenced", func(_ *bed, r *RelayedReport) { r.HolderInc++ }, true, true},
		{"told 2.9 s ago, after its own last word", func(_ *bed, r *RelayedReport) { r.Age = 2900 }, true, true},
		{"its gRPC is back but silent for longer than counts", func(b *bed, _ *RelayedReport) { b.m.Control(b.now, 2, b.dp[2].Inc, true) }, true, true},
		{"a tombstone left", func(_ *bed, r *RelayedReport) { r.Tombstones = 1 }, false, true},
		{"a record left", func(_ *bed, r *RelayedReport) { r.Records = 1 }, false, true},
		{"fenced for less than 5 s", func(_ *bed, r *RelayedReport) { r.Fenced = 4999 }, false, true},
		{"not fenced", func(_ *bed, r *RelayedReport) { r.Fenced = 0 }, false, true},
		{"a former life of the holder fenced", func(_ *bed, r *RelayedReport) { r.HolderInc-- }, false, true},
		{"another holder", func(_ *bed, r *RelayedReport) { r.Holder = 1 }, false, true},
		{"another block", func(_ *bed, r *RelayedReport) { r.Block-- }, false, false},
		{"an unknown block", func(_ *bed, r *RelayedReport) { r.Block = 999 }, false, false},
		{"an unknown member", func(_ *bed, r *RelayedReport) { r.Member = 9 }, false, false},
		{"a member that is removed", func(b *bed, r *RelayedReport) { r.Member, r.Inc = 3, b.dp[3].Inc }, false, false},
		{"an older life of the member", func(_ *bed, r *RelayedReport) { r.Inc-- }, false, false},
		{"a later life of the member", func(_ *bed, r *RelayedReport) { r.Inc++ }, false, false},
		{"the reporter about itself", func(b *bed, r *RelayedReport) { r.Member, r.Inc = 1, b.dp[1].Inc }, false, false},
		{"older than its own last word, which names a tombstone", func(_ *bed, r *RelayedReport) { r.Age = 3001 }, false, true},
		{"as old as its own last word", func(_ *bed, r *RelayedReport) { r.Age = 3000 }, false, true},
		{"older than counts", func(_ *bed, r *RelayedReport) { r.Age = 10_001 }, false, false},
		{"from the future", func(_ *bed, r *RelayedReport) { r.Age = -1 }, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, blk := lost(t)
			r := b.word(blk)
			c.spy(b, &r)
			b.dp[1].Relayed = []RelayedReport{r}
			b.say(1)
			if free := b.block(3).Holder == 0; free != c.free {
				t.Fatalf("free %v, want %v", free, c.free)
			}
			if r := b.m.Relays(); (r.Used == 1) != c.kept || r.Used+r.Unknown+r.Stale != 1 {
				t.Errorf("kept %v, want %v: %+v", r.Used, c.kept, r)
			}
		})
	}
}

func TestTheNewestWordOfAMemberCounts(t *testing.T) {
	relay := func(b *bed, r RelayedReport) {
		b.dp[1].Relayed = []RelayedReport{r}
		b.say(1)
	}
	free := func(t *testing.T, b *bed, want bool) {
		t.Helper()
		if got := b.block(3).Holder == 0; got != want {
			t.Fatalf("free %v, want %v", got, want)
		}
	}
	t.Run("a later relayed one that names a tombstone, whatever an earlier one said", func(t *testing.T) {
		b, blk := lost(t)
		b.entry(1, blk.ID).Records = 1
		relay(b, b.word(blk))
		b.now += 1000
		r := b.word(blk)
		r.Tombstones = 1
		relay(b, r)
		r = b.word(blk)
		r.Age = 500 // on a longer way
		b.entry(1, blk.ID).Records = 0
		relay(b, r)
		free(t, b, false)
		b.now += 1000
		relay(b, b.word(blk))
		free(t, b, true)
	})
	t.Run("its own when that is later, also with a relayed one at hand", func(t *testing.T) {
		b, blk := lost(t)
		b.entry(1, blk.ID).Records = 1
		relay(b, b.word(blk))
		b.now += 100
		b.m.Control(b.now, 2, b.dp[2].Inc, true)
		b.say(2)
		b.entry(1, blk.ID).Records = 0
		b.dp[1].Relayed = nil
		b.say(1)
		free(t, b, false)
		b.entry(2, blk.ID).Tombstones = 0
		b.say(2)
		free(t, b, true)
	})
	t.Run("a relayed one that is later than its own, also while its gRPC stands", func(t *testing.T) {
		b, blk := lost(t)
		b.m.Control(b.now, 2, b.dp[2].Inc, true)
		b.entry(2, blk.ID).Tombstones = 0
		b.entry(1, blk.ID).Records = 1
		b.say(1, 2)
		b.now += 500
		r := b.word(blk)
		r.Records = 1
		b.entry(1, blk.ID).Records = 0
		relay(b, r)
		free(t, b, false)
	})
	t.Run("a relayed one no longer when it is not repeated", func(t *testing.T) {
		b, blk := lost(t)
		b.entry(1, blk.ID).Records = 1
		relay(b, b.word(blk))
		b.dp[1].Relayed = nil
		b.entry(1, blk.ID).Records = 0
		b.now += 10_001
		b.say(1)
		free(t, b, false)
	})
	t.Run("a relayed one until it is too old", func(t *testing.T) {
		b, blk := lost(t)
		b.entry(1, blk.ID).Records = 1
		relay(b, b.word(blk))
		b.dp[1].Relayed = nil
		b.entry(1, blk.ID).Records = 0
		b.now += 10_000
		b.say(1)
		free(t, b, true)
	})
	t.Run("none of a former life when the member came back", func(t *testing.T) {
		b, blk := lost(t)
		b.entry(1, blk.ID).Records = 1
		relay(b, b.word(blk))
		b.join("lb-b")
		b.m.Control(b.now, 2, b.dp[2].Inc, false)
		b.entry(1, blk.ID).Records = 0
		b.dp[1].Relayed = nil
		b.say(1)
		free(t, b, false)
		relay(b, b.word(blk))
		free(t, b, true)
	})
}

func TestACountFromBeforeTheFencingDoesNotFree(t *testing.T) {
	b, blk := lost(t)
	b.m.Control(b.now, 2, b.dp[2].Inc, true)
	e := b.entry(2, blk.ID)
	e.Tombstones, e.Age = 0, 1001 // the fence is 6 s old
	b.say(1, 2)
	if b.block(3).Holder != 3 {
		t.Fatal("freed by a count from less than 5 s after the fencing")
	}
	b.entry(2, blk.ID).Age = 1000
	b.say(2)
	if b.block(3).Holder != 0 {
		t.Fatal("not freed")
	}
}

func TestWhatIsKeptOfRelayedWordsIsBounded(t *testing.T) {
	b, blk := lost(t)
	var all []RelayedReport
	for i := range 5000 {
		all = append(all, RelayedReport{Member: uint32(i % 70), Inc: uint64(i), Block: uint32(i % 300), Holder: 3})
	}
	old, again := b.word(blk), b.word(blk)
	old.Age, again.Records = 10_001, 1
	first := b.word(blk)
	first.Records = 1
	b.dp[1].Relayed = append(all, old, first, again)
	b.say(1)
	if got := b.m.Relays(); got != (Relays{Used: 1, Known: 1, Stale: 1, Unknown: 5000}) {
		t.Errorf("%+v", got)
	}
	kept := func() (n int) {
		for _, o := range b.m.obs {
			n += len(o.relayed)
		}
		return n
	}
	if kept() != 1 {
		t.Errorf("%d kept", kept())
	}
	b.now++
	b.dp[1].Relayed = []RelayedReport{b.word(blk)}
	b.say(1)
	if b.block(3).Holder != 0 || kept() != 0 {
		t.Errorf("holder %d, %d kept of a block that is free", b.block(3).Holder, kept())
	}
}
