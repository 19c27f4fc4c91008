package worker

// LongWay makes every packet go the long way.
func (w *Worker) LongWay() {
	for i := range w.door {
		w.door[i] = noDoor
	}
}
