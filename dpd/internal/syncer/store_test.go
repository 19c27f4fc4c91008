package syncer_test

import (
	"slices"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
)

// mapStore is the plainest Store: maps, and the contract in so many words.
type mapStore struct {
	rec   map[flow.Handle]*flow.Session
	orig  map[flow.Key]flow.Handle
	reply map[flow.Key]flow.Handle
	last  flow.Handle
	max   int
}

var _ syncer.Store = (*mapStore)(nil)

func newStore() *mapStore {
	return &mapStore{rec: map[flow.Handle]*flow.Session{}, orig: map[flow.Key]flow.Handle{}, reply: map[flow.Key]flow.Handle{}, max: 1 << 20}
}

func (m *mapStore) Near(orig, reply flow.Key) {}

func (m *mapStore) Find(k *flow.Key) (flow.Handle, flow.Direction, bool) {
	if h, ok := m.orig[*k]; ok {
		return h, flow.In, true
	}
	h, ok := m.reply[*k]
	return h, flow.Out, ok
}

func (m *mapStore) Load(h flow.Handle, s *flow.Session) {
	*s = flow.Session{}
	if x := m.rec[h]; x != nil {
		*s = *x
	}
}

func isLive(s *flow.Session) bool { return s.Flags&(flow.Tomb|flow.ReplyOnly) == 0 }

func (m *mapStore) taken(s *flow.Session, own flow.Handle) bool {
	h, ok := m.orig[s.Orig]
	return ok && h != own && isLive(m.rec[h]) && isLive(s)
}

// file puts the original tuple of h where it belongs.
func (m *mapStore) file(h flow.Handle) {
	s := m.rec[h]
	o, taken := m.rec[m.orig[s.Orig]]
	yielded := taken && o.Flags&flow.ReplyOnly != 0
	if !taken || isLive(s) || yielded && (s.Flags&flow.ReplyOnly == 0 || s.Birth > o.Birth) {
		m.orig[s.Orig] = h
	}
}

func (m *mapStore) Insert(s *flow.Session) (flow.Handle, error) {
	switch {
	case m.taken(s, 0):
		return 0, flow.ErrOrigTaken
	case m.reply[s.Reply] != 0:
		return 0, flow.ErrReplyTaken
	case len(m.rec) >= m.max:
		return 0, flow.ErrFull
	}
	m.last++
	c := *s
	m.rec[m.last] = &c
	m.reply[s.Reply] = m.last
	m.file(m.last)
	return m.last, nil
}

func (m *mapStore) Update(h flow.Handle, s *flow.Session) error {
	if m.taken(s, h) {
		return flow.ErrOrigTaken
	}
	*m.rec[h] = *s
	m.file(h)
	return nil
}

func (m *mapStore) Remove(h flow.Handle) {
	s := m.rec[h]
	if s == nil {
		return
	}
	if m.orig[s.Orig] == h {
		delete(m.orig, s.Orig)
	}
	delete(m.reply, s.Reply)
	delete(m.rec, h)
}

func (m *mapStore) Scan(cursor uint32, n int, visit func(flow.Handle)) uint32 {
	for ; n > 0; n-- {
		if cursor++; flow.Handle(cursor) > m.last {
			return 0
		}
		if m.rec[flow.Handle(cursor)] != nil {
			visit(flow.Handle(cursor))
		}
	}
	return cursor
}

// sessions lists the records by reply tuple, without what may differ between equal copies.
func (m *mapStore) sessions() []flow.Session {
	var list []flow.Session
	for _, s := range m.rec {
		list = append(list, *s)
	}
	slices.SortFunc(list, func(a, b flow.Session) int { return a.Reply.Compare(&b.Reply) })
	return list
}

// portLog is a Ports that holds the blocks of given addresses and remembers what happened.
type portLog struct {
	mine          map[string]bool // false: held before, and not now
	marked, freed []flow.Key
	quarantined   []flow.Key // by ref-1
}

func (p *portLog) Quarantine(k *flow.Key, own bool) uint32 {
	if !p.mine[k.Dst().Addr().String()] {
		return 0
	}
	p.quarantined = append(p.quarantined, *k)
	return uint32(len(p.quarantined))
}

func (p *portLog) Free(ref uint32, port uint16) {
	if ref == 0 {
		return
	}
	k := p.quarantined[ref-1]
	if k.DstPort() != port {
		panic("another port is freed than was kept")
	}
	p.freed = append(p.freed, k)
}

func (p *portLog) Mark(k flow.Key)        { p.marked = append(p.marked, k) }
func (p *portLog) Holds(k *flow.Key) bool { return p.mine[k.Dst().Addr().String()] }

func (p *portLog) Release(k flow.Key) {
	if _, known := p.mine[k.Dst().Addr().String()]; known {
		p.freed = append(p.freed, k)
	}
}
