//go:build !amd64

package worker

import (
	"unsafe"

	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/neigh"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

func rewrite(pkt *port.Packet, said *conntrack.Plain, n int, routes []neigh.Route4, slots *routeSlot4, tx []port.Batch) int {
	return rewriteGo(unsafe.Slice(pkt, n), unsafe.Slice(said, n), routes, (*[routeSlots]routeSlot4)(unsafe.Pointer(slots)), tx)
}
