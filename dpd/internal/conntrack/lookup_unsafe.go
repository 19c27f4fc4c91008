package conntrack

import (
	"unsafe"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// BurstMax is how many keys go through the stages of LookupBatch together.
const BurstMax = 256

// Group is how many keys go through a stage at once, so that the work on one group overlaps with the coming of another's lines. It is
// small: a processor waits for some 20 lines at once and forgets prefetches beyond.
const Group = 16

// burst is the scratch of a look-up: what one stage leaves for the next. Offsets are in bytes from the start of a region,
// multiples of 64.
type burst struct {
	hash   [BurstMax]uint64
	bucket [BurstMax]uint64 // offset of the bucket
	record [BurstMax]uint64 // offset of the record; of a key in wait, of nothing
	away   [Group]uint64    // offsets of the other buckets, then of the records, of those in wait
	wait   [BurstMax]uint8  // keys that aren't in their home bucket, which has entries elsewhere, from the first of their group on
	waits  [BurstMax]uint8  // how many these are, by the first key of the group
}

// LookupBatch looks up keys into out, which must be as long; 0 means not found. Afterwards the records found are in the
// cache or on their way. Of IPv4 keys the last three address words must be 0, as they are in every valid one.
func (t *Table) LookupBatch(keys []flow.Key, out []Ref) {
	out = out[:len(keys)]
	for len(keys) > BurstMax {
		t.lookup(keys[:BurstMax], out[:BurstMax])
		keys, out = keys[BurstMax:], out[BurstMax:]
	}
	if len(keys) > 0 {
		t.lookup(keys, out)
	}
}

// lookup is LookupBatch of a burst. Each stage comes a turn of the loop behind the one before.
func (t *Table) lookup(keys []flow.Key, out []Ref) {
	groups := (len(keys) + Group - 1) / Group
	for turn := range groups + 3 {
		if at := turn * Group; turn < groups {
			for i := at; i < min(at+Group, len(keys)); i++ {
				t.Ask(i, &keys[i])
			}
		}
		if g := turn - 1; g >= 0 && g < groups {
			t.Match(out, g*Group, min((g+1)*Group, len(keys)))
		}
		if g := turn - 2; g >= 0 && g < groups {
			t.Rest(out, g*Group, min((g+1)*Group, len(keys)))
		}
		if at := (turn - 3) * Group; at >= 0 {
			for i := at; i < min(at+Group, len(keys)); i++ {
				out[i] = t.Confirm(i, &keys[i], out[i])
			}
		}
	}
}

// The stages of a look-up that wait for memory. A caller that has other work with the same packets does it between the stages, so that it
// overlaps with the coming of the lines. out is that of the whole burst of at most BurstMax; Match and Rest take the same ranges of at
// most Group keys. If the table changes on the way, what was found may be wrong, and Find is to be asked.
//
//	Ask, AskPlain   say what key number i is, and ask for its home bucket
//	Match, Rest     find the records and ask for them
//	Follow, Confirm look at them

// Ask makes k key number i of the burst.
func (t *Table) Ask(i int, k *flow.Key) {
	b := &t.burst
	i &= BurstMax - 1
	b.hash[i] = t.secret.hash(k)
	b.bucket[i] = t.ix.home(b.hash[i]) * 64
	prefetch(unsafe.Pointer(unsafe.SliceData(t.ix.bucket)), &b.bucket[i], 1)
}

// AskPlain is Ask of the tuples of plain packets, from number at on.
func (t *Table) AskPlain(at int, p []Plain) {
	if len(p) > 0 && uint(at+len(p)) <= BurstMax {
		askPlain(&t.burst, at, &p[0], len(p), &t.secret, unsafe.SliceData(t.ix.bucket), t.ix.n)
	}
}

// Match sets out to what most likely has each key, by the home buckets, and asks for those records. What it leaves at 0 may be
// elsewhere.
func (t *Table) Match(out []Ref, from, to int) {
	b := &t.burst
	from &= BurstMax - 1
	out = out[from:min(to, from+Group)]
	if len(out) == 0 {
		return
	}
	buckets := unsafe.SliceData(t.ix.bucket)
	n := match(b, from, &out[0], len(out), buckets, unsafe.SliceData(t.rec))
	if b.waits[from] = uint8(n); n > 0 {
		prefetch(unsafe.Pointer(buckets), t.otherBuckets(from, n), n)
	}
}

// Rest completes out with what is not in its home bucket. It asks for the records once more: the processor forgets a prefetch that comes
// when it waits for as many lines as it can.
func (t *Table) Rest(out []Ref, from, to int) {
	if from >= to {
		return
	}
	from &= BurstMax - 1
	prefetch(unsafe.Pointer(unsafe.SliceData(t.rec)), &t.burst.record[from], min(to-from, Group))
	if n := t.burst.waits[from]; n > 0 {
		t.lookupAway(out, from, int(n))
	}
}

// Confirm is what surely has key number i of the burst, for which the stages gave ref, or 0. Nothing may have come to the table
// or gone from it since.
func (t *Table) Confirm(i int, k *flow.Key, ref Ref) Ref {
	if ref == 0 || t.matches(ref, k) {
		return ref
	}
	return t.find(k, t.burst.hash[i&(BurstMax-1)])
}

// fetchBuckets prefetches the home buckets of two hashes.
func (t *Table) fetchBuckets(a, b uint64) {
	off := [2]uint64{t.ix.home(a) * 64, t.ix.home(b) * 64}
	prefetch(unsafe.Pointer(unsafe.SliceData(t.ix.bucket)), &off[0], len(off))
}

// Near asks for what Find and Insert of two tuples will read first. It costs no wait: whoever knows tuples before their turn gives them
// here, and does something else meanwhile.
func (t *Table) Near(a, b flow.Key) { t.fetchBuckets(t.secret.hash(&a), t.secret.hash(&b)) }

// otherBuckets is where the offsets of the other buckets of the n waiting keys of a group are.
func (t *Table) otherBuckets(at, n int) *uint64 {
	b := &t.burst
	for j, i := range b.wait[at : at+n] {
		b.away[j&(Group-1)] = t.other(int(i))
	}
	return &b.away[0]
}

// other is the offset of the other bucket of key i.
func (t *Table) other(i int) uint64 {
	b := &t.burst
	return t.ix.other(b.bucket[i&(BurstMax-1)]/64, fingerprint(b.hash[i&(BurstMax-1)])) * 64
}

// lookupAway matches the n waiting keys of a group in their other buckets and prefetches the records.
func (t *Table) lookupAway(out []Ref, at, n int) {
	b := &t.burst
	buckets := unsafe.Pointer(unsafe.SliceData(t.ix.bucket))
	for j, i := range b.wait[at : at+n] {
		bk := (*bucket)(unsafe.Add(buckets, t.other(int(i))))
		b.away[j&(Group-1)] = 0
		if m := bk.match(fingerprint(b.hash[i&(BurstMax-1)])); m != 0 {
			ref := bk.ref[slotOf(m)]
			out[i] = ref
			b.record[i&(BurstMax-1)] = uint64(ref>>1) * 64
			b.away[j&(Group-1)] = uint64(ref>>1) * 64
		}
	}
	prefetch(unsafe.Pointer(unsafe.SliceData(t.rec)), &b.away[0], n)
}
