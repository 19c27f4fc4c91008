package course

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-lb/holdfast/dpd/internal/checksum"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
)

// write puts a TCP frame of 64 bytes with the tuple k into b.
func (c *Course) write(b []byte, k *flow.Key, seq, ack uint32, flags uint8) {
	at := packet.PutEthernet(b, c.mac, peers, 0, packet.EtherTypeIPv4)
	packet.PutIPv4(b[at:], packet.ProtoTCP, 64, k.Addr[0], frame-at-packet.IPv4Size)
	t := b[at+packet.IPv4Size : frame]
	packet.PutTCP(t, uint32(k.Meta>>32), seq, ack, flags, 512)
	clear(t[packet.TCPSize:])
	packet.TCP(t).SetChecksum(checksum.PseudoIPv4(k.Addr[0], packet.ProtoTCP, len(t)).Bytes(t).Checksum())
}

// known makes a packet the next one of the order.
func (c *Course) known(data []byte) {
	if c.next == len(c.order) {
		c.next = 0
	}
	copy(data[:frame], c.order[c.next:c.next+frame])
	c.next += frame
}

// opening makes a packet the SYN of a client that was never there.
func (c *Course) opening(data []byte) {
	src := client(c.fresh)
	c.fresh++
	k := flow.Key{Addr: [4]uint64{src&^0xffffffff | 0xc6336401}, Meta: src<<48 | 80<<32 | flow.ProtoTCP<<8 | flow.IPv4}
	c.write(data[:frame], &k, 1, 0, packet.SYN)
}

var (
	errFull  = errors.New("course: a ring is full")
	errEmpty = errors.New("course: the pool is empty")
)

// Start fills the rings with packets of known sessions, or of new clients.
func (c *Course) Start(fresh bool) error {
	c.feed = c.known
	if fresh {
		c.feed = c.opening
	}
	b := &c.out
	for range laps * inputs {
		for range port.BurstMax {
			p, ok := c.cfg.Pool.Alloc(frame)
			if !ok {
				return errEmpty
			}
			c.feed(p.Data)
			b.Push(p)
		}
		if err := c.put(b); err != nil {
			return err
		}
	}
	return nil
}

// cpu is the processor time of this thread. It leaves out the time in which others had the processor; reading it costs
// less than a quarter of a nanosecond a packet.
func cpu() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) // fails for no thread that exists
	return time.Duration(t.Nano())
}

// Lap lets the worker turn until it has taken what waits in the next ring, and returns the processor time that took. The caller has locked
// its goroutine to a thread.
func (c *Course) Lap() time.Duration {
	start := cpu()
	q := c.ring()
	c.Worker.SetRx(0, c.queues[q])
	c.valve.got = 0
	for before := -1; c.valve.got < c.level[q] && c.valve.got > before; {
		before = c.valve.got
		c.Worker.Turn()
	}
	c.level[q] -= c.valve.got
	return cpu() - start
}

// ring is the ring whose turn it is.
func (c *Course) ring() int {
	if c.last++; c.last == inputs {
		c.last = 0
	}
	return c.last
}

// Straight is Lap with something else in the worker's place: receive a burst, f, send.
func (c *Course) Straight(f func(*port.Batch)) time.Duration {
	b := &c.in
	return c.Through(func(q, to int) int {
		n := c.cfg.Port.Rx(q, b)
		f(b)
		c.cfg.Port.Tx(to, b)
		return n
	})
}

// Through is Lap with something that moves whole bursts by itself in the worker's place: from queue q to the one that Feed
// takes from; it returns how many packets that were.
func (c *Course) Through(move func(q, to int) int) time.Duration {
	start := cpu()
	q := c.ring()
	for range Lap / port.BurstMax {
		c.level[q] -= move(q, inputs)
	}
	return cpu() - start
}

// Feed takes what came out, makes new traffic of it and puts that into the rings. It returns how many packets had come out.
// What the host part asks its neighbours is answered, the rest of what it says is dropped.
func (c *Course) Feed() (n int, err error) {
	in, out := &c.in, &c.out
	for in.N = 0; c.cfg.Port.Rx(inputs, in) > 0; in.N = 0 {
		for i := range in.N {
			p := in.Pkt[i]
			switch kind := binary.BigEndian.Uint16(p.Data[12:]); {
			case kind == packet.EtherTypeIPv4:
				c.feed(p.Data)
				n++
			case kind != packet.EtherTypeARP || !answer(p.Data):
				c.stray.Push(p) // reports and announcements: a few a second
				c.cfg.Pool.Free(&c.stray)
				continue
			}
			if out.Push(p); out.N < port.BurstMax {
				continue
			}
			if err := c.put(out); err != nil {
				return n, err
			}
		}
	}
	return n, c.put(out)
}

// FeedBy is Feed with a look at each packet that came out, and a hand at each before it goes in again.
func (c *Course) FeedBy(look, change func(data []byte)) (n int, err error) {
	known := c.feed
	defer func() { c.feed = known }()
	c.feed = func(data []byte) {
		look(data)
		known(data)
		change(data)
	}
	return c.Feed()
}

// put sends a burst to the emptiest ring.
func (c *Course) put(b *port.Batch) error {
	q := 0
	for i, n := range c.level {
		if n < c.level[q] {
			q = i
		}
	}
	n := b.N
	c.level[q] += n
	if c.Leave != nil {
		c.Leave(b)
	}
	if c.cfg.Port.Tx(q, b) != n {
		return errFull
	}
	return nil
}

// answer turns an ARP request into its reply; false for an announcement, which asks nothing.
func answer(data []byte) bool {
	eth, a := packet.Ethernet(data), packet.ARP(data[packet.EthernetSize:])
	asker, ip, target := a.SenderMAC(), a.SenderIP(), a.TargetIP()
	if ip == target {
		return false
	}
	eth.SetDst(asker)
	eth.SetSrc(peers)
	packet.PutARP(a, packet.ARPReply, peers, target, asker, ip)
	return true
}

// introduce lets every neighbour ask for an address of ours, by which the host part learns them.
func (c *Course) introduce() error {
	var b port.Batch
	ask := func(from, to netip.Addr) error {
		p, ok := c.cfg.Pool.Alloc(frame)
		if !ok {
			return errEmpty
		}
		packet.PutEthernet(p.Data, c.mac, peers, 0, packet.EtherTypeARP)
		packet.PutARP(p.Data[packet.EthernetSize:], packet.ARPRequest, peers, from.As4(), [6]byte{}, to.As4())
		b.Push(p)
		if c.cfg.Port.Tx(0, &b) != 1 {
			return errFull
		}
		c.Worker.SetRx(0, c.queues[0])
		c.Worker.Turn()
		for c.cfg.Port.Rx(inputs, &b) > 0 {
			c.cfg.Pool.Free(&b)
		}
		return nil
	}
	if err := ask(gateway, outside.Addr()); err != nil {
		return err
	}
	for i := range c.servers {
		if err := ask(c.servers[i].Addr.Addr(), inside.Addr()); err != nil {
			return err
		}
	}
	return nil
}

// Warm runs laps and fails if not every packet comes out again.
func (c *Course) Warm() error {
	lost := 0
	for range 4 * laps {
		c.Lap()
		n, err := c.Feed()
		if err != nil {
			return err
		}
		if n != Lap {
			lost++
		}
	}
	c.Publish()
	c.warm = [2]uint64{c.Counter(stat.EmptyTurns), c.Counter(stat.Turns)}
	if lost > laps { // an ARP packet takes the place of another in a burst
		return fmt.Errorf("course: in %d of %d laps packets did not come out", lost, 4*laps)
	}
	return nil
}

// Drain gives all packets of the rings back.
func (c *Course) Drain() {
	var b port.Batch
	for q := range Queues {
		for c.cfg.Port.Rx(q, &b) > 0 {
			c.cfg.Pool.Free(&b)
		}
	}
}
