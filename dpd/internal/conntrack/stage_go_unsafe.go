package conntrack

import "unsafe"

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

// matchGo matches n keys from number at on in their home buckets. It notes those that may be elsewhere, and returns how many these are.
func matchGo(b *burst, at int, out *Ref, n int, buckets *bucket) (waiting int) {
	refs := unsafe.Slice(out, n)
	for i := range refs {
		k := (at + i) & (BurstMax - 1)
		bk := (*bucket)(unsafe.Add(unsafe.Pointer(buckets), b.bucket[k]))
		m := bk.match(fingerprint(b.hash[k]))
		if m == 0 {
			refs[i], b.record[k] = 0, 0
			if bk.over != 0 {
				b.wait[(at+waiting)&(BurstMax-1)] = uint8(k)
				waiting++
			}
			continue
		}
		refs[i] = bk.ref[slotOf(m)]
		b.record[k] = uint64(refs[i]>>1) * 64
	}
	return waiting
}
