package conntrack

import "github.com/holdfast-lb/holdfast/dpd/internal/flow"

// SetCounted notes that session h counts on its server, because this node opened it or passed a packet of it. When it
// ends here, however that comes about, Config.OnUncount is told once. It reports false when h counts already or is over.
func (t *Table) SetCounted(h flow.Handle) bool {
	r := t.at(h)
	if !t.Live(h) || r.flags&(flow.Counted|flow.Tomb) != 0 {
		return false
	}
	r.flags |= flow.Counted
	return true
}

// uncount ends what SetCounted began.
func (t *Table) uncount(h flow.Handle) {
	r := t.at(h)
	if r.flags&flow.Counted == 0 {
		return
	}
	r.flags &^= flow.Counted
	if t.onUncount != nil {
		t.onUncount(t.cold[h].server)
	}
}
