package worker

import (
	"context"

	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
)

// Run turns until ctx ends, then gives back every packet that the worker still owns. The caller has locked the goroutine
// to its thread.
func (w *Worker) Run(ctx context.Context) {
	for n := 0; ; n++ {
		if n&63 == 0 && ctx.Err() != nil {
			break
		}
		w.idle.Turn(w.Turn())
	}
	w.back.N = 0
	for w.wait.n > 0 {
		w.wait.n--
		w.free(w.wait.pkt[w.wait.n], stat.DropHoldTimeout)
	}
	w.flush()
}
