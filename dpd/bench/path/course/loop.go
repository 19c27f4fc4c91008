package course

import (
	"golang.org/x/sys/unix"

	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

// depth is the number of packets that a ring of a Loop holds, as in DPDK's net_ring.
const depth = 1024

// Loop is a port.Port in memory whose queues lead back to themselves: what is sent on a queue is received from it. It costs
// next to nothing, so that what a worker does is all that is measured. One thread.
type Loop struct {
	pool  *Pool
	queue [Queues]fifo
	stats port.Stats
	seen  byte
}

type fifo struct {
	pkt        [depth]port.Packet
	head, tail uint
}

// NewLoop makes a loop whose packets are of pool.
func NewLoop(pool *Pool) *Loop { return &Loop{pool: pool} }

// Rx appends up to a burst of queue q to b.
func (l *Loop) Rx(q int, b *port.Batch) int {
	f := &l.queue[q]
	if b.Room() < port.BurstMax {
		return 0
	}
	n := min(int(f.tail-f.head), port.BurstMax)
	for i := range n {
		p := f.pkt[(f.head+uint(i))%depth]
		b.Pkt[(b.N+i)&(port.BatchMax-1)] = p
		l.seen += p.Data[0] // loads that wait for nothing bring the packets near, as a driver's prefetches do
	}
	f.head += uint(n)
	b.N += n
	return n
}

// Tx appends b to queue q and frees what does not fit.
func (l *Loop) Tx(q int, b *port.Batch) int {
	f := &l.queue[q]
	n := min(b.N, depth-int(f.tail-f.head))
	for i := range n {
		f.pkt[(f.tail+uint(i))%depth] = b.Pkt[i]
	}
	f.tail += uint(n)
	l.stats.TxDropped += uint64(b.N - n)
	copy(b.Pkt[:], b.Pkt[n:b.N])
	if b.N -= n; b.N > 0 {
		l.pool.Free(b)
	}
	return n
}

// Stats reads the counters.
func (l *Loop) Stats() port.Stats { return l.stats }

// Info describes the port.
func (l *Loop) Info() port.Info {
	return port.Info{Name: "loop", Driver: "loop", MTU: 1500, RxQueues: Queues, TxQueues: Queues}
}

// LinkUp is true.
func (l *Loop) LinkUp() bool { return true }

// Buffers of a Pool, in bytes. An odd number of cache lines spreads them over all sets of the caches.
const (
	room     = 2048 + 192
	headroom = 128
)

// Pool is packet memory off the Go heap. One thread.
type Pool struct {
	mem  []byte
	free []uint32
}

// NewPool maps n packets.
func NewPool(n int) (*Pool, error) {
	mem, err := mapped(n * room)
	if err != nil {
		return nil, err
	}
	p := &Pool{mem: mem}
	for i := n - 1; i >= 0; i-- {
		p.free = append(p.free, uint32(i))
	}
	return p, nil
}

// Close gives the memory back.
func (p *Pool) Close() error { return unix.Munmap(p.mem) }

// Alloc returns a packet of n bytes, or false when there is none.
func (p *Pool) Alloc(n int) (port.Packet, bool) {
	if len(p.free) == 0 || n < 0 || n > room-headroom {
		return port.Packet{}, false
	}
	i := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	at := int(i)*room + headroom
	return port.Packet{Data: p.mem[at : at+n : at+n], Ref: uintptr(i)}, true
}

// Free takes packets back.
func (p *Pool) Free(b *port.Batch) {
	for i := range b.N {
		p.free = append(p.free, uint32(b.Pkt[i].Ref))
	}
	b.N = 0
}

// Resize moves the bounds of a packet; on a course no packet ever needs it.
func (p *Pool) Resize(*port.Packet, int, int) bool { return false }

// Available is the number of free packets.
func (p *Pool) Available() int { return len(p.free) }

// mapped is zeroed memory off the Go heap, in huge pages where there are any.
func mapped(n int) ([]byte, error) {
	mem, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, err
	}
	_ = unix.Madvise(mem, unix.MADV_HUGEPAGE) // slower without, not wrong
	return mem, nil
}
