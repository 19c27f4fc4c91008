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
		t.Locate(keys[:BurstMax], out[:BurstMax])
		t.compare(keys[:BurstMax], out[:BurstMax])
		keys, out = keys[BurstMax:], out[BurstMax:]
	}
	if len(keys) > 0 {
		t.Locate(keys, out)
		t.compare(keys, out)
	}
}

// Locate is the part of LookupBatch that waits for memory, of at most BurstMax keys: out becomes what most likely has each
// key, or 0 for what the table does not hold. The records are on their way to the cache. Follow and Confirm look at them, so that a
// caller does what it has to do with one packet while the records of the next ones arrive.
func (t *Table) Locate(keys []flow.Key, out []Ref) {
	out = out[:len(keys)]
	b := &t.burst
	buckets, records := unsafe.Pointer(unsafe.SliceData(t.ix.bucket)), unsafe.Pointer(unsafe.SliceData(t.rec))
	for at := 0; at < len(keys); at += group {
		n := min(group, len(keys)-at)
		t.hashGroup(keys[at:at+n], (*[group]uint64)(b.hash[at:]), (*[group]uint64)(b.bucket[at:]))
		prefetch(buckets, &b.bucket[at], n)
	}
	waiting := 0
	for at := 0; at < len(keys); at += group {
		n := min(group, len(keys)-at)
		waiting = t.matchGroup(out[at:at+n], at, waiting)
		prefetch(records, &b.record[at], n)
	}
	if waiting > 0 {
		t.lookupAway(out, b.wait[:waiting])
	}
}

// Confirm is what surely has key number i of the last Locate, which gave ref for it, or 0. Nothing may have come to the table or
// gone from it since.
func (t *Table) Confirm(i int, k *flow.Key, ref Ref) Ref {
	if ref == 0 || t.matches(ref, k) {
		return ref
	}
	return t.find(k, t.burst.hash[i&(BurstMax-1)])
}

// hashGroup hashes keys as secret.hash does, and finds their home buckets. Like the other stages it calls nothing, so that
// what it uses stays in registers.
func (t *Table) hashGroup(keys []flow.Key, hash, home *[group]uint64) {
	s, n := &t.secret, t.ix.n
	s0, s1, s6, s7 := s[0], s[1], s[6], s[7]
	for i := range keys {
		k := &keys[i]
		hi, lo := bits.Mul64(k.Addr[0]+s0, k.Meta+s1)
		if k.Meta&0xff == flow.IPv6 {
			h2, l2 := bits.Mul64(k.Addr[1]+s[2], k.Addr[2]+s[3])
			h3, l3 := bits.Mul64(k.Addr[3]+s[4], s[5])
			var c uint64
			lo, c = bits.Add64(lo, l2, 0)
			hi, _ = bits.Add64(hi, h2, c)
			lo, c = bits.Add64(lo, l3, 0)
			hi, _ = bits.Add64(hi, h3, c)
		}
		hi, lo = bits.Mul64(lo^s6, hi^s7)
		b, _ := bits.Mul64(hi^lo, n)
		hash[i&(group-1)] = hi ^ lo
		home[i&(group-1)] = b * 64
	}
}

// matchGroup matches the keys from number at on in their home buckets, and notes those that may be elsewhere.
func (t *Table) matchGroup(out []Ref, at, waiting int) int {
	b := &t.burst
	buckets := unsafe.Pointer(unsafe.SliceData(t.ix.bucket))
	hash, home, record := (*[group]uint64)(b.hash[at:]), (*[group]uint64)(b.bucket[at:]), (*[group]uint64)(b.record[at:])
	for i := range out {
		bk := (*bucket)(unsafe.Add(buckets, home[i&(group-1)]))
		m := bk.match(fingerprint(hash[i&(group-1)]))
		var ref Ref
		if m != 0 {
			ref = bk.ref[slotOf(m)]
		} else if bk.over != 0 {
			b.wait[waiting&(BurstMax-1)] = uint8(at + i)
			waiting++
		}
		out[i] = ref
		record[i&(group-1)] = uint64(ref>>1) * 64
	}
	return waiting
}

// compare drops what has the fingerprint of a key alone.
func (t *Table) compare(keys []flow.Key, out []Ref) {
	b := &t.burst
	records := unsafe.Pointer(unsafe.SliceData(t.rec))
	out = out[:len(keys)]
	for i := range keys {
		k, ref := &keys[i], out[i]
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
