//go:build dpdk

package main

/*
#include <stdint.h>
#include <time.h>

static uint64_t now_ns(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// stall_loop reads the clock for ns nanoseconds and returns the longest time between two readings.
static uint64_t stall_loop(uint64_t ns) {
	uint64_t start = now_ns(), last = start, worst = 0;
	while (last - start < ns) {
		uint64_t t = now_ns();
		if (t - last > worst)
			worst = t - last;
		last = t;
	}
	return worst;
}
*/
import "C"

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/holdfast-lb/holdfast/dpd/internal/dpdk"
)

// measureStall compares the longest gap of a poll loop in a locked goroutine with that of a loop in C on the same core.
func measureStall(ctx context.Context, o *options, rep *report) error {
	kinds := []struct {
		name  string
		procs int
		gc    bool
		loop  func(time.Duration) time.Duration
	}{
		{"c", 2, false, func(d time.Duration) time.Duration { return time.Duration(C.stall_loop(C.uint64_t(d))) }},
		{"go/procs=2", 2, false, goStall},
		{"go/procs=3", 3, false, goStall},
		{"go/procs=3/gc", 3, true, goStall},
	}
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	const rounds = 3
	worst := make([][]float64, len(kinds))
	for round := range rounds {
		for i := range kinds {
			k := (i + round) % len(kinds) // no kind always runs first
			if err := ctx.Err(); err != nil {
				return err
			}
			runtime.GOMAXPROCS(kinds[k].procs)
			gap, err := stallOnce(o, kinds[k].gc, kinds[k].loop)
			if err != nil {
				return err
			}
			us := float64(gap) / 1e3
			worst[k] = append(worst[k], us)
			fmt.Printf("BenchmarkStall/%s\t1\t%.1f max-us\n", kinds[k].name, us)
		}
	}
	for k := 1; k < len(kinds); k++ {
		rep.compare("G1", "longest gap of a locked poll loop in "+o.stall.String()+", "+kinds[k].name+" / c", "us", worst[k], worst[0], 0, "less is better")
	}
	return nil
}

func goStall(d time.Duration) time.Duration {
	start := time.Now()
	var last, worst time.Duration
	for last < d {
		t := time.Since(start)
		worst = max(worst, t-last)
		last = t
	}
	return worst
}

// stallOnce runs loop on the core, with a collection every 100 ms beside it if gc is set.
func stallOnce(o *options, gc bool, loop func(time.Duration) time.Duration) (time.Duration, error) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		t := time.NewTicker(100 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-stop:
				return
			case <-t.C:
				if gc {
					runtime.GC()
				}
			}
		}
	}()
	type outcome struct {
		gap time.Duration
		err error
	}
	ch := make(chan outcome)
	go func() {
		runtime.LockOSThread()
		if err := dpdk.Pin(o.core); err != nil {
			ch <- outcome{err: err}
			return
		}
		ch <- outcome{gap: loop(o.stall)}
	}()
	res := <-ch
	close(stop)
	<-stopped
	return res.gap, res.err
}
