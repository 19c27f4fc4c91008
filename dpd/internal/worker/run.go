package worker

import (
	"context"

	"github.com/holdfast-lb/holdfast/dpd/internal/ring"
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

// Empty frees the packets that other threads handed to this worker and that it did not take. After Run of all workers and
// of the sync thread.
func (w *Worker) Empty() {
	for _, rings := range [][]*ring.SPSC[Handed]{w.cfg.Links.HandFrom, w.cfg.Links.HostFrom} {
		for _, r := range rings {
			var h Handed
			for r != nil && r.Take(&h) {
				w.discard(h.Pkt)
			}
		}
	}
	w.flush()
}
