package worker

import "github.com/holdfast-lb/holdfast/dpd/internal/flow"

// tokens is a token bucket for the answers that this worker makes by itself.
type tokens struct {
	rate  uint32 // per millisecond
	burst uint32
	level uint32
	at    uint32
}

func (t *tokens) take(now uint32) bool {
	if d := now - t.at; d > 0 {
		t.level = min(t.burst, t.level+min(d, t.burst)*t.rate)
		t.at = now
	}
	if t.level == 0 {
		return false
	}
	t.level--
	return true
}

const (
	errorSlots = 4096 // power of two
	errorBurst = 8    // ICMP errors of one session at once,
	errorMS    = 125  // and milliseconds until it may have another one
)

// errorMeter limits the ICMP errors that are translated for each session, so that nobody who makes them up about some sessions takes
// from others what the worker translates in all. The limit lies in an array by handle: sessions that meet there share it.
type errorMeter struct {
	slot [errorSlots]struct {
		full uint32 // tick at which the whole burst is there again
	}
}

func (m *errorMeter) take(h flow.Handle, now uint32) bool {
	s := &m.slot[uint32(h)&(errorSlots-1)]
	if d := int32(s.full - now); d <= 0 || d > errorBurst*errorMS {
		s.full = now // full, or not used for so long that ticks have wrapped
	}
	if s.full-now > (errorBurst-1)*errorMS {
		return false
	}
	s.full += errorMS
	return true
}
