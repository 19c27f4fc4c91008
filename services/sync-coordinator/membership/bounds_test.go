package membership

import "testing"

// A member that began its stock and stopped kept a joiner out for ever.
func TestAMemberWhoseStockStandsStillIsLeftOut(t *testing.T) {
	for _, c := range []struct {
		name string
		bulk func(b *bed, s int) BulkReport // of node 2, after s seconds
		out  bool
	}{
		{"it stops half-way", func(b *bed, _ int) BulkReport {
			return BulkReport{ID: 2, Inc: b.dp[2].Inc, Begun: true, Expected: 1000, Received: 100}
		}, true},
		{"it announces more than there can be", func(b *bed, _ int) BulkReport {
			return BulkReport{ID: 2, Inc: b.dp[2].Inc, Begun: true, Expected: 1<<64 - 1, Received: 100}
		}, true},
		{"it is slow", func(b *bed, s int) BulkReport {
			return BulkReport{ID: 2, Inc: b.dp[2].Inc, Begun: true, Expected: 1000, Received: uint64(s)}
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, 8)
			b.admit(2)
			j := b.join("lb-j").ID
			for s := range 12 {
				b.stock(j)
				b.dp[j].Bulk[1] = c.bulk(b, s)
				b.pass(1_000)
			}
			want, said := Joining, 0
			if c.out {
				want, said = Ready, 1
			}
			b.want(j, want)
			if got := b.happened(MemberLeftOut, j); got != said {
				t.Fatalf("said %d times", got)
			}
		})
	}
}

// A joiner with a dead life's block needs every member's stock. That of a member whose gRPC is lost can't be asked for,
// and the joiner waited until it was back.
func TestAMemberWithoutControlKeepsNobodyOut(t *testing.T) {
	for _, c := range []struct {
		name  string
		equal bool
		ms    int64
		want  Phase
	}{
		{"digests equal, its old tombstones may still be there", true, 50_000, Joining},
		{"digests equal for as long as a tombstone lives", true, 61_000, Ready},
		{"digests not equal", false, 58_000, Joining},
		{"digests never equal: put aside", false, 90_000, Removed},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, 3)
			b.admit(3)
			b.m.Control(b.now, 2, b.dp[2].Inc, false)
			b.dp[2].gone = true
			j := b.join("lb-c") // its own former block is the only one
			if x := b.block(j.ID); x.Clean {
				t.Fatalf("%+v", x)
			}
			b.stock(j.ID)
			b.dp[j.ID].Bulk = b.dp[j.ID].Bulk[:1] // of node 1 alone
			for range c.ms / 100 {
				b.sync()
				for i := range b.dp[j.ID].Peers {
					b.dp[j.ID].Peers[i].Equal = c.equal
				}
				b.round()
			}
			b.want(j.ID, c.want)
		})
	}
}

func TestABlockThatAMemberKeepsIsReportedAndLeasedAllTheSame(t *testing.T) {
	b := newBed(t, 3)
	b.admit(3)
	b.kill(3)
	b.pass(300)
	b.want(3, Removed)
	b.m.Control(b.now, 2, b.dp[2].Inc, false)
	b.dp[2].gone = true // heard by its peers, but it reports nothing for hours
	for range 400 {
		b.now += 1_000
		b.sync()
		b.settleBlocks(1, 3)
		b.say(1)
	}
	if got := b.happened(BlockHeld, 3); got != 0 {
		t.Fatalf("said %d times after 400 s", got)
	}
	for range 7_200 {
		b.now += 1_000
		b.sync()
		b.settleBlocks(1, 3)
		b.say(1)
	}
	if got := b.happened(BlockHeld, 3); got != 1 {
		t.Fatalf("said %d times in two hours", got)
	}
	for _, e := range b.events {
		if e.Kind == BlockHeld && (e.Peer != 2 || e.Block != 3) {
			t.Fatalf("%+v", e)
		}
	}
	if x := b.block(3); x.ID != 3 {
		t.Fatal("freed without the word of a member that may hold sessions of it")
	}
	// Nobody waits for it: a joiner gets it and pays with the whole stock.
	j := b.join("lb-d")
	if x := b.block(j.ID); x.ID != 3 || x.Clean {
		t.Fatalf("%+v", x)
	}
}

// settleBlocks makes a node say that it holds nothing of any block and fenced a node long ago.
func (b *bed) settleBlocks(id, dead uint32) {
	p := b.dp[id]
	for i := range p.Blocks {
		p.Blocks[i].Records = 0
	}
	p.Fenced = []FenceReport{{ID: dead, Inc: b.dp[dead].Inc, Age: 60_000}}
}
