//go:build !amd64

package worker

import (
	"unsafe"

	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/neigh"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

// wide is false, so there are no gates, and noteGo is what notes packets.
const wide = false

// note notes nothing: were it called, every packet would go the long way.
func note(*port.Packet, int, *packet.Gate, *conntrack.Plain) int { return 0 }

func rewrite(pkt *port.Packet, said *conntrack.Plain, n int, routes []neigh.Route4, slots *routeSlot4, tx []port.Batch) int {
	return rewriteGo(unsafe.Slice(pkt, n), unsafe.Slice(said, n), routes, (*[routeSlots]routeSlot4)(unsafe.Pointer(slots)), tx)
}
