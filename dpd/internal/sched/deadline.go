package sched

// deadline is a server's next turn in virtual time.
type deadline struct {
	at     uint64
	order  uint32 // decides between equals
	server uint32 // index of Service.Servers
}

// deadlines is a heap, the earliest turn first. A server of weight w has turns at (k+1/2)/w of each unit of virtual time: w
// of them, evenly spread, so a pick costs the logarithm of the number of servers and not that number.
type deadlines []deadline

const (
	unit = 1 << 40
	// rewind is when the virtual time starts again, long before it overflows.
	rewind = 1 << 62
)

func (h deadlines) less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].order < h[j].order
}

// build starts the heap for s; rotate moves the order of equals, so that workers begin differently.
func (h deadlines) build(s *Service, rotate uint32) deadlines {
	h = h[:0]
	n := uint32(len(s.takes))
	for i, j := range s.takes {
		h = append(h, deadline{at: unit / uint64(s.Servers[j].Weight) / 2, order: (uint32(i) + n - rotate%n) % n, server: j})
	}
	h.heapify()
	return h
}

func (h deadlines) heapify() {
	for i := len(h)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
}

// pass finds the earliest entry whose server takes flows. Those before it that don't lose their turns, so that they don't
// make up for them in one go later. The order of h must be restored after.
func (h deadlines) pass(takes func(server uint32) bool) (at int, ok bool) {
	for i := range h {
		if (!ok || h.less(i, at)) && takes(h[i].server) {
			at, ok = i, true
		}
	}
	if !ok {
		return 0, false
	}
	for i := range h {
		if h[i].at < h[at].at {
			h[i].at = h[at].at
		}
	}
	return at, true
}

// advance gives the first server, of the given weight, its next turn.
func (h deadlines) advance(weight uint32) {
	h[0].at += unit / uint64(weight)
	h.down(0)
}

func (h deadlines) down(i int) {
	for {
		c := 2*i + 1
		if c >= len(h) {
			return
		}
		if c+1 < len(h) && h.less(c+1, c) {
			c++
		}
		if !h.less(c, i) {
			return
		}
		h[i], h[c] = h[c], h[i]
		i = c
	}
}
