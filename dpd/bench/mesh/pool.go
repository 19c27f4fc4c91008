package mesh

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

// headroom in front of each packet, and the most bytes of one.
const headroom = 128

// pool is packet memory of one node, off the Go heap. One thread.
type pool struct {
	mem  []byte
	room int
	free []uint32
}

func newPool(packets, size int) (*pool, error) {
	room := headroom + size
	mem, err := unix.Mmap(-1, 0, packets*room, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("map packet memory: %w", err)
	}
	p := &pool{mem: mem, room: room, free: make([]uint32, packets)}
	for i := range p.free {
		p.free[i] = uint32(packets - 1 - i)
	}
	return p, nil
}

func (p *pool) close() error { return unix.Munmap(p.mem) }

// Alloc returns a packet of n bytes, or false when there is none.
func (p *pool) Alloc(n int) (port.Packet, bool) {
	if len(p.free) == 0 || n < 0 || n > p.room-headroom {
		return port.Packet{}, false
	}
	i := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	at := int(i)*p.room + headroom
	return port.Packet{Data: p.mem[at : at+n : at+n], Ref: uintptr(i)}, true
}

// Free takes packets back.
func (p *pool) Free(b *port.Batch) {
	for i := range b.N {
		p.free = append(p.free, uint32(b.Pkt[i].Ref))
	}
	b.N = 0
}

// Resize moves the bounds of a packet; in a mesh no frame is tagged, so none ever needs it.
func (p *pool) Resize(*port.Packet, int, int) bool { return false }

// Available is the number of free packets.
func (p *pool) Available() int { return len(p.free) }
