package worker

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
)

// containStep ends a step that panicked.
func (w *Worker) containStep() {
	if v := recover(); v != nil {
		w.caught(v, w.tidyStep)
	}
}

// containBurst ends a burst that panicked.
func (w *Worker) containBurst(b *port.Batch) {
	if v := recover(); v != nil {
		w.caught(v, func() { w.tidyBurst(b) })
	}
}

// caught counts and reports a panic and tidies up after it. What the shard had to say may be lost: nobody knows how far it came, so
// digests find what differs. A second panic, while tidying up, is contained as well.
func (w *Worker) caught(v any, tidy func()) {
	w.count[stat.Panics]++
	w.panics.Caught(w.now, v)
	defer func() {
		if v := recover(); v != nil {
			w.count[stat.Panics]++
			w.panics.Caught(w.now, v)
			w.forgetLeaving()
		}
	}()
	tidy()
	if w.made.Ref != 0 {
		w.free(w.made, stat.DropPanic)
		w.made = port.Packet{}
	}
	w.shard.Dropped(w.wall, syncer.AllNodes)
}

// tidyStep gives back what the step had on its way.
func (w *Worker) tidyStep() {
	w.forgetLeaving()
	w.released, w.overdue = false, false
	if w.acting {
		w.acting = false
		w.shard.Done()
	}
	w.freeAll(&w.rx)
	w.freeAll(&w.back) // out of the hold
}

func (w *Worker) freeAll(b *port.Batch) {
	for b.N > 0 {
		b.N--
		w.free(b.Pkt[b.N], stat.DropPanic)
	}
}

// tidyBurst frees the packets of a burst that have not left it. Those before w.done have, by whatever way. Of the others some may have
// been queued for a device or dropped, at most as many as fit into a batch, so they are still seen there; and the one at hand may
// wait for a QUERY, or have gone to the host part.
func (w *Worker) tidyBurst(b *port.Batch) {
	left := map[uintptr]bool{0: true, w.gone: true}
	see := func(list []port.Packet) {
		for i := range list {
			left[list[i].Ref] = true
		}
	}
	for q := range w.tx {
		see(w.tx[q].Pkt[:w.tx[q].N])
	}
	see(w.drop.Pkt[:w.drop.N])
	see(w.wait.pkt[:w.wait.n])
	w.forgetLeaving()
	free := func(list []port.Packet) {
		for _, p := range list {
			if !left[p.Ref] {
				left[p.Ref] = true
				w.free(p, stat.DropPanic)
			}
		}
	}
	end := w.n
	if w.admitting {
		free(b.Pkt[:w.n])
		end = b.N
	}
	b.N, w.n = 0, 0
	free(b.Pkt[w.done:end])
}

// forgetLeaving forgets the batch that a device or the pool was given when it panicked: it may have taken some, and a packet that is
// lost is better than one that is freed twice.
func (w *Worker) forgetLeaving() {
	if w.leaving != nil {
		w.leaving.N, w.leaving = 0, nil
	}
}
