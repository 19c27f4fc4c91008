//go:build !amd64

package worker

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

const wide = false

func note(*port.Packet, int, *packet.Gate, *conntrack.Plain) int { return 0 } // never called
