package conntrack

import (
	"unsafe"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// The stages in Go: what other machines run, and what the assembly is tested against. Nothing is prefetched; the later stages' own
// independent loads overlap as far as the processor allows.

// askPlainGo hashes the tuples of n plain packets and finds their home buckets.
func askPlainGo(b *burst, at int, p *Plain, n int, s *secret, count uint64) {
	x := index{n: count}
	for i, p := range unsafe.Slice(p, n) {
		k, j := p.Key(), (at+i)&(BurstMax-1)
		b.hash[j] = s.hash(&k)
		b.bucket[j] = x.home(b.hash[j]) * 64
	}
}

// matchGo matches n keys in their home buckets. It notes those that may be elsewhere, and returns how many these are.
func matchGo(b *burst, out *Ref, n int, buckets *bucket) (waiting int) {
	refs := unsafe.Slice(out, n)
	for i := range refs {
		bk := (*bucket)(unsafe.Add(unsafe.Pointer(buckets), b.bucket[i&(BurstMax-1)]))
		m := bk.match(fingerprint(b.hash[i&(BurstMax-1)]))
		if m == 0 {
			refs[i] = 0
			if bk.over != 0 {
				b.wait[waiting&(BurstMax-1)] = uint8(i)
				waiting++
			}
			continue
		}
		refs[i] = bk.ref[slotOf(m)]
	}
	return waiting
}

// confirmedGo counts the keys, from the first on, that their refs surely have in a table that did not change since: of sessions with IPv4 on
// both sides, or with IPv6 on both and a laddr. It calls nothing, which would have the compiler keep all in memory.
func confirmedGo(rec []record, paths []path, keys []flow.Key, refs []Ref) int {
	for i := range keys {
		k, ref := &keys[i], refs[i]
		r := &rec[ref.Handle()]
		var odd uint64
		switch {
		case r.kind&kindWide == 0:
			odd = r.differs(ref, k)
		case r.kind&kindEnds == kindSix:
			p := &paths[r.ports[0]]
			odd = p.differs(r, ref, k) | p.differsMeta(r, ref, k)
		default:
			return i
		}
		if odd != 0 {
			return i
		}
	}
	return len(keys)
}
