package node

import "slices"

const (
	clockOffMS  = 500  // farther than this from the median clock, a node opens nothing: its births would pass for later ones
	clockBackMS = 400  // nearer than this, it may again
	clockLost   = 1000 // milliseconds for which it must be off; a stand-still alone shifts offsets for some PROBEs
	clockFound  = 5000 // milliseconds for which it must be well again
)

// clockGuard judges this node's clock by those of its peers.
type clockGuard struct {
	off   bool
	since int64 // when what speaks against off began; 0: nothing does
}

// step takes the offset of the median clock at now, in milliseconds, and says whether the verdict changed.
func (g *clockGuard) step(now, median int64) bool {
	distance := max(median, -median)
	contrary, wait := distance > clockOffMS, int64(clockLost)
	if g.off {
		contrary, wait = distance < clockBackMS, clockFound
	}
	if !contrary {
		g.since = 0
		return false
	}
	if g.since == 0 {
		g.since = now
	}
	if now-g.since < wait {
		return false
	}
	g.off, g.since = !g.off, 0
	return true
}

// medianClock is how far the median clock is ahead of this node's, which counts too, as 0. offsets are its peers'. Of the
// middle two of an even number the nearer one counts: so there is always a node whose clock is the median, and not all stop
// opening sessions because two of them disagree.
func medianClock(offsets []int64) int64 {
	all := slices.Sorted(slices.Values(append(offsets, 0)))
	low, high := all[(len(all)-1)/2], all[len(all)/2]
	if max(low, -low) < max(high, -high) {
		return low
	}
	return high
}
