package worker

// A worker that stood still for more than a second may be a zombie: the cluster may have removed its node meanwhile.
const (
	pauseMS  = 1000
	freezeMS = 1000
)

// pause notes a gap between two turns. After a long one the worker drops what came meanwhile and opens no session until somebody who may know has
// answered a question asked after the gap (Unfreeze), or a second went by without any answer.
func (w *Worker) pause(tick uint32) {
	if tick-w.now >= pauseMS {
		w.freeze = tick + freezeMS
		if w.freeze == 0 {
			w.freeze = 1
		}
		w.paused.Add(1)
		w.FlushRx()
	}
}

// frozen says whether a pause still keeps this worker from opening sessions.
func (w *Worker) frozen() bool {
	if w.freeze == 0 {
		return false
	}
	if int32(w.freeze-w.now) <= 0 {
		w.freeze = 0
	}
	return w.freeze != 0
}

// Unfreeze lets the worker open sessions again: a member or the coordinator has confirmed this life since the pause.
func (w *Worker) Unfreeze() { w.freeze = 0 }

// Pauses counts the gaps of more than a second. Any thread.
func (w *Worker) Pauses() uint64 { return w.paused.Load() }
