//go:build !amd64

package conntrack

import "unsafe"

func askPlain(b *burst, at int, p *Plain, n int, s *secret, buckets unsafe.Pointer, count uint64) {
	askPlainGo(b, at, p, n, s, count)
}

func match(b *burst, at int, out *Ref, n int, buckets, records unsafe.Pointer) (waiting int) {
	return matchGo(b, at, out, n, buckets)
}
