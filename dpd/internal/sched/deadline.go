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
	// rewind is when the virtual time is set back to 0, long before it overflows.
	rewind = 1 << 62
)

func (h deadlines) less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].order < h[j].order
}

// rebuild is the heap for s, at virtual time now. Who had a turn to come before keeps it, or one service whose servers come and go
// would begin with its heaviest one for ever; turns missed meanwhile are lost. rotate moves the order of equals, so that workers begin
// differently.
func (h deadlines) rebuild(s *Service, now uint64, had []turn, rotate uint32) deadlines {
	h = h[:0]
	n := uint32(len(s.takes))
	for i, j := range s.takes {
		r := &s.Servers[j]
		at := now + unit/uint64(r.Weight)/2
		if t := &had[r.slot]; t.serial == r.serial {
			at = now
			if t.at > now {
				at += (t.at - now) / uint64(r.Weight) * uint64(t.weight)
			}
		}
		h = append(h, deadline{at: at, order: (uint32(i) + n - rotate%n) % n, server: j})
	}
	h.heapify()
	return h
}

// keep notes the turns to come of the heap's servers, which are those of s.
func (h deadlines) keep(s *Service, had []turn) {
	for i := range h {
		if r := &s.Servers[h[i].server]; int(r.slot) < len(had) {
			had[r.slot] = turn{serial: r.serial, weight: r.Weight, at: h[i].at}
		}
	}
}

// turn is when a server has its next turn, and the weight that it was computed for.
type turn struct {
	serial, weight uint32
	at             uint64
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
