//go:build !amd64

package conntrack

import (
	"unsafe"

	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

func askPlain(b *burst, at int, p *Plain, n int, s *secret, buckets *bucket, count uint64) {
	askPlainGo(b, at, p, n, s, count)
}

func match(b *burst, out *Ref, n int, buckets *bucket, records *record) (waiting int) {
	return matchGo(b, out, n, buckets)
}

func follow(rec []record, refs *Ref, p *Plain, n int, mask, want uint64, now expiry.Tick) int {
	return followGo(rec, unsafe.Slice(refs, n), unsafe.Slice(p, n), mask, want, now)
}

func confirmed(rec []record, paths []path, keys *flow.Key, refs *Ref, n int) int {
	return confirmedGo(rec, paths, unsafe.Slice(keys, n), unsafe.Slice(refs, n))
}
