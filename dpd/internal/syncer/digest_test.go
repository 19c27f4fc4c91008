package syncer_test

import (
	"math/rand/v2"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

func (b *bench) unequal(from uint32) {
	d := syncwire.DigestSums{Bucket: 0x10, Sums: [4]uint64{1, 2, 3, 4}}
	b.Digest(b.now, nodeID(from), &d)
}

func (b *bench) listed() (n int) {
	for _, a := range b.sends() {
		if a.Msg.Kind == syncwire.KindDigestList {
			n++
		}
	}
	return n
}

func TestALeafIsListedWhenItDifferedInTwoRounds(t *testing.T) {
	b, _, _ := foreign(t, 0)
	b.unequal(3)
	b.Tick(b.now, 100)
	if n := b.listed(); n != 0 {
		t.Fatalf("%d listed after one round", n)
	}
	b.unequal(3)
	b.Tick(b.now, 100)
	if n := b.listed(); n != 1 {
		t.Fatalf("%d listed after two rounds, want 1", n)
	}
	b.unequal(3)
	b.agree(3)
	b.unequal(3)
	b.Tick(b.now, 100)
	if n := b.listed(); n != 0 {
		t.Fatalf("%d listed although equal in between", n)
	}
}

func TestADifferenceJustAfterAChangeOfOnesOwnProvesNothing(t *testing.T) {
	b := newBench(t, 0)
	s := session(1, 1, 5, 0, 0, 0, 0)
	if _, err := b.Create(b.now, &s); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		b.unequal(3)
	}
	b.Tick(b.now, 100)
	if n := b.listed(); n != 0 {
		t.Fatalf("%d listed at once", n)
	}
	for range 8 { // a leaf that never rests is compared all the same
		b.unequal(3)
	}
	b.Tick(b.now, 100)
	if n := b.listed(); n != 1 {
		t.Errorf("%d listed, want 1", n)
	}
}

func TestDigestRounds(t *testing.T) {
	count := func(b *bench, ms int64) (all, one int) {
		for end := b.now + ms; b.now < end; b.now += 50 {
			b.Tick(b.now, 100)
			for _, a := range b.Actions() {
				if a.Kind == syncer.ActDigest && a.Digest.Bucket == 0 {
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

func TestARepairBeginsAtOnce(t *testing.T) {
	sent := func(b *bench) (n int) {
		b.Tick(b.now, 100)
		for _, a := range b.Actions() {
			if a.Kind == syncer.ActDigest && a.To == 3 && a.Digest.Bucket == 0 {
				n++
			}
		}
		b.Done()
		return n
	}
	gone := syncer.Ref{Birth: 77 << 16, Handle: 99}
	for name, start := range map[string]func(b *bench){
		"after DESYNC":                          func(b *bench) { b.PeerDesync(b.now, nodeID(3)) },
		"after a loss on the way to the thread": func(b *bench) { b.Dropped(b.now) },
		"at a suspicion":                        func(b *bench) { b.Suspect(b.now, nodeID(3), true) },
		"at the end of a bulk":                  func(b *bench) { b.StartBulk(b.now, nodeID(3)); b.Tick(b.now, 1000) },
		"after a GAP for what is gone":          func(b *bench) { b.Resend(b.now, nodeID(3), 1, gone) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 0)
			b.calmView()
			b.now += 5_000 - b.now%5_000
			b.Tick(b.now, 100) // the round to all is just over
			b.Done()
			b.now += 10
			start(b)
			if n := sent(b); n != 1 {
				t.Fatalf("%d rounds at once, want 1", n)
			}
			// However often it begins anew, no more than repairs send.
			n := 0
			for end := b.now + 2_000; b.now < end; b.now += 10 {
				b.PeerDesync(b.now, nodeID(3))
				n += sent(b)
			}
			if n < 3 || n > 5 {
				t.Errorf("%d rounds in 2 s, want one each 500 ms", n)
			}
		})
	}
	t.Run("out of the back-off that fruitless lists led to", func(t *testing.T) {
		b, _, _ := foreign(t, 0)
		for range 12 { // lists that mend nothing
			b.now += 5_000
			b.unequal(3)
			b.unequal(3)
			sent(b)
		}
		b.now += 600
		sent(b)
		b.now += 600
		if n := sent(b); n != 0 {
			t.Fatalf("%d rounds: there is no back-off", n)
		}
		b.PeerDesync(b.now, nodeID(3))
		if n := sent(b); n != 1 {
			t.Errorf("%d rounds at once, want 1", n)
		}
	})
}

// TestSumsFollowEveryChange drives a Shard with random events: the running sums must be those of its records at every step.
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
			case k == 8 && ok:
				b.Syn(b.now, h, r.Uint32(), true)
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

// TestOrderOfArrivalDoesNotMatter gives two nodes the same records in different orders: what they hold agrees once they
// told each other.
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
