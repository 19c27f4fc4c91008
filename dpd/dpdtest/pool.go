package dpdtest

import (
	"fmt"
	"sync"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

// Headroom and Room are the bytes in front of a fresh packet and the most that one holds.
const (
	Headroom = 128
	Room     = 2048
)

// poison fills freed packets, so that who reads one after giving it away sees garbage.
const poison = 0xdb

// Pool is a port.Pool in memory. It panics when a packet is freed twice or was never its own. Any thread.
type Pool struct {
	mu    sync.Mutex
	bufs  [][]byte
	start []int // where the packet begins in its buffer; -1 while free
	free  []int
	fail  bool
}

// NewPool makes a pool of n packets.
func NewPool(n int) *Pool {
	p := &Pool{bufs: make([][]byte, n), start: make([]int, n), free: make([]int, n)}
	all := make([]byte, n*(Headroom+Room))
	for i := range n {
		p.bufs[i] = all[i*(Headroom+Room) : (i+1)*(Headroom+Room) : (i+1)*(Headroom+Room)]
		p.start[i] = -1
		p.free[i] = n - 1 - i
	}
	return p
}

// Alloc returns a packet of n bytes with undefined content, or false when the pool is empty or n is more than Room.
func (p *Pool) Alloc(n int) (port.Packet, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fail || len(p.free) == 0 || n < 0 || n > Room {
		return port.Packet{}, false
	}
	i := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	p.start[i] = Headroom
	return port.Packet{Data: p.bufs[i][Headroom : Headroom+n : Headroom+n], Ref: uintptr(i + 1)}, true
}

// Make returns a packet with a copy of frame. It panics when the pool is empty.
func (p *Pool) Make(frame []byte) port.Packet {
	k, ok := p.Alloc(len(frame))
	if !ok {
		panic("dpdtest: pool is empty")
	}
	copy(k.Data, frame)
	return k
}

// Free takes packets back and empties b.
func (p *Pool) Free(b *port.Batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range b.Pkt[:b.N] {
		i := p.own(k)
		p.start[i] = -1
		buf := p.bufs[i]
		for j := range buf {
			buf[j] = poison
		}
		p.free = append(p.free, i)
	}
	clear(b.Pkt[:b.N])
	b.N = 0
}

// FreeOne takes one packet back.
func (p *Pool) FreeOne(k port.Packet) {
	var b port.Batch
	b.Push(k)
	p.Free(&b)
}

func (p *Pool) own(k port.Packet) int {
	i := int(k.Ref) - 1
	if i < 0 || i >= len(p.bufs) {
		panic(fmt.Sprintf("dpdtest: packet %d is not of this pool", k.Ref))
	}
	if p.start[i] < 0 {
		panic(fmt.Sprintf("dpdtest: packet %d is used after it was freed", k.Ref))
	}
	return i
}

// Resize moves the start of the packet by -head bytes and its end by tail bytes.
func (p *Pool) Resize(k *port.Packet, head, tail int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := p.own(*k)
	start, end := p.start[i]-head, p.start[i]+len(k.Data)+tail
	if start < 0 || end < start || end > len(p.bufs[i]) {
		return false
	}
	p.start[i] = start
	k.Data = p.bufs[i][start:end:end]
	return true
}

// Available is the number of free packets.
func (p *Pool) Available() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.free)
}

// Size is the number of packets in all.
func (p *Pool) Size() int { return len(p.bufs) }

// Exhaust makes Alloc fail, or work again.
func (p *Pool) Exhaust(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fail = on
}

// CheckLeaks fails the test if packets are missing from the pool.
func CheckLeaks(t testing.TB, p *Pool) {
	t.Helper()
	if n := p.Size() - p.Available(); n != 0 {
		t.Errorf("%d packets were not given back", n)
	}
}
