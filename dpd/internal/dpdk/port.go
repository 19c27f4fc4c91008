//go:build dpdk

package dpdk

import (
	"net"
	"unsafe"

	"github.com/yerden/go-dpdk/ethdev"
	dpdkmbuf "github.com/yerden/go-dpdk/mbuf"

	"github.com/holdfast-lb/holdfast/dpd/internal/dpdk/burst"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

// Port is one DPDK device. It meets port.Port.
type Port struct {
	rx      []rxQueue // as many as the device has, at most what was asked for
	tx      []txQueue // as many as were asked for
	id      ethdev.Port
	rt      *Runtime
	info    port.Info
	hash    Hash
	lim     limits
	release func() error
	filter  Filter
	strips  bool // VLAN tags from received packets
	closed  bool // on the control thread
}

var _ port.Port = (*Port)(nil)

// Rx appends a burst of queue q to b. A queue that the device does not have gives nothing. What the last call took beyond a
// burst stays with the queue, whoever owns it next, and is handed out first.
func (p *Port) Rx(q int, b *port.Batch) int {
	if uint(q) >= uint(len(p.rx)) || b.Room() < port.BurstMax {
		return 0
	}
	rq := &p.rx[q]
	if rq.at == rq.n {
		rq.at, rq.n = 0, int(p.id.RxBurst(uint16(q), rq.vec))
	}
	got := min(rq.n-rq.at, port.BurstMax)
	at := rq.at
	rq.at += got
	if n := burst.Unpack((*[burst.Max]burst.View)(views(b)[b.N:]), (*[burst.Max]uintptr)(rq.refs[at:]), got); n != got || p.strips {
		return p.rxOdd(rq, b, rq.vec[at:at+got])
	}
	b.N += got
	return got
}

// rxOdd is Rx with a look at each packet, for bursts and devices that are out of the ordinary.
func (p *Port) rxOdd(rq *rxQueue, b *port.Batch, vec vector) int {
	first, bad := b.N, 0
	for _, ref := range vec {
		m := (*mbuf)(unsafe.Pointer(ref))
		if p.admit(rq, m) {
			b.Push(packetOf(m))
			continue
		}
		vec[bad] = ref
		bad++
	}
	dpdkmbuf.PktMbufFreeBulk(vec[:bad])
	return b.N - first
}

// admit decides on a packet that is out of the ordinary, and counts it if it is refused.
func (p *Port) admit(rq *rxQueue, m *mbuf) bool {
	switch {
	case m.nb_segs != 1:
		rq.segmented.Add(1)
		return false
	case m.data_len < burst.MinLen:
		rq.runt.Add(1)
		return false
	case m.ol_flags&vlanStripped != 0 && !vlanRestore(m):
		rq.segmented.Add(1)
		return false
	}
	return true
}

// Tx sends b on queue q and empties it.
func (p *Port) Tx(q int, b *port.Batch) int {
	n := b.N
	if n == 0 {
		return 0
	}
	b.N = 0
	tq := &p.tx[q]
	for i := range b.Pkt[:n] {
		tq.refs[i] = b.Pkt[i].Ref
	}
	if tq.shared != nil {
		tq.shared.Lock()
	}
	sent := int(p.id.TxBurst(tq.queue, tq.vec[:n]))
	if tq.shared != nil {
		tq.shared.Unlock()
	}
	if sent < n {
		dpdkmbuf.PktMbufFreeBulk(tq.vec[sent:n])
		tq.dropped.Add(uint64(n - sent))
	}
	return sent
}

// Stats reads the device's counters and ours.
func (p *Port) Stats() port.Stats {
	var s port.Stats
	for i := range p.rx {
		s.RxSegmented += p.rx[i].segmented.Load()
		s.RxRunt += p.rx[i].runt.Load()
	}
	for i := range p.tx {
		s.TxDropped += p.tx[i].dropped.Load()
	}
	_ = p.rt.do(func() { // after Close only our own counters are left
		if p.closed {
			return
		}
		c, err := countersOf(p.id)
		if err != nil {
			return
		}
		s.RxPackets, s.RxBytes, s.TxPackets, s.TxBytes = c.ipackets, c.ibytes, c.opackets, c.obytes
		s.RxMissed, s.RxErrors, s.AllocFails = c.imissed, c.ierrors, c.nombuf
		s.TxDropped += c.oerrors
	})
	return s
}

// Info describes the device. RxQueues and TxQueues are what it has: with fewer than were asked for, the missing receive
// queues stay empty and the missing transmit queues are shared under a lock.
func (p *Port) Info() port.Info { return p.info }

// Hash says how the device spreads packets over the worker queues.
func (p *Port) Hash() Hash { return p.hash }

// LinkUp asks the device, and the kernel's interface below it if there is one, since the devices over kernel interfaces
// call themselves up without a carrier.
func (p *Port) LinkUp() bool {
	up := false
	if err := p.rt.do(func() { up = !p.closed && linkUp(p.id) }); err != nil || !up {
		return false
	}
	if p.lim.ifIndex == 0 {
		return true
	}
	ifc, err := net.InterfaceByIndex(p.lim.ifIndex)
	return err == nil && ifc.Flags&(net.FlagUp|net.FlagRunning) == net.FlagUp|net.FlagRunning
}

// Filter is the device's rule table.
func (p *Port) Filter() *Filter { return &p.filter }
