package syncer

import "github.com/holdfast-lb/holdfast/dpd/internal/flow"

// skewLimit is how far, in milliseconds, births of others may move this node's clock ahead of its own time.
const skewLimit = 500

// clock makes births: a hybrid logical clock of 48 bits of unix milliseconds and 16 bits of counter.
type clock struct{ last flow.Birth }

// next is a birth above every birth given or seen, and above the floor.
func (c *clock) next(now int64, floor flow.Birth) flow.Birth {
	b := max(flow.Birth(now)<<16, c.last+1)
	c.last = b
	return max(b, floor+1)
}

// see learns a birth of another node.
func (c *clock) see(now int64, b flow.Birth, bounded bool) {
	if bounded {
		b = min(b, flow.Birth(now+skewLimit)<<16)
	}
	c.last = max(c.last, b)
}

// tokens is a token bucket in milliseconds.
type tokens struct {
	rate, burst int64 // per second
	level       int64 // thousandths
	at          int64
}

func (t *tokens) take(now int64) bool {
	t.level = min(t.level+(now-t.at)*t.rate, t.burst*1000)
	t.at = now
	if t.level < 1000 {
		return false
	}
	t.level -= 1000
	return true
}
