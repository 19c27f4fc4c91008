package syncer_test

import (
	"math/rand/v2"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

const leafBucket = 0x10 // of all sessions here

// sums are a member's of its own records, as much as this node holds of them. They say nothing of
// orphans.
func (b *bench) sums(from uint32) *syncwire.DigestSums {
	return &syncwire.DigestSums{Bucket: leafBucket, Orphans: true, Sums: b.OwnSums(nodeID(from), leafBucket)}
}

// unequal is a digest of a member's own records whose four sums are others than here.
func (b *bench) unequal(from uint32) { b.differ(b.sums(from), from, true) }

func (b *bench) differ(d *syncwire.DigestSums, from uint32, ordered bool) {
	for i := range d.Sums {
		d.Sums[i]++
	}
	b.Digest(b.now, nodeID(from), d, ordered, b.Epoch())
}

// lacks is a member's word that it holds others than this node's own records.
func (b *bench) lacks(from uint32, state syncwire.LeafState) {
	d := syncwire.DigestReply{Round: b.LastRound(nodeID(from)), Bucket: leafBucket}
	for i := range 4 {
		d.SetLeaf(i, state)
	}
	b.DigestReply(b.now, nodeID(from), &d)
}

// replies takes the states of the answers sent since the last call, those of four leaves in one.
func (b *bench) replies() (list []uint8) {
	for _, a := range b.Actions() {
		if a.Kind == syncer.ActDigestReply {
			list = append(list, a.Reply.States)
		}
	}
	b.Done()
	return list
}

func (b *bench) listed() (n int) {
	b.Tick(b.now, 100)
	for _, a := range b.sends() {
		if a.Msg.Kind == syncwire.KindDigestList {
			n++
		}
	}
	return n
}

// hold puts a record where it is counted.
func (b *bench) hold(s flow.Session) {
	b.t.Helper()
	if _, err := b.store.Insert(&s); err != nil {
		b.t.Fatal(err)
	}
	b.Recount()
	b.now += 1_000 // nothing changed just now
	b.Done()
}

// TestALeafIsListedWhenItDifferedOftenEnough, by each whose records differ.
func TestALeafIsListedWhenItDifferedOftenEnough(t *testing.T) {
	total := func(b *bench) {
		d := syncwire.DigestSums{Bucket: leafBucket, Of: syncwire.DigestAll, Sums: [4]uint64{1, 2, 3, 4}}
		b.Digest(b.now, nodeID(2), &d, true, b.Epoch())
	}
	for name, c := range map[string]struct {
		owner  uint32
		rounds int
		differ func(b *bench)
	}{
		"theirs, in the second round": {2, 2, func(b *bench) { b.unequal(2) }},
		"mine, in the second answer":  {1, 2, func(b *bench) { b.lacks(2, syncwire.LeafUnequal) }},
		"nobody's, in the second round": {7, 2, func(b *bench) {
			d := b.sums(2)
			d.Orphans = false
			b.Digest(b.now, nodeID(2), d, true, b.Epoch())
		}},
		"a third member's, in the fourth, after that": {3, 4, total},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 0)
			b.agree(2)
			b.agree(3)
			b.hold(session(1, 2, 5, 100<<16, c.owner, 1, 2))
			if c.owner != 7 {
				b.hold(session(2, 2, 6, 100<<16, 7, 1, 2)) // of another class
				b.agree(2)
			}
			for i := range c.rounds {
				if n := b.listed(); n != 0 {
					t.Fatalf("%d listed after %d rounds", n, i)
				}
				if c.differ(b); !b.Repairing(nodeID(2)) {
					t.Fatalf("no repair after round %d", i+1)
				}
			}
			if n := b.listed(); n != 1 {
				t.Fatalf("%d listed after %d rounds, want 1", n, c.rounds)
			}
		})
	}
	t.Run("not if it was equal in between", func(t *testing.T) {
		b, _, _ := foreign(t, 0)
		b.unequal(2)
		b.agree(2)
		b.unequal(2)
		if n := b.listed(); n != 0 {
			t.Errorf("%d listed", n)
		}
	})
	t.Run("not again while it is being listed", func(t *testing.T) {
		b, _, _ := foreign(t, 0)
		for i := range 200 {
			b.hold(session(2+i, 3, uint16(20+i), 100<<16, 2, 1, 2))
		}
		b.unequal(2)
		b.unequal(2)
		n := 0
		for range 8 { // a pass over the store takes more ticks
			b.Tick(b.now, 10)
			b.unequal(2)
		}
		for range 100 {
			n += b.listed()
		}
		if n != 201 {
			t.Errorf("%d listed, want all 201 once", n)
		}
	})
}

// What proves that a leaf differs, and what is said of it otherwise.
func TestWhatADigestProves(t *testing.T) {
	const equal, whole, unsure, unequal = 0xaa, 0xff, 0x55, 0x00
	s := session(1, 2, 5, 100<<16, 2, 1, 2)
	for name, c := range map[string]struct {
		before  func(b *bench)
		change  func(d *syncwire.DigestSums) // nil: the sums are those held here
		ordered bool
		want    uint8
		rounds  int // in which it stays so
	}{
		"equal sums are equal":                              {nil, nil, true, whole, 30},
		"equal sums are equal in whatever order they came":  {nil, nil, false, whole, 30},
		"unequal ones are unequal":                          {nil, func(*syncwire.DigestSums) {}, true, unequal, 30},
		"this node's own changes make no difference unsure": {func(b *bench) { b.openSome() }, func(*syncwire.DigestSums) {}, true, unequal, 30},
		"nor do the member's own": {func(b *bench) {
			x := s
			x.Ver++
			b.hear(2, syncwire.KindSession, x)
		}, func(*syncwire.DigestSums) {}, true, unequal, 30},
		"out of order nothing is told for 16 rounds":           {nil, func(*syncwire.DigestSums) {}, false, unsure, 16},
		"nor for 4 if the member's sums were just changed":     {nil, func(d *syncwire.DigestSums) { d.Unsure = 15 }, true, unsure, 4},
		"nor for 4 just after a takeover here":                 {func(b *bench) { b.disturbAll() }, func(*syncwire.DigestSums) {}, true, unsure, 4},
		"but 200 ms later":                                     {func(b *bench) { b.disturbAll(); b.now += 200 }, func(*syncwire.DigestSums) {}, true, unequal, 30},
		"equal, while something of a third member is in doubt": {func(b *bench) { b.PeerDesync(b.now, nodeID(3)) }, nil, true, equal, 30},
		"not for a third member that was silent for a minute": {func(b *bench) {
			b.Suspect(b.now, nodeID(3), true)
			b.now += 60_001
		}, nil, true, whole, 30},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 0)
			b.hold(s)
			b.calmView()
			b.Done()
			if c.before != nil {
				c.before(b)
			}
			b.replies()
			for i := range c.rounds {
				d := b.sums(2)
				if c.change != nil {
					c.change(d)
					for i := range d.Sums {
						d.Sums[i]++
					}
				}
				b.Digest(b.now, nodeID(2), d, c.ordered, b.Epoch())
				if got := b.replies(); len(got) != 1 || got[0] != c.want {
					t.Fatalf("in round %d answered %x, want %x", i, got, c.want)
				}
			}
			// What can't be told is no repair, and lets nobody wait; only for so long, though.
			if c.want == unsure {
				if b.Repairing(nodeID(2)) {
					t.Error("what is unsure is under repair")
				}
				d := b.sums(2)
				c.change(d)
				b.differ(d, 2, c.ordered)
				if got := b.replies(); got[0] != unequal || !b.Repairing(nodeID(2)) {
					t.Errorf("then answered %x, under repair: %v", got, b.Repairing(nodeID(2)))
				}
			}
		})
	}
}

// openSome opens a session in each leaf of the bucket here.
func (b *bench) openSome() {
	for i := range 40 {
		s := session(50+i, 1, uint16(50+i), 0, 0, 0, 0)
		if _, err := b.Create(b.now, &s); err != nil {
			b.t.Fatal(err)
		}
	}
}

// disturbAll takes sessions over in each leaf of the bucket.
func (b *bench) disturbAll() {
	b.Suspect(b.now, nodeID(3), true)
	for i := range 40 {
		s := session(50+i, 2, uint16(50+i), 100<<16, 3, 1, 2)
		b.hear(3, syncwire.KindSession, s)
		b.Packet(b.now, b.handle(s), in(0))
		if b.held(s).Owner != nodeID(1) {
			b.t.Fatal("not taken over")
		}
	}
	b.agree(3)
}

func TestDigestRounds(t *testing.T) {
	count := func(b *bench, ms int64) (all, one int) {
		for end := b.now + ms; b.now < end; b.now += 50 {
			b.Tick(b.now, 100)
			for _, a := range b.Actions() {
				if a.Kind == syncer.ActDigest && a.Digest.Bucket == 0 && a.Digest.Of == syncwire.DigestOwn {
					if a.To == syncer.AllNodes {
						all++
					} else {
						one++
					}
				}
			}
			b.Done()
		}
		return all, one
	}
	b := newBench(t, 0)
	b.calmView()
	if all, one := count(b, 20_000); all < 3 || all > 5 || one != 0 {
		t.Errorf("in peace %d rounds to all and %d to one in 20 s", all, one)
	}
	b.PeerDesync(b.now, nodeID(3))
	if _, one := count(b, 4_000); one < 6 || one > 8 {
		t.Errorf("under repair %d rounds to the member in 4 s", one)
	}
	b.agree(3)
	if _, one := count(b, 4_000); one != 0 {
		t.Errorf("%d rounds after it was equal", one)
	}
}

// TestOrderOfArrivalDoesNotMatter gives two nodes the same records in different orders: what they
// hold agrees once they told each other.
func TestOrderOfArrivalDoesNotMatter(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 2))
		var all []flow.Session
		for range 2 + r.IntN(8) {
			s := session(r.IntN(2), 2, uint16(5+r.IntN(2)), flow.Birth(100+r.IntN(2))<<16, uint32(3+r.IntN(2)), uint32(1+r.IntN(3)), uint32(2+r.IntN(3)))
			// One version says one thing.
			s.Flags = []flow.Flags{0, 0, flow.SoftTomb, flow.HardTomb}[(s.Term*7+s.Ver*3+s.Owner.ID+uint32(s.Birth>>16))%4]
			all = append(all, s)
		}
		var nodes [2]*bench
		for i := range nodes {
			nodes[i] = newBench(t, 0)
			nodes[i].SetView(nodes[i].now, view(2, 1, 2, 3, 4))
			for _, j := range r.Perm(len(all)) {
				nodes[i].hear(3, syncwire.KindSession, all[j])
			}
		}
		for range 6 {
			a, b := nodes[0].store.sessions(), nodes[1].store.sessions()
			for _, s := range a {
				nodes[1].hear(2, syncwire.KindSession, s)
			}
			for _, s := range b {
				nodes[0].hear(2, syncwire.KindSession, s)
			}
		}
		a, b := nodes[0].store.sessions(), nodes[1].store.sessions()
		if len(a) != len(b) {
			t.Fatalf("seed %d: %d and %d records", seed, len(a), len(b))
		}
		for i := range a {
			if !a[i].SameLife(&b[i]) || a[i].CompareVersion(&b[i]) != 0 || a[i].Flags&(flow.Tomb) != b[i].Flags&flow.Tomb {
				t.Fatalf("seed %d:\n%+v\n%+v", seed, a[i], b[i])
			}
		}
	}
}
