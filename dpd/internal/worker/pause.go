package worker

import "github.com/holdfast-lb/holdfast/dpd/internal/stat"

// A worker that stood still for more than a second may be a zombie: the cluster may have removed its node meanwhile.
const (
	pauseMS  = 1000
	freezeMS = 1000
)

// pause notes a gap between two turns. After a long one the worker drops what came meanwhile and opens no session until
// somebody who may know has answered a question asked after the gap (Unfreeze), or a second went by without any answer.
func (w *Worker) pause(tick uint32, wall int64) {
	if tick-w.now >= pauseMS {
		w.stall(tick, wall)
		w.FlushRx()
	}
}

func (w *Worker) stall(tick uint32, wall int64) {
	w.freeze = tick + freezeMS
	if w.freeze == 0 {
		w.freeze = 1
	}
	w.resumed.Store(wall)
	w.count[stat.Pauses]++
}

// Stall is a pause that turns did not show, since the clock stood still too. What came meanwhile is not dropped: it was
// handled before anybody knew. For requests.
func (w *Worker) Stall() { w.stall(w.now, w.wall) }

// SetWall sets how far wall time is ahead of node time, for births and events. For requests.
func (w *Worker) SetWall(ahead int64) {
	w.ahead = ahead
	w.shard.SetWall(ahead)
}

// frozen says whether a pause still keeps this worker from opening sessions.
func (w *Worker) frozen() bool {
	if w.freeze == 0 {
		return false
	}
	if int32(w.freeze-w.now) <= 0 {
		w.freeze = 0
		w.resumed.Store(0)
	}
	return w.freeze != 0
}

// Unfreeze lets the worker open sessions again: a member or the coordinator has answered what was asked after the pause that
// ended at resumed. A later pause stays. For requests.
func (w *Worker) Unfreeze(resumed int64) {
	if w.resumed.CompareAndSwap(resumed, 0) {
		w.freeze = 0
	}
}

// Resumed is the unix millisecond at which a pause ended that nobody has answered for yet; 0: there is none. Any thread.
func (w *Worker) Resumed() int64 { return w.resumed.Load() }
