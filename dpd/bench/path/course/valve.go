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
	held   port.Batch
	at     int
}

// Rx receives a burst, or the next packet of one.
func (v *valve) Rx(q int, b *port.Batch) int {
	if !v.narrow {
		return v.Port.Rx(q, b)
	}
	if v.at == v.held.N {
		v.at = 0
		v.Port.Rx(q, &v.held)
	}
	b.N = 0
	if v.at < v.held.N {
		b.Push(v.held.Pkt[v.at])
		v.at++
	}
	return b.N
}

// LapByOne is Lap with a turn for every packet.
func (c *Course) LapByOne() time.Duration {
	c.valve.narrow = true
	start := cpu()
	for q := range c.queues {
		c.Worker.SetRx(0, c.queues[q])
		for range min(c.level[q], port.BurstMax) {
			c.Worker.Turn()
		}
		c.level[q] -= min(c.level[q], port.BurstMax)
	}
	d := cpu() - start
	c.valve.narrow = false
	return d
}
