package localport

import "github.com/holdfast-lb/holdfast/dpd/internal/flow"

// nodeKey names a node: server address; server port<<48 | protocol<<40 | bucket<<32 | index of the laddr.
type nodeKey struct {
	addr [2]uint64
	rest uint64
}

func keyOf(s Endpoint, laddr uint32, b flow.Bucket) nodeKey {
	return nodeKey{s.Addr, uint64(s.Port)<<48 | uint64(s.Proto)<<40 | uint64(b)<<32 | uint64(laddr)}
}

// node is the state of the 252 ports of one (laddr, server, bucket), numbered from 0 on: 128 bytes, free of pointers. The first
// cache line is all that taking a fresh port needs.
//
// Ports leave in the order: fresh ones, beginning at start (which differs from node to node, and from one run to the
// next, so that a restarted process doesn't begin with the ports it used last), then the queue of released ones. A port
// in the queue or among the fresh may be in use all the same, by mark; whoever comes upon it there passes it by.
//
// Invariant: a port is in the queue at most once, and no port is handed out while its bit in used is set.
type node struct {
	key    nodeKey
	used   [4]uint64
	inUse  uint8
	start  uint8
	fresh  uint8 // how many of the fresh were passed
	live   bool
	hand   uint8 // the port that is offered next, see Pool.Offer
	_      [3]byte
	queued [4]uint64
	queue  fifo
	_      [20]byte
}

func bit(i uint8) (word int, mask uint64) { return int(i >> 6), 1 << (i & 63) }

// take returns the high 8 bits of a free port.
func (n *node) take(c *chunks) (high uint8, ok bool) {
	for n.fresh < PerBucket {
		i := uint8((int(n.start) + int(n.fresh)) % PerBucket)
		n.fresh++
		if n.use(i) {
			return i + firstHigh, true
		}
	}
	for {
		i, ok := n.queue.pop(c)
		if !ok {
			return 0, false
		}
		w, m := bit(i)
		n.queued[w] &^= m
		if n.use(i) {
			return i + firstHigh, true
		}
	}
}

// offer returns the high 8 bits of the port in use that comes next at the hand, looking at up to *looks ports, which it lowers by
// those it looked at.
func (n *node) offer(looks *int) (high uint8, ok bool) {
	for ; *looks > 0; *looks-- {
		i := uint8((int(n.start) + int(n.hand)) % PerBucket)
		n.hand = (n.hand + 1) % PerBucket
		if w, m := bit(i); n.used[w]&m != 0 {
			*looks--
			return i + firstHigh, true
		}
	}
	return 0, false
}

func (n *node) use(i uint8) bool {
	w, m := bit(i)
	if n.used[w]&m != 0 {
		return false
	}
	n.used[w] |= m
	n.inUse++
	return true
}

// mark takes one certain port and says whether it was free.
func (n *node) mark(high uint8) bool { return n.use(high - firstHigh) }

// release gives a port back and says whether it was in use.
func (n *node) release(c *chunks, high uint8) bool {
	i := high - firstHigh
	w, m := bit(i)
	if n.used[w]&m == 0 {
		return false
	}
	n.used[w] &^= m
	n.inUse--
	if n.queued[w]&m == 0 {
		n.queued[w] |= m
		n.queue.push(c, i)
	}
	return true
}
