package syncer_test

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

func TestARepairEndsLeafByLeaf(t *testing.T) {
	b := newBench(t, 0)
	b.calmView()
	b.now += 1_000
	b.PeerDesync(b.now, nodeID(3))
	b.agreeOn(3, 0, 256) // its answers are to a round from before
	if !b.Repairing(nodeID(3)) {
		t.Fatal("ended by answers to what was sent before the loss")
	}
	b.Tick(b.now, 100)
	b.agreeOn(3, 0, 200)
	if !b.Repairing(nodeID(3)) {
		t.Fatal("ended although 56 buckets are in doubt")
	}
	b.unequal(3) // one that is through
	b.agreeOn(3, 200, 256)
	if !b.Repairing(nodeID(3)) {
		t.Fatal("ended although one bucket differs")
	}
	b.agreeOn(3, leafBucket, leafBucket+1)
	if b.Repairing(nodeID(3)) {
		t.Error("nothing is in doubt, and it goes on")
	}
}

// What was lost counts as received once everything was equal, both ways, in rounds that were made
// afterwards.
func TestALossHeals(t *testing.T) {
	lossy := func(t *testing.T) (b *bench, seq uint64) {
		b = newBench(t, 0)
		b.calmView()
		s := session(1, 1, 5, 0, 0, 0, 0)
		h, err := b.Create(b.now, &s)
		if err != nil {
			t.Fatal(err)
		}
		b.Delete(b.now, h)
		m := b.sends()
		seq = m[len(m)-1].Seq
		b.PeerDesync(b.now, nodeID(3))
		b.Confirmed(nodeID(3), seq)
		if b.Has(nodeID(3), seq) {
			t.Fatal("confirmed although it was lost")
		}
		return b, seq
	}
	for name, c := range map[string]struct {
		after func(b *bench)
		want  bool
	}{
		"by all leaves in one round": {func(b *bench) { b.Tick(b.now, 1); b.agree(3) }, true},
		"by all leaves in several": {func(b *bench) {
			for i := range 4 {
				b.now += 500
				b.Tick(b.now, 1)
				b.agreeOn(3, i*64, i*64+64)
			}
		}, true},
		"not by a round from before":       {func(b *bench) { b.agree(3) }, false},
		"not by another member's":          {func(b *bench) { b.Tick(b.now, 1); b.agree(2) }, false},
		"not by all leaves but one bucket": {func(b *bench) { b.Tick(b.now, 1); b.agreeOn(3, 0, 255) }, false},
		"not if more was lost in between": {func(b *bench) {
			b.Tick(b.now, 1)
			b.agreeOn(3, 0, 255)
			b.openSome()
			b.PeerDesync(b.now, nodeID(3))
			b.agreeOn(3, 255, 256)
		}, false},
		"not if the member may miss something of another one": {func(b *bench) {
			b.Tick(b.now, 1)
			b.agreeOn(3, 0, 255)
			d := syncwire.DigestReply{Round: b.LastRound(nodeID(3)), Bucket: 255, States: 0xaa}
			b.Digest(b.now, nodeID(3), &syncwire.DigestSums{Bucket: 255}, true, b.Epoch())
			b.DigestReply(b.now, nodeID(3), &d)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			b, seq := lossy(t)
			c.after(b)
			if got := b.Has(nodeID(3), seq); got != c.want {
				t.Errorf("counts as received: %v, want %v", got, c.want)
			}
			if b.Has(nodeID(3), seq+1_000) {
				t.Error("what was not sent counts as received")
			}
		})
	}
}

// A UDP flow without a session waits for peers if it may well have one there, and only then.
func TestWhatLetsAUDPFlowWait(t *testing.T) {
	k := session(1, 2, 5, 0, 0, 0, 0).Orig
	k.Meta = k.Meta&^0xff00 | flow.ProtoUDP<<8
	for name, c := range map[string]struct {
		before func(b *bench)
		want   syncer.MissVerdict
	}{
		"something was lost on the way":                        {func(b *bench) { b.PeerDesync(b.now, nodeID(3)) }, syncer.MissWait},
		"a member's records are known to differ":               {func(b *bench) { b.unequal(3) }, syncer.MissWait},
		"they can't be told":                                   {func(b *bench) { b.differ(b.sums(3), 3, false) }, syncer.MissSchedule},
		"the member lacks this node's":                         {func(b *bench) { b.lacks(3, syncwire.LeafUnequal) }, syncer.MissSchedule},
		"the member can't tell about this node's":              {func(b *bench) { b.lacks(3, syncwire.LeafUnsure) }, syncer.MissSchedule},
		"a member was suspected a moment ago":                  {func(b *bench) { b.Suspect(b.now, nodeID(3), true) }, syncer.MissWait},
		"a member has been silent for more than 10 s":          {func(b *bench) { b.Suspect(b.now, nodeID(3), true); b.now += 10_001 }, syncer.MissSchedule},
		"orphans differ where the views do too":                {func(b *bench) { b.orphansDiffer(b.Epoch()+1, 2) }, syncer.MissSchedule},
		"orphans differ":                                       {func(b *bench) { b.orphansDiffer(b.Epoch(), 2) }, syncer.MissWait},
		"orphans differ for long, whatever is done about that": {func(b *bench) { b.orphansDiffer(b.Epoch(), 60) }, syncer.MissSchedule},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 0)
			b.calmView()
			if got := b.Miss(b.now, &k, leafBucket); got != syncer.MissSchedule {
				t.Fatalf("before anything happened verdict %d", got)
			}
			c.before(b)
			if got := b.Miss(b.now, &k, leafBucket); got != c.want {
				t.Errorf("verdict %d, want %d", got, c.want)
			}
		})
	}
}

// orphansDiffer is so many rounds in which a member holds orphans that are not here.
func (b *bench) orphansDiffer(view uint64, rounds int) {
	for range rounds {
		b.Digest(b.now, nodeID(3), &syncwire.DigestSums{Bucket: leafBucket, Orphans: true}, true, view)
		b.Digest(b.now, nodeID(3), &syncwire.DigestSums{Bucket: leafBucket, Of: syncwire.DigestOrphans, Sums: [4]uint64{1}}, true, view)
	}
}

// Who is in doubt asks, and whoever is asked answers once in 500 ms though it has no doubts itself.
func TestDigestsAreAskedFor(t *testing.T) {
	b := newBench(t, 0)
	b.calmView()
	rounds := func(ms int64) (n, asking int) {
		for end := b.now + ms; b.now < end; b.now += 10 {
			b.Digest(b.now, nodeID(3), &syncwire.DigestSums{Bucket: 1, Ask: true}, true, b.Epoch())
			b.Tick(b.now, 100)
			for _, a := range b.Actions() {
				if a.Kind == syncer.ActDigest && a.To == 3 && a.Digest.Bucket == 0 && a.Digest.Of == syncwire.DigestOwn {
					n++
					if a.Digest.Ask {
						asking++
					}
				}
			}
			b.Done()
		}
		return n, asking
	}
	b.now += 5_000 - b.now%5_000
	b.Tick(b.now, 100)
	b.Done()
	if n, asking := rounds(2_000); n < 4 || n > 5 || asking != 0 {
		t.Errorf("asked for 2 s it sent %d rounds, %d asked in turn", n, asking)
	}
	b.PeerDesync(b.now, nodeID(3))
	if n, asking := rounds(1_000); n < 2 || asking != n {
		t.Errorf("in doubt %d of %d rounds ask", asking, n)
	}
}

func TestARepairBeginsAtOnce(t *testing.T) {
	sent := func(b *bench) (n int) {
		b.Tick(b.now, 100)
		for _, a := range b.Actions() {
			if a.Kind == syncer.ActDigest && a.To == 3 && a.Digest.Bucket == 0 && a.Digest.Of == syncwire.DigestOwn {
				n++
			}
		}
		b.Done()
		return n
	}
	gone := syncer.Ref{Birth: 77 << 16, Handle: 99}
	for name, start := range map[string]func(b *bench){
		"after DESYNC":                          func(b *bench) { b.PeerDesync(b.now, nodeID(3)) },
		"after a loss on the way to the thread": func(b *bench) { b.Dropped(b.now, syncer.AllNodes) },
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
		b.calmView()
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
