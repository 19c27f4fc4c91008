//go:build dpdk

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/holdfast-lb/holdfast/dpd/internal/dpdk"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

// perQueue is the number of packets that circle in each ring, on both sides: 15 bursts, nearly all that a ring holds.
const perQueue = 15 * port.BurstMax

// course is one way to run macswap. The packets of a NIC come from its descriptor rings, a thousand and more on each
// queue, so they are not in the first caches: 16 rings have 15 thousand packets under way. One ring fits into the second
// level cache and shows the bare instructions; net_null is the driver's own allocation and release of each packet.
type course struct {
	id, dev, args string
	queues        int
	goal          float64
}

var courses = []course{
	{"P1", "net_ring", "", 16, 0.70},
	{"P1", "net_null", ",size=64", 1, 0.70},
	{"P1hot", "net_ring", "", 1, 0},
}

// measureMacswap is P1: our receive, swap of the MAC addresses and send, through port.Port, against testpmd's macswap.
func measureMacswap(ctx context.Context, o *options, rt *dpdk.Runtime, rep *report) error {
	for i := range courses {
		if err := courses[i].run(ctx, o, rt, rep); err != nil {
			return fmt.Errorf("%s with %d queues: %w", courses[i].dev, courses[i].queues, err)
		}
	}
	return nil
}

func (c *course) run(ctx context.Context, o *options, rt *dpdk.Runtime, rep *report) error {
	p, err := rt.OpenPort(dpdk.PortConfig{Device: c.dev + "9" + c.args, Workers: c.queues})
	if err != nil {
		return err
	}
	defer p.Close()
	peer, err := startTestpmd(ctx, o, c.dev+"0"+c.args, c.queues)
	if err != nil {
		return err
	}
	defer peer.close()
	circling := c.dev == "net_ring"
	if circling {
		if err := c.fill(rt, p); err != nil {
			return err
		}
		defer c.drain(rt, p)
	}
	name := fmt.Sprintf("BenchmarkMacswap/dev=%s/queues=%d/by=", c.dev, c.queues)
	var all tally
	ours := func() (float64, error) {
		var b port.Batch
		var t tally
		q := 0
		err := onCore(rt, o.core, func() {
			t = poll(o.slice, func() int {
				n := p.Rx(q, &b)
				macswap(&b)
				p.Tx(q, &b)
				if q++; q == c.queues {
					q = 0
				}
				return n
			})
		})
		all.polls, all.empty = all.polls+t.polls, all.empty+t.empty
		fmt.Printf("%sholdfast\t%d\t%.3f ns/op\t%.1f Mpps\n", name, t.packets, 1e3/t.mpps(), t.mpps())
		return t.mpps(), err
	}
	theirs := func() (float64, error) {
		mpps, err := peer.measure(o.slice, circling)
		fmt.Printf("%stestpmd\t1\t%.3f ns/op\t%.1f Mpps\n", name, 1e3/mpps, mpps)
		return mpps, err
	}
	a, b, err := turns(ctx, o.pairs, ours, theirs)
	if err != nil {
		return err
	}
	note := fmt.Sprintf("empty polls %.2f %%", 100*float64(all.empty)/float64(all.polls))
	rep.compare(c.id, fmt.Sprintf("macswap on %s, %d queues, ours / testpmd", c.dev, c.queues), "Mpps", a, b, c.goal, note)
	return nil
}

// macswap exchanges source and destination address of each packet: two overlapping words of eight bytes.
func macswap(b *port.Batch) {
	for i := range b.Pkt[:b.N] {
		d := b.Pkt[i].Data
		if len(d) < 12 {
			continue
		}
		lo, hi := binary.LittleEndian.Uint64(d), binary.LittleEndian.Uint64(d[4:])
		binary.LittleEndian.PutUint64(d, hi>>16|lo<<48)
		binary.LittleEndian.PutUint64(d[4:], hi>>48|lo<<16)
	}
}

// fill puts the circling packets of 64 bytes into each ring.
func (c *course) fill(rt *dpdk.Runtime, p *dpdk.Port) error {
	var b port.Batch
	for i := range c.queues * perQueue / port.BurstMax {
		for range port.BurstMax {
			pkt, ok := rt.Pool().Alloc(64)
			if !ok {
				return errors.New("the pool is empty")
			}
			clear(pkt.Data)
			b.Push(pkt)
		}
		if n := p.Tx(i%c.queues, &b); n != port.BurstMax {
			return fmt.Errorf("ring %d took %d of %d packets", i%c.queues, n, port.BurstMax)
		}
	}
	return nil
}

func (c *course) drain(rt *dpdk.Runtime, p *dpdk.Port) {
	var b port.Batch
	for q := range c.queues {
		for p.Rx(q, &b) > 0 {
			rt.Pool().Free(&b)
		}
	}
}
