package conntrack

import (
	"math/bits"
	"unsafe"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// BurstMax is how many keys go through the stages of LookupBatch together.
const BurstMax = 64

// group is how many lines are asked for at once, so that the work on the next group overlaps with their coming.
const group = 16

// burst is the scratch of LookupBatch: what one stage leaves for the next. Offsets are in bytes from the start of a region,
// multiples of 64.
type burst struct {
	hash   [BurstMax]uint64
	bucket [BurstMax]uint64 // offset of the bucket
	record [BurstMax]uint64 // offset of the record
	away   [BurstMax]uint64 // offsets of the other buckets, then of the records, of those in wait
	wait   [BurstMax]uint8  // keys that aren't in their home bucket, which has entries elsewhere
}

// at is the T at an offset that came from an index below the region's length.
func at[T any](base unsafe.Pointer, off uint64) *T { return (*T)(unsafe.Add(base, off)) }

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

func (t *Table) lookup(keys []flow.Key, out []Ref) {
	b := &t.burst
	buckets, records := unsafe.Pointer(unsafe.SliceData(t.ix.bucket)), unsafe.Pointer(unsafe.SliceData(t.rec))
	s, n := &t.secret, t.ix.n
	for i := range keys {
		k := &keys[i]
		hi, lo := bits.Mul64(k.Addr[0]+s[0], k.Meta+s[1]) // as in secret.hash, which is too long to be inlined
		if k.Meta&0xff == flow.IPv6 {
			hi, lo = s.more(k, hi, lo)
		}
		hi, lo = bits.Mul64(lo^s[6], hi^s[7])
		home, _ := bits.Mul64(hi^lo, n)
		b.hash[i&(BurstMax-1)] = hi ^ lo
		b.bucket[i&(BurstMax-1)] = home * 64
		if i%group == group-1 {
			prefetch(buckets, &b.bucket[(i-group+1)&(BurstMax-1)], group)
		}
	}
	if rest := len(keys) % group; rest > 0 {
		prefetch(buckets, &b.bucket[(len(keys)-rest)&(BurstMax-1)], rest)
	}
	waiting := 0
	for i := range out {
		bk := at[bucket](buckets, b.bucket[i&(BurstMax-1)])
		m := bk.match(fingerprint(b.hash[i&(BurstMax-1)]))
		var ref Ref
		if m != 0 {
			ref = bk.ref[slotOf(m)]
		} else if bk.over != 0 {
			b.wait[waiting&(BurstMax-1)] = uint8(i)
			waiting++
		}
		out[i] = ref
		b.record[i&(BurstMax-1)] = uint64(ref>>1) * 64
		if i%group == group-1 {
			prefetch(records, &b.record[(i-group+1)&(BurstMax-1)], group)
		}
	}
	if rest := len(keys) % group; rest > 0 {
		prefetch(records, &b.record[(len(keys)-rest)&(BurstMax-1)], rest)
	}
	if waiting > 0 {
		t.lookupAway(out, b.wait[:waiting])
	}
	for i, ref := range out {
		k := &keys[i]
		r := at[record](records, b.record[i&(BurstMax-1)])
		d := ref & 1
		var diff uint64
		switch {
		case k.Meta&0xff == flow.IPv4:
			diff = (r.addr[d] ^ k.Addr[0]) | ((uint64(r.ports[d])<<32 | uint64(r.proto)<<8 | flow.IPv4) ^ k.Meta) | uint64(r.kind&kindWide)
		case r.kind>>d&1 != 0:
			diff = t.paths.all[r.ports[0]].differs(r, d, k) | (uint64(r.proto) ^ k.Meta>>8&0xff)
		default:
			diff = 1
		}
		// What differs may be kept another way (see matches), or be another entry with this fingerprint.
		if diff != 0 && ref != 0 && !t.matches(ref, k) {
			out[i] = t.find(k, b.hash[i&(BurstMax-1)])
		}
	}
}

// fetchBuckets prefetches the home buckets of two hashes.
func (t *Table) fetchBuckets(a, b uint64) {
	off := [2]uint64{t.ix.home(a) * 64, t.ix.home(b) * 64}
	prefetch(unsafe.Pointer(unsafe.SliceData(t.ix.bucket)), &off[0], len(off))
}

// lookupAway matches the waiting keys in their other buckets and prefetches the records.
func (t *Table) lookupAway(out []Ref, wait []uint8) {
	b := &t.burst
	buckets := unsafe.Pointer(unsafe.SliceData(t.ix.bucket))
	for j, i := range wait {
		home := b.bucket[i&(BurstMax-1)] / 64
		b.away[j&(BurstMax-1)] = t.ix.other(home, fingerprint(b.hash[i&(BurstMax-1)])) * 64
	}
	prefetch(buckets, &b.away[0], len(wait))
	for j, i := range wait {
		bk := at[bucket](buckets, b.away[j&(BurstMax-1)])
		b.away[j&(BurstMax-1)] = 0
		if m := bk.match(fingerprint(b.hash[i&(BurstMax-1)])); m != 0 {
			ref := bk.ref[slotOf(m)]
			out[i] = ref
			b.record[i&(BurstMax-1)] = uint64(ref>>1) * 64
			b.away[j&(BurstMax-1)] = uint64(ref>>1) * 64
		}
	}
	prefetch(unsafe.Pointer(unsafe.SliceData(t.rec)), &b.away[0], len(wait))
}
