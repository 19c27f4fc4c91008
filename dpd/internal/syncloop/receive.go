package syncloop

import "github.com/holdfast-lb/holdfast/dpd/internal/port"

const (
	// mostMessages is about what the largest datagram brings. A worker without room for so many is
	// waited for, since a device's queue holds much more than a worker's ring.
	mostMessages = 512
	// roomWait bounds that wait, in milliseconds: a worker that stands still must not hold up the
	// others.
	roomWait = 2
)

// room is what is known of the room in the workers' rings.
type room struct {
	left  int  // messages that every ring takes at least
	short bool // some worker has been waited for
	since uint32
}

// receive opens what came, as long as the workers have room for it; the rest of a batch waits for
// the next turn.
func (l *Loop) receive() (busy bool) {
	if l.rx.N > 0 {
		busy = true
		if l.received(); l.rx.N > 0 {
			return busy
		}
	}
	for q := range l.cfg.Queues {
		qu := &l.cfg.Queues[q]
		for _, rx := range qu.Rx {
			if qu.Port.Rx(rx, &l.rx) > 0 {
				busy = true
				if l.received(); l.rx.N > 0 {
					return busy
				}
			}
		}
	}
	for _, r := range l.cfg.Soft {
		var p port.Packet
		for l.rx.N < softPerTurn && r.Take(&p) {
			l.rx.Push(p)
		}
		if l.rx.N > 0 {
			busy = true
			if l.received(); l.rx.N > 0 {
				return busy
			}
		}
	}
	return busy
}

// received opens the datagrams of the batch and frees them; it stops where a worker has no room.
func (l *Loop) received() {
	for ; l.next < l.rx.N; l.next++ {
		if !l.hasRoom() {
			return
		}
		l.opening = true
		l.datagram(l.rx.Pkt[l.next].Data)
		l.opening = false
	}
	l.next = 0
	l.leaving = &l.rx
	l.cfg.Pool.Free(&l.rx)
	l.leaving = nil
}

// hasRoom says whether one more datagram may be opened.
func (l *Loop) hasRoom() bool {
	r := &l.room
	if r.left -= mostMessages; r.left >= 0 {
		return true
	}
	least := 1 << 30
	for _, in := range l.cfg.Inbox {
		least = min(least, in.Cap()-in.Len())
	}
	if r.left = least - mostMessages; r.left >= 0 {
		r.short = false
		return true
	}
	r.left = 0
	if !r.short {
		r.short, r.since = true, l.now
	}
	return l.now-r.since >= roomWait
}
