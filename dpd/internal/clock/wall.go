package clock

import "slices"

const (
	followAfter = 1_000 // milliseconds for which realtime and peers must agree before wall time moves
	followLeast = 100   // a nearer goal is not worth a move: offsets of peers are known to some milliseconds
	slowBy      = 2     // wall time runs slower by one in so many
	fastBy      = 100   // and faster, where no peer is heard
	longestStep = 1_000 // milliseconds between two looks that count, since a longer time was a pause
	jump        = 1_000 // realtime that ran ahead of node time by more shows a pause
)

// Wall decides how far wall time is ahead of node time; the package's comment has the rule. The
// zero value is right for a node time that began with realtime.
type Wall struct {
	ahead  int64
	begun  bool
	real   int64 // realtime minus node time when they were last seen
	moved  int64 // node time of the last look at the rule
	agreed int64 // node time since which both sources call wall time wrong; 0: they don't
}

// Ahead is wall time minus node time, in milliseconds.
func (w *Wall) Ahead() int64 { return w.ahead }

// Step takes realtime at node time now, both in unix milliseconds, and the wall clocks of peers
// that are heard, as what they are ahead of this wall time. It reports that realtime jumped ahead,
// so that this node may have stood still. It wants to be called several times a second.
func (w *Wall) Step(now, realtime int64, peers []int64) (stood bool) {
	lead := realtime - now
	if !w.begun {
		w.begun, w.real, w.moved = true, lead, now
		return false
	}
	stood, w.real = lead-w.real > jump, lead
	w.follow(now, max(w.moved, now-longestStep), peers)
	w.moved = now
	return stood
}

// follow moves wall time by the rule. The last move was at from.
func (w *Wall) follow(now, from int64, peers []int64) {
	faster, slower := now/fastBy-from/fastBy, now/slowBy-from/slowBy
	goal := w.real - w.ahead
	if len(peers) == 0 {
		w.agreed = 0
		w.ahead += max(min(goal, faster), -slower)
		return
	}
	goal = within(goal, peers)
	if max(goal, -goal) < followLeast {
		w.agreed = 0
		return
	}
	if w.agreed == 0 {
		w.agreed = now
	}
	if now-w.agreed >= followAfter {
		w.ahead += max(goal, -slower)
	}
}

// within is as much of a way as peers went: not beyond the one that is farthest in its direction,
// and 0 if none is.
func within(goal int64, peers []int64) int64 {
	if goal > 0 {
		return max(min(goal, slices.Max(peers)), 0)
	}
	return min(max(goal, slices.Min(peers)), 0)
}
