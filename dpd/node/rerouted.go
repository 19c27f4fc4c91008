package node

import "github.com/holdfast-lb/holdfast/dpd/internal/worker"

// rerouted tells every worker that packets may come here which did not before, since what this node announces changed. It
// waits for nobody: the routes may change just because a worker is stuck.
func (n *Node) rerouted() {
	for i := range n.owed {
		n.owed[i].Store(true)
	}
	n.tellRoutes()
}

// tellRoutes tells those workers whose mailbox was full before.
func (n *Node) tellRoutes() {
	for i, w := range n.workers {
		if n.owed[i].CompareAndSwap(true, false) && !w.Post(func(w *worker.Worker) { w.Shard().RouteChanged(w.Now()) }) {
			n.owed[i].Store(true)
		}
	}
}
