package worker

// LongWay makes every packet go the long way.
func (w *Worker) LongWay() {
	clear(w.door[:])
	clear(w.gates[:])
}
