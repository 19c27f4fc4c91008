//go:build amd64

package conntrack

import (
	"unsafe"

	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// The stages of a look-up that wait for memory are assembly, for the prefetch that Go lacks outside its runtime: each line is asked for while
// the work on the next key goes on. stage_go_unsafe.go has the same in Go. follow and confirmed are followGo and
// confirmedGo in half the instructions.

//go:noescape
func askPlain(b *burst, at int, p *Plain, n int, s *secret, buckets *bucket, count uint64)

//go:noescape
func match(b *burst, out *Ref, n int, buckets *bucket, records *record) (waiting int)

//go:noescape
func follow(rec []record, refs *Ref, p *Plain, n int, mask, want uint64, now expiry.Tick) (done int)

// confirmed is confirmedGo of n keys; it stops at a record that is not there.
//
//go:noescape
func confirmed(rec []record, paths []path, keys *flow.Key, refs *Ref, n int) (right int)

// What the assembly takes for granted. These are indexes of arrays of one element, so any difference fails the build.
var (
	_ = [1]struct{}{}[unsafe.Offsetof(burst{}.hash)]
	_ = [1]struct{}{}[unsafe.Offsetof(burst{}.bucket)-2048]
	_ = [1]struct{}{}[unsafe.Offsetof(burst{}.wait)-4096]
	_ = [1]struct{}{}[unsafe.Sizeof(Plain{})-32]
	_ = [1]struct{}{}[unsafe.Offsetof(Plain{}.Addr)]
	_ = [1]struct{}{}[unsafe.Offsetof(Plain{}.Ports)-8]
	_ = [1]struct{}{}[unsafe.Offsetof(Plain{}.Seq)-12]
	_ = [1]struct{}{}[unsafe.Offsetof(Plain{}.Ack)-16]
	_ = [1]struct{}{}[unsafe.Offsetof(Plain{}.Payload)-20]
	_ = [1]struct{}{}[unsafe.Offsetof(Plain{}.Window)-24]
	_ = [1]struct{}{}[unsafe.Offsetof(Plain{}.Size)-26]
	_ = [1]struct{}{}[unsafe.Sizeof(bucket{})-64]
	_ = [1]struct{}{}[unsafe.Offsetof(bucket{}.ref)-16]
	_ = [1]struct{}{}[unsafe.Offsetof(bucket{}.over)-48]
	_ = [1]struct{}{}[unsafe.Sizeof(record{})-64]
	_ = [1]struct{}{}[unsafe.Offsetof(record{}.addr)]
	_ = [1]struct{}{}[unsafe.Offsetof(record{}.ports)-16]
	_ = [1]struct{}{}[unsafe.Offsetof(record{}.state)-24]
	_ = [1]struct{}{}[unsafe.Offsetof(record{}.seen)-36]
	_ = [1]struct{}{}[unsafe.Offsetof(record{}.next)-40]
	_ = [1]struct{}{}[unsafe.Offsetof(record{}.ack)-48]
	_ = [1]struct{}{}[unsafe.Offsetof(record{}.window)-56]
	_ = [1]struct{}{}[ackSpan-1<<26]
	_ = [1]struct{}{}[ackAhead-1<<24]
	_ = [1]struct{}{}[unsafe.Offsetof(record{}.proto)-30]
	_ = [1]struct{}{}[unsafe.Offsetof(record{}.kind)-31]
	_ = [1]struct{}{}[unsafe.Sizeof(flow.Key{})-40]
	_ = [1]struct{}{}[unsafe.Offsetof(flow.Key{}.Addr)]
	_ = [1]struct{}{}[unsafe.Offsetof(flow.Key{}.Meta)-32]
	_ = [1]struct{}{}[unsafe.Sizeof(path{})-64]
	_ = [1]struct{}{}[unsafe.Offsetof(path{}.addr)]
	_ = [1]struct{}{}[unsafe.Offsetof(path{}.ports)-48]
	_ = [1]struct{}{}[16*pathServer-16]
	_ = [1]struct{}{}[16*pathLaddr-32]
	_ = [1]struct{}{}[kindWide-0x80]
	_ = [1]struct{}{}[kindEnds-0xc3]
	_ = [1]struct{}{}[kindSix-0x83]
	_ = [1]struct{}{}[flow.IPv4-4]
	_ = [1]struct{}{}[flow.IPv6-6]
)
