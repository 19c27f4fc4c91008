// Package clock is the time of a data plane: what its threads count by, what births are made by,
// and whether its wall clock is so far from those of its peers that it may open no session. It
// reads no clock of its own accord: the caller passes the kernel's.
//
// A machine has three clocks, and each may mislead:
//
//	                                   monotonic   boottime   realtime
//	the machine is suspended           stands      goes on    goes on
//	a virtual machine is stopped,      stands      stands     stands, until somebody steps it
//	or moved to another host
//	NTP steps the wall clock           goes on     goes on    jumps, by mistake too, and back
//
// Hence two times:
//
//	node time  Clock  unix ms at the start + boottime since. All intervals are measured by it:
//	                  timers, ages, ticks. It never goes back and never runs faster than real time.
//	                  A suspension is a gap in it, and so a pause to every thread that reads it.
//	wall time  Wall   node time + ahead. Births are made by it, and PROBEs tell it to peers. No
//	                  interval is measured by it, so it may be stepped.
//
// The rule by which ahead follows realtime. Two sources must agree: this machine's realtime, and
// the wall time of a peer, both seen from the present wall time. Near is less than 0.1 s.
//
//	realtime  peers               wall time
//	ahead     one is ahead        steps to the nearer one of realtime and the foremost peer, when a
//	                              second has confirmed it
//	behind    one is behind       runs at half the speed to the nearer one of realtime and the last peer
//	ahead     all near or behind  stays: a realtime clock that jumped alone is not followed
//	behind    all near or ahead   stays
//	near      anything            stays: the peers may be wrong
//	ahead     none is heard       runs faster by a hundredth: an hour too much for a minute moves births
//	                              by 0.6 s
//	behind    none is heard       runs at half the speed
//
// One peer is enough, and not their median: where most nodes stood still, it is the few others that
// are right. Wherever the clocks were, once all realtime clocks are right, all nodes below meet at
// the foremost of them or at realtime, and all above at the last or at realtime. So a wrong clock
// alone moves nothing, and what was wrong is mended when both agree:
//
//	milliseconds from the truth           realtime   node time  wall time  opens sessions
//	suspended for 6 s, on resumption            0    -6000, 0   -6000, 0   a pause of 20 ms or more
//	stopped for 6 s                         -6000       -6000      -6000   no, after a second
//	  NTP sets the clock                        0       -6000      -6000   no: that is a pause, too
//	  a second later                            0       -6000          0   again after 5 s
//	NTP: an hour ahead by mistake        +3600000           0          0   yes, but for a pause of 0.2 s
//	  and back                                  0           0          0   yes
//
// A jump of realtime forward against node time by more than a second is the only sign by which a
// stopped virtual machine knows of its stop. It counts as a pause: the node opens nothing until
// somebody answers for it. Whoever was removed meanwhile learns that from the answer to its next
// PROBE, with or without such a sign.
//
// When the clocks of all nodes are stepped together, their wall times agree and stay: births need
// no more than that. The first node that starts afterwards begins with realtime, and the others
// follow it.
package clock

import "sync/atomic"

// FirstTick is not 0, since 0 means "never" in some places, and it lies before the wrap, so that
// the wrap is exercised within seconds of every start and not after 49 days.
const FirstTick = ^uint32(0) - 4999

const (
	lookEvery = 20 // milliseconds between two looks at boottime
	leastSkip = 10 // a smaller difference of two clocks comes of reading one after the other
)

// Clock gives node time and ticks to all threads.
type Clock struct {
	start      int64 // unix milliseconds
	mono, boot func() int64
	lead       int64 // of boottime at the start
	skip       atomic.Int64
	next       atomic.Int64
	looking    atomic.Bool
}

// New makes a clock that begins at a time in unix milliseconds. mono are milliseconds of the
// monotonic clock since then; boot are those of a clock that goes on during a suspension, from any
// time. Both never go back; any thread calls them.
func New(start int64, mono, boot func() int64) *Clock {
	before := mono()
	return &Clock{start: start, mono: mono, boot: boot, lead: boot() - before}
}

// Read is the tick and node time of now. Any thread, once a turn: it asks for boottime each 20 ms
// alone.
func (c *Clock) Read() (tick uint32, now int64) {
	ms := c.mono()
	if ms >= c.next.Load() && c.looking.CompareAndSwap(false, true) {
		c.look(ms)
		c.looking.Store(false)
	}
	ms += c.skip.Load()
	return FirstTick + uint32(ms), c.start + ms
}

// look finds out whether the monotonic clock stood still. The reader may be held up between two
// clocks: lead is too great then, and ahead too small, so that a skip is too small, and never one
// that was not.
func (c *Clock) look(ms int64) {
	c.next.Store(ms + lookEvery)
	boot := c.boot()
	if ahead := boot - c.mono() - c.lead; ahead-c.skip.Load() >= leastSkip {
		c.skip.Store(ahead)
	}
}
