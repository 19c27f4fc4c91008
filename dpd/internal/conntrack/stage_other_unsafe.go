//go:build !amd64

package conntrack

import (
	"unsafe"

	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
)

func askPlain(b *burst, at int, p *Plain, n int, s *secret, buckets *bucket, count uint64) {
	askPlainGo(b, at, p, n, s, count)
}

func match(b *burst, at int, out *Ref, n int, buckets *bucket, records *record) (waiting int) {
	return matchGo(b, at, out, n, buckets)
}

func follow(rec []record, refs *Ref, p *Plain, n int, mask, want uint64, now expiry.Tick) int {
	return followGo(rec, unsafe.Slice(refs, n), unsafe.Slice(p, n), mask, want, now)
}
