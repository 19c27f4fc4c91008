//go:build dpdk

package dpdk

import (
	"unsafe"

	dpdkmbuf "github.com/yerden/go-dpdk/mbuf"
	"github.com/yerden/go-dpdk/mempool"

	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

// Pool is the packet memory of the process. Any thread may use it; registered ones have a cache of their own.
type Pool struct {
	mp   *mempool.Mempool
	room int // bytes of a buffer, headroom included
}

var _ port.Pool = (*Pool)(nil)

// Alloc returns a packet of n bytes with undefined content, or false when the pool is empty or n does not fit. One cgo
// call; the packet path never needs it.
func (p *Pool) Alloc(n int) (port.Packet, bool) {
	if n < 0 || n > p.room-headroom {
		return port.Packet{}, false
	}
	m := (*mbuf)(unsafe.Pointer(dpdkmbuf.PktMbufAlloc(p.mp)))
	if m == nil {
		return port.Packet{}, false
	}
	return port.Packet{Data: cut(m, headroom, headroom+n), Ref: uintptr(unsafe.Pointer(m))}, true
}

// Free returns packets unsent and empties b, in one cgo call.
func (p *Pool) Free(b *port.Batch) {
	var refs [port.BatchMax]uintptr
	for i := range b.N {
		refs[i] = b.Pkt[i].Ref
	}
	freeBulk(refs[:b.N])
	b.N = 0
}

// Resize moves the packet's start by -head bytes and its end by tail bytes within its buffer. The buffer learns of it here, not at sending, where
// it would have to be read once more.
func (p *Pool) Resize(pkt *port.Packet, head, tail int) bool {
	m := mbufOf(pkt.Ref)
	start := int(uintptr(unsafe.Pointer(unsafe.SliceData(pkt.Data)))-uintptr(m.buf_addr)) - head
	end := start + head + len(pkt.Data) + tail
	if start < 0 || end < start || end > int(m.buf_len) {
		return false
	}
	pkt.Data = cut(m, start, end)
	return true
}

// Available is the number of free packets, those in the caches of threads included.
func (p *Pool) Available() int { return p.mp.AvailCount() }
