package membership

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

func equalState(a, b State) bool { return reflect.DeepEqual(a, b) }

func TestADeadNodesBlockIsFreeOnlyWhenEveryMemberIsDoneWithIt(t *testing.T) {
	clear := func(b *bed, blk uint32) {
		for _, id := range []uint32{1, 2} {
			for i := range b.dp[id].Blocks {
				if r := &b.dp[id].Blocks[i]; r.ID == blk {
					r.Records = 0
				}
			}
			b.dp[id].Fenced = []FenceReport{{ID: 3, Inc: b.dp[3].Inc, Age: 5000}}
		}
	}
	entry := func(b *bed, id, blk uint32) *BlockReport {
		for i := range b.dp[id].Blocks {
			if b.dp[id].Blocks[i].ID == blk {
				return &b.dp[id].Blocks[i]
			}
		}
		panic("no such block")
	}
	for _, c := range []struct {
		name string
		spy  func(b *bed, blk uint32)
		free bool
	}{
		{"nothing anywhere, fenced for 5 s", func(*bed, uint32) {}, true},
		{"one record at one member", func(b *bed, blk uint32) { entry(b, 2, blk).Records = 1 }, false},
		{"one tombstone at one member", func(b *bed, blk uint32) { entry(b, 1, blk).Tombstones = 1 }, false},
		{"fenced for less than 5 s", func(b *bed, blk uint32) { b.dp[1].Fenced[0].Age = 4999 }, false},
		{"not fenced at one member", func(b *bed, blk uint32) { b.dp[2].Fenced = nil }, false},
		{"a former life fenced at one member", func(b *bed, blk uint32) { b.dp[2].Fenced[0].Inc-- }, false},
		{"a later life fenced at one member", func(b *bed, blk uint32) { b.dp[2].Fenced[0].Inc++ }, true},
		{"one member says nothing of it", func(b *bed, blk uint32) { b.dp[2].Blocks = nil }, false},
		{"one member's gRPC is lost", func(b *bed, blk uint32) { b.m.Control(b.now, 2, b.dp[2].Inc, false) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, 4)
			b.admit(3)
			blk := b.block(3)
			b.kill(3)
			b.round()
			b.want(3, Removed)
			b.now += 6000
			b.sync()
			clear(b, blk.ID)
			c.spy(b, blk.ID)
			b.say(1, 2)
			after := b.block(3)
			if free := after.Holder == 0; free != c.free {
				t.Fatalf("free %v, want %v: %+v", free, c.free, after)
			}
		})
	}
}

func TestAReportThatIsOldDoesNotFree(t *testing.T) {
	b := newBed(t, 4)
	b.admit(3)
	blk := b.block(3)
	b.kill(3)
	b.round()
	b.sync()
	for _, id := range []uint32{1, 2} {
		b.dp[id].Blocks = []BlockReport{{ID: blk.ID}}
		b.dp[id].Fenced = []FenceReport{{ID: 3, Inc: b.dp[3].Inc, Age: 5000}}
	}
	b.say(1)
	b.now += 2001
	b.say(2)
	if b.block(3).Holder != 3 {
		t.Fatal("freed on an old word")
	}
	b.say(1)
	if b.block(3).Holder != 0 {
		t.Fatal("not freed")
	}
}

func TestWhichBlockAJoinerGets(t *testing.T) {
	t.Run("a free one, also when its own former is at hand", func(t *testing.T) {
		b := newBed(t, 4)
		b.admit(2)
		n := b.join("lb-b")
		if got := *b.stored.Holds(n.ID, n.Inc, false); got.ID != 3 || !got.Clean || got.Allocatable {
			t.Fatalf("%+v", got)
		}
	})
	t.Run("its own former when none is free, and it must get every stock", func(t *testing.T) {
		b := newBed(t, 2)
		b.admit(2)
		n := b.join("lb-b")
		got := *b.stored.Holds(n.ID, n.Inc, false)
		if got.ID != 2 || got.Clean || got.Epoch != 2 {
			t.Fatalf("%+v", got)
		}
		b.whole(n.ID)
		b.dp[n.ID].Bulk[0].Ended = false
		b.round()
		b.want(n.ID, Joining)
		b.whole(n.ID)
		b.round()
		b.round()
		b.want(n.ID, Admitted)
	})
	t.Run("a dead node's when none is free", func(t *testing.T) {
		b := newBed(t, 2)
		b.admit(2)
		b.kill(2)
		b.round()
		n := b.join("lb-c")
		if got := *b.stored.Holds(n.ID, n.Inc, false); got.ID != 2 || got.Clean {
			t.Fatalf("%+v", got)
		}
	})
	t.Run("none of a living node's", func(t *testing.T) {
		b := newBed(t, 2)
		b.admit(2)
		n := b.join("lb-c")
		if b.stored.Holds(n.ID, n.Inc, false) != nil {
			t.Fatal("got a block that another holds")
		}
		b.whole(n.ID)
		for range 120 {
			b.round()
		}
		b.want(n.ID, Joining)
		b.must(b.m.SetPools(b.now, append(poolsOf(2), Pool{Name: "more", Kind: PoolLaddr, BlockSize: 1, Prefixes: prefixes("10.0.8.1/32")})))
		b.round()
		b.round()
		b.want(n.ID, Admitted)
	})
	t.Run("its own former is not clean for having been removed before it came back", func(t *testing.T) {
		b := newBed(t, 2)
		b.admit(2)
		b.kill(2)
		b.round()
		b.want(2, Removed)
		n := b.join("lb-b")
		if got := *b.stored.Holds(n.ID, n.Inc, false); got.ID != 2 || got.Clean {
			t.Fatalf("%+v", got)
		}
	})
	t.Run("one of each family", func(t *testing.T) {
		b := newBed(t, 2)
		b.must(b.m.SetPools(b.now, append(poolsOf(2), Pool{Name: "six", Kind: PoolLaddr, BlockSize: 2, Prefixes: prefixes("fd07::/127")})))
		b.admit(1)
		s := b.m.State()
		four, six := s.Holds(1, b.dp[1].Inc, false), s.Holds(1, b.dp[1].Inc, true)
		if four == nil || six == nil || !s.MayAllocate(four) || !s.MayAllocate(six) || len(six.Addresses) != 2 {
			t.Fatalf("%+v %+v", four, six)
		}
		n := b.join("lb-b")
		b.whole(n.ID)
		for range 3 {
			b.round()
		}
		b.want(n.ID, Joining) // no IPv6 block is left
	})
	t.Run("the one it got in a life that never used it stays clean", func(t *testing.T) {
		b := newBed(t, 2)
		b.admit(1)
		first := b.join("lb-b")
		n := b.join("lb-b")
		if got := *b.stored.Holds(n.ID, n.Inc, false); !got.Clean || got.ID != 2 || n.Inc == first.Inc {
			t.Fatalf("%+v", got)
		}
	})
	t.Run("no block is needed where there are no pools of them", func(t *testing.T) {
		b := newBed(t, 0)
		b.admit(2)
	})
}

func TestEveryoneDiesAtOnceAndComesBack(t *testing.T) {
	b := newBed(t, 3)
	b.admit(3)
	for id := uint32(3); id >= 1; id-- {
		b.kill(id)
	}
	for i := 1; i <= 3; i++ {
		b.join(name(i))
	}
	for id := uint32(1); id <= 3; id++ {
		b.whole(id)
	}
	b.round()
	b.round()
	for id := uint32(1); id <= 3; id++ {
		b.want(id, Admitted)
	}
}

func TestPoolRefusals(t *testing.T) {
	for _, c := range []struct {
		name string
		pool Pool
		want error
	}{
		{"no name", Pool{Kind: PoolSip, Prefixes: prefixes("10.1.0.0/24")}, ErrPool},
		{"a name twice", Pool{Name: "sip4", Kind: PoolSip, Prefixes: prefixes("10.1.0.0/24")}, ErrPool},
		{"no kind", Pool{Name: "x", Prefixes: prefixes("10.1.0.0/24")}, ErrPool},
		{"no prefix", Pool{Name: "x", Kind: PoolSip}, ErrPool},
		{"a prefix with host bits", Pool{Name: "x", Kind: PoolSip, Prefixes: prefixes("10.1.0.1/24")}, ErrPool},
		{"two families", Pool{Name: "x", Kind: PoolSip, Prefixes: prefixes("10.1.0.0/24", "fd11::/64")}, ErrPool},
		{"a prefix inside another pool", Pool{Name: "x", Kind: PoolSip, Prefixes: prefixes("10.0.9.64/26")}, ErrPool},
		{"prefixes that overlap", Pool{Name: "x", Kind: PoolSip, Prefixes: prefixes("10.1.0.0/24", "10.1.0.0/25")}, ErrPool},
		{"no block size", Pool{Name: "x", Kind: PoolLaddr, Prefixes: prefixes("10.1.0.0/29")}, ErrPool},
		{"a block of 257", Pool{Name: "x", Kind: PoolLaddr, BlockSize: 257, Prefixes: prefixes("10.1.0.0/16")}, ErrPool},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, 4)
			if err := b.m.SetPools(b.now, append(poolsOf(4), c.pool)); !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if o := b.take(); o.Changed {
				t.Fatal("a refused pool changed something")
			}
		})
	}
	t.Run("65 pools", func(t *testing.T) {
		if err := newBed(t, 0).m.SetPools(0, make([]Pool, 65)); !errors.Is(err, ErrTooMany) {
			t.Fatal(err)
		}
	})
}

func TestPoolsChangeUnderLeases(t *testing.T) {
	b := newBed(t, 3)
	b.admit(1)
	view := b.stored.View
	b.must(b.m.SetPools(b.now, poolsOf(3)))
	if o := b.take(); o.Changed {
		t.Fatal("the same pools again changed something")
	}
	b.must(b.m.SetPools(b.now, poolsOf(0)))
	b.take()
	if len(b.stored.Blocks) != 1 || !b.stored.Blocks[0].Retired || b.stored.View == view || !b.stored.MayAllocate(&b.stored.Blocks[0]) {
		t.Fatalf("the lease that stands must go on: %+v", b.stored.Blocks)
	}
	b.must(b.m.SetPools(b.now, []Pool{{Name: "new", Kind: PoolLaddr, BlockSize: 2, Prefixes: prefixes("10.0.7.0/30")}}))
	b.take()
	if len(b.stored.Blocks) != 2 || b.stored.Blocks[1].ID != 4 || b.stored.Blocks[1].Addresses[0].String() != "10.0.7.2" {
		t.Fatalf("a block must share no address with one that is held, and get a new id: %+v", b.stored.Blocks)
	}
	b.must(b.m.SetPools(b.now, poolsOf(1)))
	b.take()
	if len(b.stored.Blocks) != 1 || b.stored.Blocks[0].Retired || b.stored.Blocks[0].ID != 1 {
		t.Fatalf("the held block is wanted again: %+v", b.stored.Blocks)
	}
	b.must(b.m.SetPools(b.now, []Pool{{Name: "big", Kind: PoolLaddr, BlockSize: 1, Prefixes: prefixes("10.0.0.0/8")}}))
	b.take()
	if len(b.stored.Blocks) != MaxBlocks {
		t.Fatalf("%d blocks", len(b.stored.Blocks))
	}
}

func TestKeysRotateOnlyAsFastAsEveryMemberFollows(t *testing.T) {
	b := newBed(t, 4)
	b.admit(2)
	k := b.stored.Keys
	if k.Generation != 1 || k.Active != 1 || len(k.Keys) != 1 {
		t.Fatalf("%+v", k)
	}
	apply := func(ids ...uint32) {
		for _, id := range ids {
			b.m.KeysApplied(b.now, id, b.dp[id].Inc, b.m.State().Keys.Generation)
			b.take()
		}
	}
	if b.m.KeysDue(b.now, 1000) || !b.m.KeysDue(b.now+1000, 1000) {
		t.Fatal("a key is due when it is as old as its lifetime")
	}
	b.take()
	var fresh [SecretLen]byte
	fresh[0] = 7
	b.must(b.m.RotateKeys(b.now, fresh))
	b.take()
	if err := b.m.RotateKeys(b.now, fresh); !errors.Is(err, ErrKeysInChange) || b.m.KeysDue(b.now+9999, 1000) {
		t.Fatal(err)
	}
	check := func(gen uint64, active uint32, keys int) {
		t.Helper()
		if k := b.stored.Keys; k.Generation != gen || k.Active != active || len(k.Keys) != keys {
			t.Fatalf("generation %d active %d of %d keys, want %d %d %d", k.Generation, k.Active, len(k.Keys), gen, active, keys)
		}
	}
	check(2, 1, 2)
	apply(1)
	check(2, 1, 2)
	apply(2)
	check(3, 2, 2)
	b.round()
	check(3, 2, 2)
	apply(1, 2)
	for range 99 {
		b.round()
	}
	check(3, 2, 2)
	for range 5 {
		b.round()
	}
	check(4, 2, 1)
	if !bytes.Equal(b.stored.Keys.Keys[0].Secret, fresh[:]) {
		t.Fatal("the wrong key stayed")
	}
}
