package clock

import "slices"

const (
	offMS  = 500  // farther than this from the median clock, a node opens nothing: its births would pass for later ones
	backMS = 400  // nearer than this, it may again
	lost   = 1000 // milliseconds for which it must be off; a stand-still alone shifts offsets for some PROBEs
	found  = 5000 // milliseconds for which it must be well again
)

// Guard judges this node's wall clock by those of its peers.
type Guard struct {
	Off   bool
	since int64 // when what speaks against Off began; 0: nothing does
}

// Step takes the offset of the median clock at now, in milliseconds, and says whether the verdict
// changed.
func (g *Guard) Step(now, median int64) bool {
	distance := max(median, -median)
	contrary, wait := distance > offMS, int64(lost)
	if g.Off {
		contrary, wait = distance < backMS, found
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
	g.Off, g.since = !g.Off, 0
	return true
}

// Median is how far the median clock is ahead of this node's, which counts too, as 0. offsets are
// its peers'. Of the middle two of an even number the nearer one counts: so there is always a node
// whose clock is the median, and not all stop opening sessions because two of them disagree.
func Median(offsets []int64) int64 { return Middle(append(slices.Clone(offsets), 0)) }

// Middle is the middle one of some offsets, 0 of none. Of the middle two of an even number the
// nearer one counts.
func Middle(offsets []int64) int64 {
	if len(offsets) == 0 {
		return 0
	}
	all := slices.Sorted(slices.Values(offsets))
	low, high := all[(len(all)-1)/2], all[len(all)/2]
	if max(low, -low) < max(high, -high) {
		return low
	}
	return high
}
