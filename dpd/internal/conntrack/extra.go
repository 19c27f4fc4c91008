package conntrack

import (
	"errors"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// ErrExtraFull says that as many sessions have an Extra as the table was sized for.
var ErrExtraFull = errors.New("conntrack: no room for extra state")

// Extra is what few sessions need beside their record, 64 bytes; pairs are indexed by flow.Direction.
type Extra struct {
	Delta    [2]uint32 // added to sequence numbers of that direction (TOA, proxy protocol, rewritten ISN, SYN cookies)
	DeltaAt  [2]uint32 // sequence number from which on Delta applies
	Packets  [2]uint64
	Bytes    [2]uint64
	Template uint32   // handle of the persistence template; 0 = none
	Scale    [2]uint8 // window scale that the side announced
	_        [10]byte
}

// extras is the slab of them; index 0 is never used.
type extras struct {
	slab  []Extra
	used  int
	fresh uint32 // highest index ever used
	free  uint32 // head of the free list, linked through Extra.Template
}

// Extra is the extra state of h, or nil.
func (t *Table) Extra(h flow.Handle) *Extra {
	if i := t.at(h).side; i != 0 {
		return &t.extra.slab[i]
	}
	return nil
}

// AddExtra gives h zeroed extra state, or returns what it has.
func (t *Table) AddExtra(h flow.Handle) (*Extra, error) {
	if e := t.Extra(h); e != nil {
		return e, nil
	}
	x := &t.extra
	var i uint32
	switch {
	case x.free != 0:
		i = x.free
		x.free = x.slab[i].Template
	case int(x.fresh)+1 < len(x.slab):
		x.fresh++
		i = x.fresh
	default:
		return nil, ErrExtraFull
	}
	x.used++
	x.slab[i] = Extra{}
	t.at(h).side = i
	return &x.slab[i], nil
}

func (t *Table) dropExtra(r *record) {
	if r.side != 0 {
		t.extra.slab[r.side].Template = t.extra.free
		t.extra.free = r.side
		t.extra.used--
		r.side = 0
	}
}
