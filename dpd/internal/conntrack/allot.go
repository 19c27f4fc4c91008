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

func (t *Table) evictOne(h flow.Handle) {
	if t.onEvict != nil {
		t.Load(h, &t.scratch)
		t.onEvict(h, &t.scratch)
	}
	t.stats.Evicted++
	t.Remove(h)
}
