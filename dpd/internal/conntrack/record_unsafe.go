package conntrack

import (
	"unsafe"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// Records lie in one region in units of 64 bytes: IPv4 sessions take one each, the others two, record and line.
//
//	handle  0  1  2 ...            first6   first6+1
//	unit    0  1  2 ...  (unused)  first6   first6+2 ...
//
// unit is where record h begins.
func (t *Table) unit(h flow.Handle) uint32 {
	u := uint32(h)
	if u >= t.first6 {
		u += u - t.first6
	}
	return u
}

// at is record h.
func (t *Table) at(h flow.Handle) *record { return &t.rec[t.unit(h)] }

// line is the line of record h, which must be of the IPv6 part.
func (t *Table) line(h flow.Handle) *line { return (*line)(unsafe.Pointer(&t.rec[t.unit(h)+1])) }
