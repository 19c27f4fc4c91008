package node

import (
	"sync"

	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

// sharedTx lets several threads send on a device that has fewer queues than there are threads: one lock a burst. It is
// the fallback for small virtual devices; others give each thread a queue of its own.
type sharedTx struct {
	port.Port
	mu     sync.Mutex
	queues int
}

func (s *sharedTx) Tx(q int, b *port.Batch) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Port.Tx(q%s.queues, b)
}

// forThreads returns p as it is if it has a send queue for each of n threads, else behind a lock.
func forThreads(p port.Port, n int) port.Port {
	if have := p.Info().TxQueues; have < n {
		return &sharedTx{Port: p, queues: max(have, 1)}
	}
	return p
}
