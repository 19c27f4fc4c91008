package conntrack

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// BurstMax is how many keys go through the stages of LookupBatch together.
const BurstMax = 64

// burst is the scratch of LookupBatch: what one stage leaves for the next.
type burst struct {
	hash [BurstMax]uint64
	home [BurstMax]uint32
	addr [2 * BurstMax]uintptr
	wait [BurstMax]uint8 // keys not in their home bucket, which has entries elsewhere
}

// LookupBatch looks up keys into out, which must be as long; 0 means not found. Afterwards the records found are in the
// cache or on their way.
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

func (t *Table) lookup(keys []flow.Key, out []Ref) {
	b := &t.burst
	n := len(keys)
	for i := range keys {
		hash := t.secret.hash(&keys[i])
		home := t.ix.home(hash)
		b.hash[i&(BurstMax-1)] = hash
		b.home[i&(BurstMax-1)] = uint32(home)
		b.addr[i&(BurstMax-1)] = t.ix.base + uintptr(home)*64
	}
	prefetch(&b.addr[0], n)
	lines, waiting := BurstMax, 0
	for i := range out {
		bk := &t.ix.bucket[b.home[i&(BurstMax-1)]]
		m := bk.match(fingerprint(b.hash[i&(BurstMax-1)]))
		if m == 0 {
			out[i] = 0
			b.addr[i&(BurstMax-1)] = t.recBase
			if bk.over != 0 {
				b.wait[waiting&(BurstMax-1)] = uint8(i)
				waiting++
			}
			continue
		}
		ref := bk.ref[slotOf(m)]
		out[i] = ref
		lines = t.want(i, ref, lines)
	}
	if waiting > 0 {
		lines = t.lookupAway(out, b.wait[:waiting], lines)
	}
	prefetch(&b.addr[0], n)
	if lines > BurstMax {
		prefetch(&b.addr[BurstMax], lines-BurstMax)
	}
	for i, ref := range out {
		if ref != 0 && !t.matches(ref, &keys[i]) {
			out[i] = t.find(&keys[i], b.hash[i&(BurstMax-1)])
		}
	}
}

// want notes the lines of ref's record for prefetching.
func (t *Table) want(i int, ref Ref, lines int) int {
	h := uint32(ref >> 1)
	t.burst.addr[i&(BurstMax-1)] = t.recBase + uintptr(h)*64
	if h >= t.first6 {
		t.burst.addr[lines&(2*BurstMax-1)] = t.lineBase + uintptr(h-t.first6)*64
		lines++
	}
	return lines
}

// lookupAway matches the waiting keys in their other buckets.
func (t *Table) lookupAway(out []Ref, wait []uint8, lines int) int {
	b := &t.burst
	var addr [BurstMax]uintptr
	for j, i := range wait {
		other := t.ix.other(uint64(b.home[i&(BurstMax-1)]), fingerprint(b.hash[i&(BurstMax-1)]))
		b.home[i&(BurstMax-1)] = uint32(other)
		addr[j&(BurstMax-1)] = t.ix.base + uintptr(other)*64
	}
	prefetch(&addr[0], len(wait))
	for _, i := range wait {
		bk := &t.ix.bucket[b.home[i&(BurstMax-1)]]
		if m := bk.match(fingerprint(b.hash[i&(BurstMax-1)])); m != 0 {
			out[i] = bk.ref[slotOf(m)]
			lines = t.want(int(i), out[i], lines)
		}
	}
	return lines
}
