package conntrack

import (
	"unsafe"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// BurstMax is how many keys go through the stages of a look-up together.
const BurstMax = 256

// burst is the scratch of a look-up: what one stage leaves for the next. Offsets are in bytes from the start of a region,
// multiples of 64.
type burst struct {
	hash   [BurstMax]uint64
	bucket [BurstMax]uint64 // offset of the bucket
	wait   [BurstMax]uint8  // keys that aren't in their home bucket, which has entries elsewhere
	away   [BurstMax]uint64 // offsets of the other buckets, then of the records, of those in wait
}

// LookupBatch looks up keys into out, which must be as long; 0 means not found. Afterwards the records found are in the
// cache. Of IPv4 keys the last three address words must be 0, as they are in every valid one.
func (t *Table) LookupBatch(keys []flow.Key, out []Ref) {
	out = out[:len(keys)]
	for at := 0; at < len(keys); at += BurstMax {
		end := min(at+BurstMax, len(keys))
		t.lookup(keys[at:end], out[at:end])
	}
}

func (t *Table) lookup(keys []flow.Key, out []Ref) {
	for i := range keys {
		t.Ask(i, &keys[i])
	}
	t.Match(out)
	for i := 0; i < len(keys); i++ {
		if i += confirmed(t.rec, t.paths.all, &keys[i], &out[i], len(keys)-i); i < len(keys) {
			out[i] = t.Confirm(i, &keys[i], out[i])
		}
	}
}

// The stages of a look-up. The whole burst goes through one before the next, as each asks for the memory that the next one reads: what a large
// burst asked for first has come by then, and the rest comes while the next one works.
//
//	Ask, AskPlain    say what key number i is, and ask for its home bucket
//	Match            finds the records of all and asks for them
//	Follow, Confirm  look at them
//
// The table may change on the way: Follow and Confirm go by what it holds then.

// Ask makes k key number i of the burst.
func (t *Table) Ask(i int, k *flow.Key) {
	b := &t.burst
	i &= BurstMax - 1
	b.hash[i] = t.secret.hash(k)
	b.bucket[i] = t.ix.home(b.hash[i]) * 64
	fetch(unsafe.Pointer(unsafe.SliceData(t.ix.bucket)), b.bucket[i:i+1])
}

// AskPlain is Ask of the tuples of plain packets, from number at on.
func (t *Table) AskPlain(at int, p []Plain) {
	if uint(at) > BurstMax || len(p) > BurstMax-at {
		panic("conntrack: more keys than a burst holds")
	}
	if len(p) > 0 {
		askPlain(&t.burst, at, &p[0], len(p), &t.secret, unsafe.SliceData(t.ix.bucket), t.ix.n)
	}
}

// Match sets out, at most BurstMax, to what most likely has each key, or 0.
func (t *Table) Match(out []Ref) {
	if len(out) > BurstMax {
		panic("conntrack: more keys than a burst holds")
	}
	if len(out) == 0 {
		return
	}
	n := match(&t.burst, &out[0], len(out), unsafe.SliceData(t.ix.bucket), unsafe.SliceData(t.rec))
	if n > 0 {
		t.matchAway(out, n)
	}
}

// matchAway is Match of the n waiting keys, in their other buckets.
func (t *Table) matchAway(out []Ref, n int) {
	b := &t.burst
	buckets, wait, away := unsafe.Pointer(unsafe.SliceData(t.ix.bucket)), b.wait[:n], b.away[:n]
	for j, i := range wait {
		away[j] = t.ix.other(b.bucket[i]/64, fingerprint(b.hash[i])) * 64
	}
	fetch(buckets, away)
	for j, i := range wait {
		bk := (*bucket)(unsafe.Add(buckets, away[j]))
		away[j] = 0
		if m := bk.match(fingerprint(b.hash[i])); m != 0 {
			out[i] = bk.ref[slotOf(m)]
			away[j] = uint64(out[i]>>1) * 64
		}
	}
	fetch(unsafe.Pointer(unsafe.SliceData(t.rec)), away)
}

// Confirm is what has key number i of the burst, for which Match gave ref, or 0.
func (t *Table) Confirm(i int, k *flow.Key, ref Ref) Ref {
	if t.matches(ref, k) && t.at(ref.Handle()).indexed(ref.Dir()) {
		return ref
	}
	return t.find(k, t.burst.hash[i&(BurstMax-1)])
}

// Near asks for what Find and Insert of two tuples will read first. It costs no wait: whoever knows tuples before their turn gives them
// here, and does something else meanwhile.
func (t *Table) Near(a, b flow.Key) { t.fetchBuckets(t.secret.hash(&a), t.secret.hash(&b)) }

// fetchBuckets asks for the home buckets of two hashes.
func (t *Table) fetchBuckets(a, b uint64) {
	off := [2]uint64{t.ix.home(a) * 64, t.ix.home(b) * 64}
	fetch(unsafe.Pointer(unsafe.SliceData(t.ix.bucket)), off[:])
}

// fetch asks for the lines at base plus each offset.
func fetch(base unsafe.Pointer, off []uint64) { prefetch(base, &off[0], len(off)) }
