package syncloop

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
)

// The steps of a turn, in order.
const (
	stepBegin = iota
	stepReceive
	stepOutbox
	stepTick
	stepRequests
	stepSeal
	stepSend
	stepTell
	stepsOfTurn
)

// turn is what is known of the turn under way.
type turn struct {
	step int // the next one
	busy bool
}

// Turn is one turn; it reports whether there was anything to do. A step that panics ends, and the turn goes on with the next one, or
// with the next datagram.
func (l *Loop) Turn() bool {
	l.work = turn{}
	for l.work.step < stepsOfTurn {
		l.steps()
	}
	return l.work.busy
}

func (l *Loop) steps() {
	defer l.contain()
	for l.work.step < stepsOfTurn {
		step := l.work.step
		l.work.step++
		l.do(step)
	}
}

func (l *Loop) do(step int) {
	t := &l.work
	switch step {
	case stepBegin:
		l.now, l.wall = l.cfg.Clock()
	case stepReceive:
		t.busy = l.receive() || t.busy
	case stepOutbox:
		t.busy = l.outbox() || t.busy
	case stepTick:
		if l.sync != nil && l.now-l.tick >= tickEvery {
			l.tick = l.now
			l.sync.Tick(l.wall)
		}
	case stepRequests:
		t.busy = l.requests() || t.busy
	case stepSeal:
		if l.sync != nil && t.busy {
			l.sync.Flush(l.wall)
		}
	case stepSend:
		l.flush()
	case stepTell:
		l.count[stat.Turns]++
		if !t.busy {
			l.count[stat.EmptyTurns]++
		}
		if l.now-l.told >= publishEvery {
			l.told = l.now
			l.shared.Publish(l.count[:])
		}
		l.beat.Store(l.now)
	}
}

// outbox takes what the shards have to say.
func (l *Loop) outbox() (busy bool) {
	for shard, r := range l.cfg.Outbox {
		for n := 0; n < outboxPerTurn && r.Take(&l.in); n++ {
			busy = true
			if l.sync != nil {
				l.sync.Queue(l.wall, shard, &l.in)
			}
		}
	}
	return busy
}

// contain ends a step that panicked.
func (l *Loop) contain() {
	v := recover()
	if v == nil {
		return
	}
	l.count[stat.Panics]++
	l.panics.Caught(l.now, v)
	defer func() { // a second one, while tidying up
		if v := recover(); v != nil {
			l.count[stat.Panics]++
			l.panics.Caught(l.now, v)
		}
	}()
	if l.leaving != nil { // the device or the pool may have taken some: lost is better than freed twice
		l.leaving.N, l.leaving = 0, nil
		if l.rx.N == 0 {
			l.next = 0
		}
	}
	if l.made.Ref != 0 {
		l.drop.Push(l.made)
		l.made = port.Packet{}
		l.cfg.Pool.Free(&l.drop)
		l.count[stat.DropPanic]++
	}
	if l.opening { // its packet goes with the batch
		l.opening = false
		l.next++
		l.count[stat.DropPanic]++
		l.work.step = stepReceive
	}
	if l.sync != nil {
		l.sync.Recovered(l.wall)
	}
}
