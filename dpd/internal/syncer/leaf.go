package syncer

import "math/bits"

// leaves is the number of digest leaves of a cluster: 256 buckets, and two bits of the cluster hash
// in each.
const leaves = 256 * 4

type leafSet [leaves / 64]uint64

func (l *leafSet) has(i int) bool { return l[i/64]>>(i%64)&1 != 0 }
func (l *leafSet) add(i int)      { l[i/64] |= 1 << (i % 64) }

// bucket is the leaves of a bucket as four bits.
func (l *leafSet) bucket(b uint8) uint8 { return uint8(l[b/16]>>(b%16*4)) & 15 }

// leafCount is a set that knows how many there are.
type leafCount struct {
	leafSet
	n int
}

func (l *leafCount) add(i int) {
	if !l.has(i) {
		l.leafSet.add(i)
		l.n++
	}
}

// remove says whether it was there.
func (l *leafCount) remove(i int) bool {
	if l.n == 0 || !l.has(i) {
		return false
	}
	l.leafSet[i/64] &^= 1 << (i % 64)
	l.n--
	return true
}

func (l *leafCount) fill(all *leafSet) {
	l.leafSet, l.n = *all, 0
	for _, w := range all {
		l.n += bits.OnesCount64(w)
	}
}
