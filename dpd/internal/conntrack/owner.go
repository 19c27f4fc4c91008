package conntrack

import (
	"errors"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// ErrOwners refuses sessions of more than 65535 lives of nodes at once.
var ErrOwners = errors.New("conntrack: too many different owners")

// owners interns the nodes that own sessions, so that a record needs two bytes for one. Index 0 is the zero Node.
type owners struct {
	list []owner
	byID map[flow.Node]uint16
	free []uint16
	last uint16 // taken last: most likely the next one too
}

type owner struct {
	node flow.Node
	refs uint32
}

func newOwners() owners {
	o := owners{byID: make(map[flow.Node]uint16)}
	o.list = append(o.list, owner{refs: 1}) // pinned: the owner of sessions that name none
	o.byID[flow.Node{}] = 0
	return o
}

func (o *owners) node(i uint16) flow.Node { return o.list[i].node }

// take returns the index of n with one more reference.
func (o *owners) take(n flow.Node) (uint16, error) {
	if e := &o.list[o.last]; e.node == n && e.refs > 0 {
		e.refs++
		return o.last, nil
	}
	i, ok := o.byID[n]
	if !ok {
		switch {
		case len(o.free) > 0:
			i = o.free[len(o.free)-1]
			o.free = o.free[:len(o.free)-1]
		case len(o.list) <= 0xffff:
			i = uint16(len(o.list))
			o.list = append(o.list, owner{})
		default:
			return 0, ErrOwners
		}
		o.list[i] = owner{node: n}
		o.byID[n] = i
	}
	o.list[i].refs++
	o.last = i
	return i, nil
}

// drop gives one reference back; a node without references is forgotten.
func (o *owners) drop(i uint16) {
	e := &o.list[i]
	if e.refs--; e.refs == 0 {
		delete(o.byID, e.node)
		o.free = append(o.free, i)
	}
}
