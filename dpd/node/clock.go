package node

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-lb/holdfast/dpd/internal/clock"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
)

const firstTick = clock.FirstTick

// newClock is the clock of this machine, from now on.
func newClock() *clock.Clock {
	start := time.Now()
	return clock.New(start.UnixMilli(), func() int64 { return time.Since(start).Milliseconds() }, boottime)
}

// boottime is 0 where the kernel has none; then a suspension shows in realtime alone.
func boottime() int64 {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return 0
	}
	return t.Nano() / int64(time.Millisecond)
}

func realtime() int64 { return time.Now().UnixMilli() }

// walling is what threads must know of this node's wall time. The watcher alone touches it.
type walling struct {
	clock.Wall
	stalls  uint32 // pauses that realtime alone showed
	sync    uint32 // the ones that the sync thread knows of
	workers []toldWall
}

// toldWall is what a worker knows.
type toldWall struct {
	ahead  int64
	stalls uint32
}

// followWall brings wall time to where realtime and the peers agree that it belongs. Whoever is
// held up between two clocks would see one of them jump.
func (n *Node) followWall(peers []int64) {
	w, before := &n.walling, n.walling.Ahead()
	_, now := n.clock()
	shown := n.real()
	if _, after := n.clock(); after-now > lateAfter.Milliseconds() {
		return
	}
	if w.Step(now, shown, peers) {
		w.stalls++
		n.log.Warn("realtime jumped ahead: perhaps this node stood still; it opens nothing until it is answered")
	}
	if d := w.Ahead() - before; d > 0 && len(peers) > 0 {
		n.log.Warn("wall time follows realtime and the peers", "step_ms", d)
	}
	n.tellWall()
}

// tellWall tells every worker that does not know it yet; if its mailbox is full, the next look
// tries again.
func (n *Node) tellWall() {
	now := toldWall{n.walling.Ahead(), n.walling.stalls}
	if n.walling.workers == nil {
		n.walling.workers = make([]toldWall, len(n.workers))
	}
	for i, w := range n.workers {
		told := &n.walling.workers[i]
		if *told == now {
			continue
		}
		stalled := told.stalls != now.stalls
		if w.Post(func(w *worker.Worker) {
			w.SetWall(now.ahead)
			if stalled {
				w.Stall()
			}
		}) {
			*told = now
		}
	}
}
