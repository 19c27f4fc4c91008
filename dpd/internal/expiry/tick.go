// Package expiry is the arithmetic of deadlines: ticks that wrap, timeouts that fit 16 bits, jitter without a random
// source, and a bounded sweep over a dense array of deadlines. It reads no clock; callers say what time it is.
package expiry

// Tick is a moment in milliseconds of a clock that wraps after 49.7 days. Comparisons hold while two ticks are less than
// half of that apart, so nothing may be kept waiting longer than Horizon without being looked at.
type Tick uint32

// Horizon is the greatest distance in milliseconds that deadlines and idle times are kept at: a quarter of the range of
// Tick, so that a late look still compares on the right side.
const Horizon = 1 << 30

// Before says whether t is earlier than o.
func (t Tick) Before(o Tick) bool { return int32(t-o) < 0 }

// Since is the number of milliseconds from o to t; 0 when o lies in the future.
func (t Tick) Since(o Tick) uint32 {
	if d := int32(t - o); d > 0 {
		return uint32(d)
	}
	return 0
}

// Add is the tick ms milliseconds later; ms is bounded by Horizon.
func (t Tick) Add(ms uint32) Tick { return t + Tick(min(ms, Horizon)) }

// Sub is the tick ms milliseconds earlier; ms is bounded by Horizon.
func (t Tick) Sub(ms uint32) Tick { return t - Tick(min(ms, Horizon)) }
