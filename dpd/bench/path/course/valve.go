package course

import (
	"time"

	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

// valve is the worker's port. Narrow, it hands a burst out one packet at a time: the negative control of the stages, which
// then have nothing to overlap.
type valve struct {
	port.Port
	narrow bool
	got    int // packets that went through
	held   port.Batch
	at     int
}

// Rx receives a burst, or the next packet of one.
func (v *valve) Rx(q int, b *port.Batch) int {
	if !v.narrow {
		n := v.Port.Rx(q, b)
		v.got += n
		return n
	}
	if v.at == v.held.N {
		v.at, v.held.N = 0, 0
		v.Port.Rx(q, &v.held)
	}
	if v.at == v.held.N {
		return 0
	}
	b.Push(v.held.Pkt[v.at])
	v.at++
	v.got++
	return 1
}

// LapByOne is Lap with a turn for every packet.
func (c *Course) LapByOne() time.Duration {
	c.valve.narrow = true
	d := c.Lap()
	c.valve.narrow = false
	return d
}
