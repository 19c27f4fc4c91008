package sim

import (
	"fmt"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// churnRows are rates of changes a second, and for how many milliseconds of them a run is worth its
// time. Each node sends a round of digests each 5 s, one of them in the middle of the short runs.
var churnRows = []struct{ nodes, rate, ms int }{
	{2, 1_000, 11_000}, {3, 1_000, 11_000}, {2, 10_000, 11_000}, {3, 10_000, 6_000}, {2, 100_000, 3_000}, {3, 100_000, 2_000},
}

// Nothing is lost: whatever opens and closes, digests are equal, nothing is repaired, and no UDP
// flow waits.
func TestChurnIsNoDifference(t *testing.T) {
	for _, c := range churnRows {
		if c.rate > churnMost {
			continue
		}
		t.Run(fmt.Sprintf("%d nodes, %d changes a second", c.nodes, c.rate), func(t *testing.T) {
			w := newRates(t, c.nodes, 1<<16+c.rate*c.ms/1000)
			w.run(max(4_500-c.ms/2, 0), 0)
			before, bytes := w.count(syncer.DigestEqual), w.bytes
			w.runCalmly(c.ms, c.rate)
			equal := w.count(syncer.DigestEqual) - before
			if least := uint64(1024 * c.nodes * (c.nodes - 1)); equal < least {
				t.Errorf("%d leaves were found equal, want at least %d", equal, least)
			}
			if n := w.count(syncer.DigestUnequal) + w.count(syncer.DigestUnsure) + w.count(syncer.Listed); n != 0 {
				t.Errorf("%d leaves unequal, %d unsure, %d records listed", w.count(syncer.DigestUnequal), w.count(syncer.DigestUnsure), w.count(syncer.Listed))
			}
			for l := range bytes {
				bytes[l] = (w.bytes[l] - bytes[l]) * 1000 / c.ms / c.nodes / (c.nodes - 1)
			}
			t.Logf("%d equal; to each peer %d B/s control, %d B/s live, %d B/s bulk", equal, bytes[syncwire.LaneControl], bytes[syncwire.LaneLive], bytes[syncwire.LaneBulk])
			w.run(20, 0)
			w.alike()
		})
	}
}

// A record changes hands where its packets come by: neither side's word alone makes the sums, and
// no repair follows from that.
func TestTakeoversUnderChurnAreNoDifference(t *testing.T) {
	w := newRates(t, 3, 1<<18)
	w.run(1_500, 5_000)
	var visits []visit
	for range 8_000 {
		w.step(5)
		if len(w.live) > 200 && w.now%5 == 0 {
			// A young session, so that it isn't closed before it is taken.
			visits = append(visits, w.visit(w.live[len(w.live)-1-w.rng.IntN(100)]))
		}
		visits = w.pass(visits)
		if w.now%50 == 0 {
			w.peaceful("under way")
		}
	}
	if n := w.count(syncer.TakenOver); n < 1_000 {
		t.Errorf("%d takeovers", n)
	}
	if n := w.count(syncer.Listed); n != 0 {
		t.Errorf("%d records listed", n)
	}
}

// Datagrams overtake each other: a digest among them proves nothing unless it is equal.
func TestDisorderUnderChurnIsNoDifference(t *testing.T) {
	w := newRates(t, 2, 1<<18)
	w.late = 3
	w.runCalmly(11_000, 10_000)
	if n := w.count(syncer.DigestUnsure); n == 0 {
		t.Error("no digest came out of order")
	}
	if n := w.count(syncer.DigestUnequal) + w.count(syncer.Listed); n != 0 {
		t.Errorf("%d leaves unequal or records listed", n)
	}
}

// What is lost for good is found and sent, within two seconds of its end, and little else.
func TestLossUnderChurnIsMended(t *testing.T) {
	for name, c := range map[string]struct {
		nodes, rate int
		spoil       func(w *rates)
		all         bool // the loss is in all leaves
	}{
		"2 % of the datagrams": {2, 10_000, func(w *rates) {
			w.loss = 0.02
			w.run(3_000, 10_000)
			w.loss = 0
		}, false},
		"2 % of the datagrams, three nodes": {3, 10_000, func(w *rates) {
			w.loss = 0.02
			w.run(3_000, 10_000)
			w.loss = 0
		}, false},
		"2 % of the datagrams at 100,000 changes a second": {2, 100_000, func(w *rates) {
			w.loss = 0.02
			w.run(1_000, 100_000)
			w.loss = 0
		}, false},
		"what a full inbox did not take": {2, 10_000, func(w *rates) {
			w.nodes[0].shards[0].jamIn = 600
			w.run(100, 10_000)
		}, false},
		"what a full inbox of three nodes did not take": {3, 10_000, func(w *rates) {
			w.nodes[1].shards[1].jamIn = 600
			w.run(100, 10_000)
		}, false},
		"what a full outbox did not take": {2, 10_000, func(w *rates) {
			w.nodes[1].shards[0].jamOut = 600
			w.run(100, 10_000)
		}, false},
		"a second of a black hole": {2, 10_000, func(w *rates) {
			w.loss = 1
			w.run(1_000, 10_000)
			w.loss = 0
		}, false},
		"a black hole for longer than a GAP can ask for": {2, 10_000, func(w *rates) {
			w.life = 8_000
			w.loss = 1
			w.run(6_000, 10_000)
			w.loss = 0
		}, true},
	} {
		if c.rate > churnMost {
			continue
		}
		t.Run(name, func(t *testing.T) {
			w := newRates(t, c.nodes, 1<<16+c.rate*6)
			w.run(2_600, 0) // so that a round of digests falls into the loss
			w.run(1_500, c.rate)
			w.peaceful("before the loss")
			w.life = 4_000 // what is lost does not go away by itself
			c.spoil(w)
			repaired, _ := w.trouble()
			for range 10 { // a loss may show only at the next GAP
				w.run(20, c.rate)
				now, _ := w.trouble()
				repaired = repaired || now
			}
			w.run(1_800, c.rate)
			w.peaceful("two seconds later")
			// A leaf holds its share of the sessions of one owner; each side lists it, in two
			// rounds or so.
			leaf := len(w.live)/c.nodes/1024 + 1
			lost := w.dropped()
			if c.all {
				lost = 1024
			}
			if n, most := int(w.count(syncer.Listed)), 6*leaf*lost; n > most {
				t.Errorf("%d records listed for %d lost messages, %d in a leaf: want at most %d", n, lost, leaf, most)
			}
			if w.dropped() > 0 && (!repaired || w.count(syncer.DigestUnequal) == 0) {
				t.Errorf("%d messages dropped, under repair %v, leaves unequal %d", w.dropped(), repaired, w.count(syncer.DigestUnequal))
			}
			t.Logf("gone %d, dropped %d, listed %d, in a leaf %d, unequal %d, unsure %d, gaps lost %d", w.count(syncer.ResendGone), w.dropped(), w.count(syncer.Listed), leaf,
				w.count(syncer.DigestUnequal), w.count(syncer.DigestUnsure), w.syncCount(syncer.SyncGapLost))
			w.run(50, 0)
			w.alike()
		})
	}
}
