package worker

import (
	"time"

	"golang.org/x/sys/unix"
)

// Poll says what a thread does when a turn found nothing.
type Poll uint8

const (
	// Busy polls on: the least delay, one whole core for each thread.
	Busy Poll = iota
	// Adaptive sleeps in the kernel after idleTurns empty turns, first sleepMin, doubling up to sleepMax.
	Adaptive
)

const (
	idleTurns = 32
	sleepMin  = 20 * time.Microsecond
	sleepMax  = 320 * time.Microsecond
)

// Idle is the idle policy of one polling thread.
type Idle struct {
	Policy Poll
	empty  uint32
	sleep  time.Duration
}

// Turn is told whether the last turn did anything, and sleeps if the policy asks for it. It sleeps by nanosleep(2) and
// not by a runtime timer: the thread is locked, and a timer would wake another thread first.
func (i *Idle) Turn(busy bool) {
	if d := i.next(busy); d > 0 {
		ts := unix.NsecToTimespec(int64(d))
		_ = unix.Nanosleep(&ts, nil) // an early wake-up is only an early turn
	}
}

func (i *Idle) next(busy bool) time.Duration {
	if busy || i.Policy == Busy {
		i.empty, i.sleep = 0, 0
		return 0
	}
	if i.empty++; i.empty < idleTurns {
		return 0
	}
	switch {
	case i.sleep == 0:
		i.sleep = sleepMin
	case i.sleep < sleepMax:
		i.sleep *= 2
	}
	return i.sleep
}
