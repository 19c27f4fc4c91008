package worker

// LongWay makes every packet go the long way.
func (w *Worker) LongWay() {
	clear(w.door[:])
	clear(w.gates[:])
}

// Stale is how many packets of the latest burst had to be looked up again.
func (w *Worker) Stale() int { return w.stale }
