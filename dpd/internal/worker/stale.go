package worker

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
)

// FlushRx drops what waits in the receive queues, one round of each ring at most: packets from before a stand-still, or from
// before this node was admitted, whose flows went on elsewhere meanwhile. For requests, and between two turns.
func (w *Worker) FlushRx() {
	for q := range w.cfg.Queues {
		qu := &w.cfg.Queues[q]
		for _, rx := range qu.Rx {
			for left := max(qu.Depth, port.BurstMax); left > 0 && qu.Port.Rx(rx, &w.rx) > 0; {
				left -= w.rx.N
				w.count[stat.RxPackets] += uint64(w.rx.N)
				w.count[stat.DropStale] += uint64(w.rx.N)
				for i := range w.rx.N {
					w.count[stat.RxBytes] += uint64(len(w.rx.Pkt[i].Data))
				}
				w.cfg.Pool.Free(&w.rx)
			}
		}
	}
}
