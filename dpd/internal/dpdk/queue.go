//go:build dpdk

package dpdk

import (
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"

	dpdkmbuf "github.com/yerden/go-dpdk/mbuf"
	"golang.org/x/sys/unix"

	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

// vector is a burst vector outside of the Go heap: cgo checks every element of one that lies in it, on each call.
type vector []*dpdkmbuf.Mbuf

// words is a vector as plain words.
func (v vector) words() *[port.BatchMax]uintptr {
	return (*[port.BatchMax]uintptr)(unsafe.Pointer(&v[0]))
}

// rxTake is how many packets one call takes from a receive queue at most. Rx hands them out in bursts; taking more at once
// shares the price of the call.
const rxTake = 2 * port.BurstMax

// vectors cuts n burst vectors from one mapping, which release gives back.
func vectors(n int) (vs []vector, release func() error, err error) {
	const size = port.BatchMax * int(unsafe.Sizeof(uintptr(0)))
	mem, err := unix.Mmap(-1, 0, max(n, 1)*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE)
	if err != nil {
		return nil, nil, fmt.Errorf("map burst vectors: %w", err)
	}
	vs = make([]vector, n)
	for i := range vs {
		vs[i] = unsafe.Slice((**dpdkmbuf.Mbuf)(unsafe.Pointer(&mem[i*size])), port.BatchMax)
	}
	return vs, func() error { return unix.Munmap(mem) }, nil
}

// rxQueue is one receive queue. It belongs to one thread; the counters are read by any.
type rxQueue struct {
	vec       vector    // rxTake long
	refs      []uintptr // vec as words
	at, n     int       // what of vec was received and not handed out yet
	segmented atomic.Uint64
	runt      atomic.Uint64
	_         [64]byte // neighbours belong to other threads
}

// txQueue is one way to send. It belongs to one thread, except its device queue when the device has too few.
type txQueue struct {
	vec     vector
	refs    *[port.BatchMax]uintptr // vec as words
	shared  *sync.Mutex             // nil: the device queue is ours alone
	queue   uint16                  // of the device
	dropped atomic.Uint64
	_       [64]byte
}
