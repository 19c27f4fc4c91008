package main

import (
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// flood sends one kind at a rate until it is stopped.
type flood struct {
	end     chan struct{}
	wg      sync.WaitGroup
	began   time.Time
	sent    int    // datagrams, and what is below of them
	bytes   uint64 // of IP packets
	refused int    // frames that the kernel did not take
	took    time.Duration
}

// startFlood begins to send; rate is in datagrams a second.
func startFlood(s *segment, g *generator, k kind, rate int) *flood {
	f := &flood{end: make(chan struct{}), began: time.Now()}
	f.wg.Go(func() { f.run(s, g, k, rate) })
	return f
}

// pause is how long the sender sleeps when it is not behind. maxBehind bounds how much it sends in
// one go to catch up after it didn't get the processor: beyond that the rate is missed, and the
// report shows it.
const (
	pause     = 500 * time.Microsecond
	maxBehind = 50 * time.Millisecond
)

func (f *flood) run(s *segment, g *generator, k kind, rate int) {
	// An attacker has a processor of his own; here he has to come before others to reach his rate.
	// A nice value does not do it where the kernel groups processes by sessions. He sleeps by the
	// kernel, too: the runtime's timers wait for threads that come after others. The thread ends with
	// this goroutine.
	runtime.LockOSThread()
	// Without it the rate is lower, and printed.
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1}, 0)
	fr := framer{router: s.router, nodes: s.nodes}
	to := make([]unix.SockaddrLinklayer, len(s.ports))
	for i, p := range s.ports {
		to[i].Ifindex = p
	}
	each := time.Second / time.Duration(rate)
	for next := f.began; ; {
		select {
		case <-f.end:
			f.took = time.Since(f.began)
			return
		default:
		}
		now := time.Now()
		if behind := now.Sub(next); behind > maxBehind {
			next = now.Add(-maxBehind)
		}
		for range 64 {
			if next.After(now) {
				break
			}
			next = next.Add(each)
			d := g.next(k)
			fr.frames(&d, func(b []byte) {
				if unix.Sendto(s.send, b, 0, &to[d.node]) != nil {
					f.refused++
				}
				f.bytes += uint64(len(b) - etherLen)
			})
			f.sent++
		}
		if next.After(now) {
			nap := unix.NsecToTimespec(int64(pause))
			_ = unix.Nanosleep(&nap, nil) // a signal may end it before
		}
	}
}

// stop ends it and waits; then its figures may be read.
func (f *flood) stop() {
	close(f.end)
	f.wg.Wait()
}

// rate is what it reached, in datagrams a second.
func (f *flood) rate() float64 {
	if f.took <= 0 {
		return 0
	}
	return float64(f.sent) / f.took.Seconds()
}
