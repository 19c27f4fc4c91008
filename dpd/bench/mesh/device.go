package mesh

import "github.com/holdfast-lb/holdfast/dpd/internal/port"

// device is a port.Port in memory with a receive queue for each worker and, last, one for the sync
// thread, as a device that steers has. What it sends goes to the router. One thread.
type device struct {
	pool  *pool
	mac   [6]byte
	rx    []queue
	route func(frame []byte)
	stats port.Stats
}

// queue is one bounded receive queue.
type queue struct {
	pkt        []port.Packet // its length is a power of two
	head, tail uint
}

func newDevice(p *pool, mac [6]byte, queues, depth int) *device {
	d := &device{pool: p, mac: mac, rx: make([]queue, queues)}
	for i := range d.rx {
		d.rx[i].pkt = make([]port.Packet, depth)
	}
	return d
}

// room makes a packet of n bytes at the end of queue q and returns it to be filled; nil when it is
// lost.
func (d *device) room(q, n int) []byte {
	f := &d.rx[q]
	if f.tail-f.head == uint(len(f.pkt)) {
		d.stats.RxMissed++
		return nil
	}
	p, ok := d.pool.Alloc(n)
	if !ok {
		d.stats.AllocFails++
		return nil
	}
	f.pkt[f.tail&uint(len(f.pkt)-1)] = p
	f.tail++
	d.stats.RxPackets++
	return p.Data
}

// Rx appends up to a burst of queue q to b.
func (d *device) Rx(q int, b *port.Batch) int {
	f := &d.rx[q]
	if b.Room() < port.BurstMax {
		return 0
	}
	n := min(int(f.tail-f.head), port.BurstMax)
	for range n {
		b.Pkt[b.N] = f.pkt[f.head&uint(len(f.pkt)-1)]
		b.N++
		f.head++
	}
	return n
}

// Tx sends b and empties it.
func (d *device) Tx(_ int, b *port.Batch) int {
	n := b.N
	for i := range n {
		d.route(b.Pkt[i].Data)
	}
	d.stats.TxPackets += uint64(n)
	d.pool.Free(b)
	return n
}

// Stats reads the counters.
func (d *device) Stats() port.Stats { return d.stats }

// Info describes the device.
func (d *device) Info() port.Info {
	return port.Info{Name: "mesh", Driver: "mesh", MAC: d.mac, MTU: 9000, RxQueues: len(d.rx), TxQueues: len(d.rx)}
}

// LinkUp is true.
func (d *device) LinkUp() bool { return true }
