package main

import (
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/holdfast-lb/holdfast/e2e/lab/topo"
)

// tally counts what nodes sent.
type tally struct {
	replies   uint64 // UDP packets to a stranger, and ICMP errors
	syncBytes uint64 // of IP packets between sync addresses
	lost      uint64 // frames that the capture had no room for: what they were isn't known
}

func (t tally) minus(o tally) tally {
	return tally{t.replies - o.replies, t.syncBytes - o.syncBytes, t.lost - o.lost}
}

// capture hears what nodes send and writes it into the book.
type capture struct {
	seg  *segment
	book *book
	end  atomic.Bool
	wg   sync.WaitGroup

	mu      sync.Mutex
	total   tally
	example string // of a reply
}

func startCapture(s *segment, b *book) *capture {
	c := &capture{seg: s, book: b}
	for i, fd := range s.listen {
		c.wg.Go(func() { c.read(i, fd) })
	}
	return c
}

// stop waits until all readers ended.
func (c *capture) stop() {
	c.end.Store(true)
	c.wg.Wait()
}

func (c *capture) read(node int, fd int) {
	buf := make([]byte, 1<<16)
	for !c.end.Load() {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			continue // nothing came, or a signal
		}
		if s, ok := parseFrame(buf[:n]); ok {
			c.take(node, &s)
		}
	}
}

func (c *capture) take(node int, s *seen) {
	c.book.mu.Lock()
	from, to := c.book.find(s.src), c.book.find(s.dst)
	if from == node && to >= 0 {
		c.book.heard(from, to, s.v6, s.payload)
	}
	c.book.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case from == node && to >= 0:
		c.total.syncBytes += uint64(s.length)
	case isReply(s):
		c.total.replies++
		c.example = fmt.Sprintf("%s: %v to %v, ICMP %v type %d, %d B: %.48x",
			topo.Node(node+1), s.src, s.dst, s.icmp, s.kind, s.length, s.payload)
	}
}

// isReply says whether a packet that is not between two members answers somebody who has no
// business to be answered. The nodes' own traffic is what a service's clients and servers get, and
// what finds neighbours and proves routes.
func isReply(s *seen) bool {
	if s.icmp {
		return s.isError()
	}
	a := s.src.Addr()
	return a != topo.VIP4 && a != topo.VIP6 && !topo.LaddrPool4.Contains(a) && !topo.LaddrPool6.Contains(a)
}

// count is what was counted since the start.
func (c *capture) count() (tally, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, fd := range c.seg.listen {
		if st, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			c.total.lost += uint64(st.Drops) // the kernel's count begins anew with each look
		}
	}
	return c.total, c.example
}
