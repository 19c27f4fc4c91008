package syncer_test

import (
	"math/rand/v2"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// scanned counts how often a store is passed over.
type scanned struct {
	*mapStore
	n int
}

func (s *scanned) Scan(c uint32, n int, visit func(flow.Handle)) uint32 {
	s.n++
	return s.mapStore.Scan(c, n, visit)
}

// A view says anew whose records are whose, and no record is looked at for that.
func TestAViewRelabelsTheSums(t *testing.T) {
	st := &scanned{mapStore: newStore()}
	b := &bench{t: t, now: t0, store: st.mapStore, ports: &portLog{}}
	b.Shard = syncer.New(syncer.Config{Self: nodeID(1), DigestKey: [16]byte{1, 8: 2}, Owns: func(flow.Bucket) bool { return true }}, st, b.ports)
	b.SetView(b.now, view(1, 1, 2, 3))
	for i := range 30 {
		b.hear(2, syncwire.KindSession, session(i, 2, uint16(i), 100<<16, uint32(2+i%2), 1, 2))
		s := session(100+i, 1, uint16(100+i), 0, 0, 0, 0)
		if _, err := b.Create(b.now, &s); err != nil {
			t.Fatal(err)
		}
	}
	own, second, third := b.OwnSums(nodeID(1), leafBucket), b.OwnSums(nodeID(2), leafBucket), b.OwnSums(nodeID(3), leafBucket)
	zero := [4]uint64{}
	if own == zero || second == zero || third == zero || b.Orphans(leafBucket) != zero {
		t.Fatal("a sum is missing, or orphans are there")
	}
	st.n = 0
	b.SetView(b.now, view(2, 1, 2))
	if got := b.Orphans(leafBucket); got != third {
		t.Errorf("the orphans sum up to %x, want what node 3 owned: %x", got, third)
	}
	b.SetView(b.now, view(3, 1, 2, 3))
	if b.Orphans(leafBucket) != zero || b.OwnSums(nodeID(3), leafBucket) != third {
		t.Error("node 3 is back, and what it owned is not")
	}
	life := view(4, 1, 2, 3)
	life.Self.Inc++
	life.Members[0].Node = life.Self
	b.SetView(b.now, life)
	if all, owned := b.Mapped(); b.Orphans(leafBucket) != own || b.OwnSums(life.Self, leafBucket) != zero || all != 60 || owned != 0 {
		t.Errorf("what the former life owned sums up to %x, want %x; %d of %d owned", b.Orphans(leafBucket), own, owned, all)
	}
	b.Fenced(b.now, flow.Node{ID: 2, Inc: 99})
	want := own
	for i := range want {
		want[i] += second[i]
	}
	if got := b.Orphans(leafBucket); got != want {
		t.Errorf("after a fencing the orphans sum up to %x, want %x", got, want)
	}
	if st.n != 0 {
		t.Errorf("the store was passed over %d times", st.n)
	}
	b.sumsHold(t)
}

// A peer may name any owner. The sums hold, in bounded memory, and a member's are right when it
// comes.
func TestSumsOfManyOwners(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	b := newBench(t, 0)
	epoch := uint64(1)
	for step := range 3_000 {
		i := r.IntN(250)
		s := session(i, 2, uint16(i), flow.Birth(100+r.IntN(2))<<16, uint32(2+r.IntN(500)), uint32(1+r.IntN(3)), uint32(2+r.IntN(3)))
		switch h, _, ok := b.store.Find(&s.Reply); {
		case ok && r.IntN(3) == 0:
			b.Delete(b.now, h)
		case r.IntN(60) == 0:
			epoch++
			b.SetView(b.now, view(epoch, 1, 2, uint32(3+r.IntN(200)), uint32(203+r.IntN(200))))
		default:
			b.hear(2, syncwire.KindSession, s)
		}
		b.now += 20
		b.Tick(b.now, 50)
		b.Done()
		if n := b.Owners(); n > 200 {
			t.Fatalf("step %d: the sums of %d owners are kept apart", step, n)
		}
		if step%10 == 0 {
			b.everySumHolds(t)
		}
		if t.Failed() {
			t.Fatalf("step %d", step)
		}
	}
}

// everySumHolds checks sums that don't depend on who has a place of his own, and those of the
// members.
func (b *bench) everySumHolds(t *testing.T) {
	t.Helper()
	type all struct{ total, orphans, own, second [4]uint64 }
	take := func() all {
		return all{b.Totals(leafBucket), b.Orphans(leafBucket), b.OwnSums(nodeID(1), leafBucket), b.OwnSums(nodeID(2), leafBucket)}
	}
	was := take()
	b.Recount()
	if is := take(); is != was {
		t.Errorf("the running sums are\n%x, counted anew\n%x", was, is)
	}
}

// TestSumsFollowEveryChange drives a Shard with random events: the running sums must be those of
// its records at every step.
func TestSumsFollowEveryChange(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		b := newBench(t, 0)
		b.store.max = 12
		for step := range 400 {
			s := session(r.IntN(4), byte(1+r.IntN(3)), uint16(5+r.IntN(4)), flow.Birth(100+r.IntN(3))<<16, uint32(1+r.IntN(4)), uint32(1+r.IntN(4)), uint32(1+r.IntN(4)))
			s.Flags = []flow.Flags{0, 0, 0, flow.SoftTomb, flow.HardTomb, flow.ReplyOnly}[r.IntN(6)]
			s.Idle = uint32(r.IntN(70_000))
			h, _, ok := b.store.Find(&s.Reply)
			k := r.IntN(12)
			switch {
			case k < 5:
				b.hear(uint32(2+r.IntN(2)), syncwire.KindSession, s)
			case k == 5:
				x := session(r.IntN(4), 1, uint16(5+r.IntN(4)), 0, 0, 0, 0)
				x.Flags = []flow.Flags{0, flow.Embryonic}[r.IntN(2)]
				_, _ = b.Create(b.now, &x)
			case k == 6 && ok:
				b.Expired(b.now, h)
			case k == 7 && ok:
				b.Packet(b.now, h, in(syncwire.HintFin))
			case k == 8:
				if h, d, ok := b.store.Find(&s.Orig); ok && d == flow.In {
					b.Syn(b.now, h, r.Uint32(), true)
				}
			case k == 9 && ok:
				b.Delete(b.now, h)
			case k == 10:
				b.SetView(b.now, view(uint64(2+b.now), 1, 2, uint32(3+r.IntN(2))))
			default:
				b.now += int64(r.IntN(3_000))
				b.Tick(b.now, 50)
			}
			b.sumsHold(t)
			if t.Failed() {
				t.Fatalf("seed %d, step %d of kind %d, %+v", seed, step, k, s)
			}
			if b.Count[syncer.StoreFault] != 0 {
				t.Fatalf("seed %d: the Shard asked its store for what it must not", seed)
			}
			b.Done()
		}
	}
}
