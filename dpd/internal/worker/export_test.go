package worker

// LongWay makes every packet go the long way.
func (w *Worker) LongWay() {
	clear(w.door[:])
	clear(w.gates[:])
}

// Stale is the number of the first packet of the latest burst whose look-up held.
func (w *Worker) Stale() int { return w.stale }
