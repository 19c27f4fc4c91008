package conntrack

import (
	"math/bits"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

const slots = 8

// bucket is one cache line of the index.
//
//	fp    8 x 16 bit  fingerprints, 0 = empty slot; slot i is lane i%4 of word i/4
//	ref   8 x 32 bit  references
//	over  entries whose home is this bucket but that live in their other one
//	away  bit i: this bucket is not the home of slot i
type bucket struct {
	fp   [2]uint64
	ref  [slots]Ref
	over uint16
	away uint8
	_    [13]byte
}

const (
	laneLow  = 0x0001000100010001
	laneHigh = 0x8000800080008000
)

// index maps tuples to refs. It stores no tuple: the table compares what it names.
type index struct {
	bucket []bucket
	n      uint64
	path   []hop // scratch of makeRoom
}

// fingerprint is never 0.
func fingerprint(hash uint64) uint64 {
	fp := hash & 0xffff
	if fp == 0 {
		fp = 1
	}
	return fp
}

func (x *index) home(hash uint64) uint64 {
	h, _ := bits.Mul64(hash, x.n)
	return h
}

// other is the second bucket of an entry that has b as one of its two; other(other(b)) = b, so an entry can be moved
// without its tuple.
func (x *index) other(b, fp uint64) uint64 {
	o := (fp*0x9e3779b97f4a7c15>>32)*x.n>>32 - b
	if int64(o) < 0 {
		o += x.n
	}
	return o
}

// match returns one bit for each lane of b that may hold fp; slotOf turns the lowest one into a slot, which surely
// holds it. Higher ones may be false and need comparing anyway.
func (b *bucket) match(fp uint64) uint64 {
	pat := fp * laneLow
	x0, x1 := b.fp[0]^pat, b.fp[1]^pat
	return (x0-laneLow)&^x0&laneHigh | (x1-laneLow)&^x1&laneHigh>>1
}

func slotOf(m uint64) int {
	p := bits.TrailingZeros64(m)
	return (p>>4 | (p&1^1)<<2) & (slots - 1)
}

func (b *bucket) lane(slot int) uint64 { return b.fp[slot>>2&1] >> (slot & 3 * 16) & 0xffff }

func (b *bucket) set(slot int, fp uint64, ref Ref, away bool) {
	sh := slot & 3 * 16
	w := &b.fp[slot>>2&1]
	*w = *w&^(0xffff<<sh) | fp<<sh
	b.ref[slot] = ref
	b.away &^= 1 << slot
	if away {
		b.away |= 1 << slot
	}
}

// free is an empty slot, or -1.
func (b *bucket) free() int {
	if m := b.match(0); m != 0 {
		return slotOf(m)
	}
	return -1
}

// find is the ref of k in the index, or 0.
func (t *Table) find(k *flow.Key, hash uint64) Ref {
	b, slot := t.locate(k, hash)
	if b == nil {
		return 0
	}
	return b.ref[slot]
}

func (t *Table) locate(k *flow.Key, hash uint64) (*bucket, int) {
	fp := fingerprint(hash)
	i := t.ix.home(hash)
	b := &t.ix.bucket[i]
	for round := 0; ; round++ {
		for m := b.match(fp); m != 0; m &= m - 1 {
			if slot := slotOf(m); t.matches(b.ref[slot], k) {
				return b, slot
			}
		}
		if round == 1 || b.over == 0 {
			return nil, 0
		}
		b = &t.ix.bucket[t.ix.other(i, fp)]
	}
}

// insert adds an entry that is not there yet. False: no room could be made, which at the load the index is built for needs
// ill luck of a kind that doesn't happen, and is counted.
func (x *index) insert(hash uint64, ref Ref) bool {
	fp := fingerprint(hash)
	i := x.home(hash)
	b := &x.bucket[i]
	if slot := b.free(); slot >= 0 {
		b.set(slot, fp, ref, false)
		return true
	}
	j := x.other(i, fp)
	o := &x.bucket[j]
	if slot := o.free(); slot >= 0 && j != i {
		o.set(slot, fp, ref, true)
		b.over++
		return true
	}
	if !x.makeRoom(i) {
		return false
	}
	b.set(b.free(), fp, ref, false)
	return true
}

// remove takes out the entry of hash that holds ref.
func (x *index) remove(hash uint64, ref Ref) bool {
	b, slot := x.slot(hash, ref)
	if b == nil {
		return false
	}
	if b.away>>slot&1 != 0 {
		x.bucket[x.home(hash)].over--
	}
	b.set(slot, 0, 0, false)
	return true
}

func (x *index) slot(hash uint64, ref Ref) (*bucket, int) {
	fp := fingerprint(hash)
	i := x.home(hash)
	for _, at := range [2]uint64{i, x.other(i, fp)} {
		b := &x.bucket[at]
		for m := b.match(fp); m != 0; m &= m - 1 {
			if slot := slotOf(m); b.ref[slot] == ref {
				return b, slot
			}
		}
	}
	return nil, 0
}

// hop is one step of a search for room: the entry in slot of the bucket of hop from could move to bucket at.
type hop struct {
	at   uint64
	from int32
	slot int8
}

// searchMax bounds the buckets that makeRoom looks at.
const searchMax = 512

// makeRoom frees a slot of bucket root by moving entries to their other buckets: breadth first, so that few move, and
// nothing moves before a way is found.
func (x *index) makeRoom(root uint64) bool {
	q := append(x.path[:0], hop{at: root, from: -1})
	for head := 0; head < len(q) && len(q) <= searchMax-slots; head++ {
		b := &x.bucket[q[head].at]
		for slot := range slots {
			to := x.other(q[head].at, b.lane(slot))
			if to == q[head].at || onPath(q, head, to) {
				continue
			}
			q = append(q, hop{at: to, from: int32(head), slot: int8(slot)})
			if x.bucket[to].free() >= 0 {
				x.shift(q)
				return true
			}
		}
	}
	return false
}

func onPath(q []hop, i int, at uint64) bool {
	for ; i >= 0; i = int(q[i].from) {
		if q[i].at == at {
			return true
		}
	}
	return false
}

// shift moves the entries along the path that ends with the last hop of q, the last one first.
func (x *index) shift(q []hop) {
	for i := len(q) - 1; q[i].from >= 0; i = int(q[i].from) {
		src, dst := &x.bucket[q[q[i].from].at], &x.bucket[q[i].at]
		slot := int(q[i].slot)
		wasAway := src.away>>slot&1 != 0
		dst.set(dst.free(), src.lane(slot), src.ref[slot], !wasAway)
		if wasAway {
			dst.over-- // it comes home
		} else {
			src.over++
		}
		src.set(slot, 0, 0, false)
	}
}
