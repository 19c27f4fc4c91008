package coordinator

import "time"

// Statuses of one node: so many at once, then one each paceEvery. All nodes share the term's goroutine, and one that tells
// without end would take it from the others; now it fills its own stream.
const (
	paceBurst = 20
	paceEvery = 5 * time.Millisecond
)

// pace spaces what one node tells.
type pace struct {
	free time.Time // when the next one is due, were there no burst
}

// wait is how long the next one must wait.
func (p *pace) wait(now time.Time) time.Duration {
	if full := now.Add(-paceBurst * paceEvery); p.free.Before(full) {
		p.free = full
	}
	p.free = p.free.Add(paceEvery)
	return max(p.free.Sub(now), 0)
}
