//go:build !amd64

package conntrack

func askPlain(b *burst, at int, p *Plain, n int, s *secret, buckets *bucket, count uint64) {
	askPlainGo(b, at, p, n, s, count)
}

func match(b *burst, at int, out *Ref, n int, buckets *bucket, records *record) (waiting int) {
	return matchGo(b, at, out, n, buckets)
}
