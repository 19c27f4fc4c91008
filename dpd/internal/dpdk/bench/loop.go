//go:build dpdk

package main

import (
	"runtime"
	"time"

	"github.com/holdfast-lb/holdfast/dpd/internal/dpdk"
)

// onCore runs f on a locked thread bound to a core and registered with DPDK, and waits for it.
func onCore(rt *dpdk.Runtime, core int, f func()) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with this goroutine
		if err := dpdk.Pin(core); err != nil {
			done <- err
			return
		}
		if err := rt.RegisterThread(); err != nil {
			done <- err
			return
		}
		defer rt.UnregisterThread()
		f()
		done <- nil
	}()
	return <-done
}

// tally is what a slice of polling did.
type tally struct {
	packets, polls, empty uint64
	took                  time.Duration
}

func (t tally) mpps() float64 { return float64(t.packets) / t.took.Seconds() / 1e6 }

// poll calls burst for a while; the clock is read once in many bursts.
func poll(d time.Duration, burst func() int) tally {
	var t tally
	start := time.Now()
	for t.took < d {
		for range 256 {
			n := burst()
			t.polls++
			t.packets += uint64(n)
			if n == 0 {
				t.empty++
			}
		}
		t.took = time.Since(start)
	}
	return t
}
