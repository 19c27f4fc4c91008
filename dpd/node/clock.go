package node

import "time"

// clock is the time of all packet threads: ticks of a millisecond since the start, and unix milliseconds that never go
// back. Both come from the monotonic clock, so that a step of the wall clock neither suspects nor ages anything; the
// kernel still steers its rate.
type clock struct {
	start time.Time
	wall  int64
}

// firstTick is not 0, since 0 means "never" in some places, and it lies before the wrap, so that the wrap is exercised
// within seconds of every start and not after 49 days.
const firstTick = ^uint32(0) - 4999

func newClock() *clock {
	now := time.Now()
	return &clock{start: now, wall: now.UnixMilli()}
}

func (c *clock) read() (tick uint32, wall int64) {
	ms := time.Since(c.start).Milliseconds()
	return firstTick + uint32(ms), c.wall + ms
}
