package sched

// State is what one worker remembers between picks: where it stands in each service and how many connections it has on
// each server. It belongs to one goroutine.
type State struct {
	snap    *Snapshot
	worker  uint32
	workers uint32
	conns   []conns
	turns   []turn // by slot of the server: where a heap that is built anew goes on
	cursors []cursor
}

// conns counts connections of a server; one of another serial than that of the slot's present server is as good as 0.
type conns struct{ serial, n uint32 }

// cursor is where a worker stands in one service.
type cursor struct {
	of   *Service // what heap was built for
	next uint32   // RR: picks so far
	heap deadlines
	at   uint64 // virtual time: of the last turn
}

// NewState makes the state of worker number worker of workers, with an empty snapshot.
func NewState(worker, workers int) *State {
	return &State{snap: &Snapshot{}, worker: uint32(worker), workers: uint32(max(workers, 1))}
}

// Use takes up a new snapshot. Counts stay with their servers; services that didn't change go on where they stood.
func (st *State) Use(s *Snapshot) {
	st.snap = s
	if n := int(s.slots); n > len(st.conns) {
		st.conns = append(make([]conns, 0, n+n/4), st.conns...)[:n]
		st.turns = append(make([]turn, 0, n+n/4), st.turns...)[:n]
	}
	if n := int(s.cursors); n > len(st.cursors) {
		st.cursors = append(make([]cursor, 0, n+n/4), st.cursors...)[:n]
	}
}

// Snapshot is the one in use.
func (st *State) Snapshot() *Snapshot { return st.snap }

// Opened counts a connection on a server of the snapshot in use.
func (st *State) Opened(r *Server) {
	c := &st.conns[r.slot]
	if c.serial != r.serial {
		*c = conns{serial: r.serial}
	}
	c.n++
}

// Closed takes back what Opened counted. Servers that are gone from the snapshot are ignored.
func (st *State) Closed(id uint32) {
	if r := st.snap.Server(id); r != nil {
		if c := &st.conns[r.slot]; c.serial == r.serial && c.n > 0 {
			c.n--
		}
	}
}

// Connections is how many connections this worker has on a server.
func (st *State) Connections(r *Server) uint32 {
	if c := st.conns[r.slot]; c.serial == r.serial {
		return c.n
	}
	return 0
}

// full says whether the server has as many connections as this worker may give it: its share of the node's limit, but one at least, or
// flows of some workers would find no server. So a limit below the number of workers is one for each worker.
func (st *State) full(r *Server) bool {
	if r.MaxConnections == 0 {
		return false
	}
	limit, w := uint64(r.MaxConnections), uint64(st.worker)
	share := limit*(w+1)/uint64(st.workers) - limit*w/uint64(st.workers)
	return uint64(st.Connections(r)) >= max(share, 1)
}

// Pick chooses a server for a new flow of a service of the snapshot in use; false when none takes it. It doesn't count
// the connection: the flow may still fail.
func (st *State) Pick(s *Service) (*Server, bool) {
	if len(s.takes) == 0 {
		return nil, false
	}
	c := &st.cursors[s.slot]
	if c.of != s {
		if c.of == nil || c.of.ID != s.ID {
			c.next = st.worker // so that workers don't all begin with the same server
			c.at = 0
		} else {
			c.heap.keep(c.of, st.turns)
		}
		c.of = s
		c.heap = c.heap[:0]
	}
	switch s.Algorithm {
	case WRR:
		return st.pickWRR(s, c)
	case WLC:
		return st.pickWLC(s, c)
	}
	return st.pickRR(s, c)
}

func (st *State) pickRR(s *Service, c *cursor) (*Server, bool) {
	for range s.takes {
		r := &s.Servers[s.takes[c.next%uint32(len(s.takes))]]
		c.next++
		if !st.full(r) {
			return r, true
		}
	}
	return nil, false
}

func (st *State) pickWRR(s *Service, c *cursor) (*Server, bool) {
	if len(c.heap) == 0 {
		c.heap = c.heap.rebuild(s, c.at, st.turns, c.next)
	}
	if c.heap[0].at > rewind {
		c.at = c.heap[0].at
		for i := range c.heap {
			c.heap[i].at -= c.at
		}
	}
	r := &s.Servers[c.heap[0].server]
	if !st.full(r) {
		c.at = c.heap[0].at
		c.heap.advance(r.Weight)
		return r, true
	}
	at, ok := c.heap.pass(func(i uint32) bool { return !st.full(&s.Servers[i]) })
	if !ok {
		return nil, false
	}
	r = &s.Servers[c.heap[at].server]
	c.at = c.heap[at].at
	c.heap[at].at += unit / uint64(r.Weight)
	c.heap.heapify()
	return r, true
}

func (st *State) pickWLC(s *Service, c *cursor) (*Server, bool) {
	var best *Server
	var load uint64 // connections+1 of best
	c.next++
	first := int(c.next % uint32(len(s.takes))) // of equals another one each time
	for i := range s.takes {
		if i += first; i >= len(s.takes) {
			i -= len(s.takes)
		}
		r := &s.Servers[s.takes[i]]
		n := uint64(st.Connections(r)) + 1
		if (best == nil || n*uint64(best.Weight) < load*uint64(r.Weight)) && !st.full(r) {
			best, load = r, n
		}
	}
	return best, best != nil
}
