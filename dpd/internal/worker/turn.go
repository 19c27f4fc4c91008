package worker

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
)

// The steps of a turn, in order.
const (
	stepBegin = iota
	stepMailbox
	stepReceive
	stepHanded
	stepInbox
	stepAge
	stepTick
	stepSpare
	stepActions
	stepTell
	stepFlush
	stepsOfTurn
)

// turn is what is known of the turn under way.
type turn struct {
	step   int // the next one
	busy   bool
	loaded bool // it has found something else to do than what can wait
}

// Turn is one turn of the loop; it reports whether there was anything to do. A step that panics ends, and the turn goes on with the
// next one.
func (w *Worker) Turn() bool {
	w.work = turn{}
	for w.work.step < stepsOfTurn {
		w.steps()
	}
	return w.work.busy
}

func (w *Worker) steps() {
	defer w.containStep()
	for w.work.step < stepsOfTurn {
		step := w.work.step
		w.work.step++
		w.do(step)
	}
}

func (w *Worker) do(step int) {
	t := &w.work
	switch step {
	case stepBegin:
		tick, wall := w.cfg.Clock()
		if g := tick - w.now; g > w.gap {
			w.gap = g
		}
		w.pause(tick, wall)
		w.now, w.wall = tick, wall
		w.table.Advance(expiry.Tick(w.now))
		w.freshRoutes()
	case stepMailbox:
		t.busy = w.mailbox()
	case stepReceive:
		t.busy = w.receive() || t.busy
	case stepHanded:
		t.busy = w.handed() || t.busy
	case stepInbox:
		heard := w.inbox()
		t.loaded = t.busy || heard > spareInbox
		t.busy = t.busy || heard > 0
	case stepAge:
		t.busy = w.age() || t.busy
	case stepTick:
		w.tick()
	case stepSpare:
		t.busy = !t.loaded && w.spare() || t.busy
	case stepActions:
		t.busy = w.actions() || t.busy
	case stepTell:
		w.tell()
	case stepFlush:
		w.flush()
		w.count[stat.Turns]++
		if !t.busy {
			w.count[stat.EmptyTurns]++
		}
	}
}

// receive takes what the devices have.
func (w *Worker) receive() (busy bool) {
	for q := range w.cfg.Queues {
		qu := &w.cfg.Queues[q]
		for _, rx := range qu.Rx {
			// As long as bursts are full and the batch has room: the more go through the stages together, the less they wait.
			for qu.Port.Rx(rx, &w.rx) == port.BurstMax {
			}
			if w.rx.N > 0 {
				busy = true
				w.arrive(&w.rx, uint8(q))
			}
		}
	}
	return busy
}
