package conntrack

import (
	"unsafe"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// at is record h.
func (t *Table) at(h flow.Handle) *record { return &t.rec[h] }

// word is the eight bytes of a record from state to kind.
func (r *record) word() uint64 { return *(*uint64)(unsafe.Pointer(&r.state)) }
