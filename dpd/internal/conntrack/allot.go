package conntrack

import "github.com/holdfast-lb/holdfast/dpd/internal/flow"

// allot takes a free handle of the family's part; when there is none, OnFull may free one, else it evicts an embryonic
// session. 0: full.
func (t *Table) allot(six bool) flow.Handle {
	p := &t.part[0]
	if six {
		p = &t.part[1]
	}
	h := p.take(t)
	if h == 0 && t.onFull != nil && t.onFull(six) {
		h = p.take(t)
	}
	if h == 0 && t.evict(p) {
		h = p.take(t)
	}
	return h
}

func (p *part) take(t *Table) flow.Handle {
	var h uint32
	switch {
	case p.free != 0:
		h = p.free
		p.free = t.at(flow.Handle(h)).side
		t.at(flow.Handle(h)).side = 0
	case p.fresh < p.end:
		h = p.fresh
		p.fresh++
	default:
		return 0
	}
	p.used++
	return flow.Handle(h)
}

// giveBack frees a handle that the index no longer names.
func (t *Table) giveBack(h flow.Handle) {
	p := t.partOf(h)
	t.deadline[h] = 0
	if r := t.at(h); r.kind&kindWide != 0 {
		t.paths.drop(r.ports[0])
	}
	*t.at(h) = record{side: p.free}
	p.free = uint32(h)
	p.used--
}

// recentSize bounds how many embryonic sessions are remembered for eviction; a power of two.
const recentSize = 4096

// recent remembers the handles of the latest embryonic sessions of one part, newest last, overwriting the oldest.
type recent struct {
	ring [recentSize]flow.Handle
	n    uint32 // pushed minus popped
	held uint32
}

func (r *recent) push(h flow.Handle) {
	r.ring[r.n%recentSize] = h
	r.n++
	r.held = min(r.held+1, recentSize)
}

func (r *recent) pop() flow.Handle {
	if r.held == 0 {
		return 0
	}
	r.held--
	r.n--
	return r.ring[r.n%recentSize]
}

// evictSearch bounds the records looked at to make room for one.
const evictSearch = 64

// evict removes one embryonic session of part p: the newest that is remembered, else one that a bounded walk meets. A
// flood of half-open sessions so pays with its own, and whoever finished a handshake never pays.
func (t *Table) evict(p *part) bool {
	if t.stats.Embryonic == 0 {
		return false
	}
	for range evictSearch {
		h := p.newest.pop()
		if h == 0 {
			break
		}
		if t.Live(h) && t.at(h).flags&flow.Embryonic != 0 {
			t.evictOne(h)
			return true
		}
	}
	for range evictSearch {
		if p.walk < p.first || p.walk >= p.end {
			p.walk = p.first
		}
		h := flow.Handle(p.walk)
		p.walk++
		if t.deadline[h] != 0 && t.at(h).flags&flow.Embryonic != 0 {
			t.evictOne(h)
			return true
		}
	}
	return false
}

func (t *Table) evictOne(h flow.Handle) {
	if t.onEvict != nil {
		t.Load(h, &t.scratch)
		t.onEvict(h, &t.scratch)
	}
	t.stats.Evicted++
	t.Remove(h)
}
