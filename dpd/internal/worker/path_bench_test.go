package worker_test

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-lb/holdfast/dpd/bench/path/course"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

func newCourse(t testing.TB, sessions, room int) *course.Course {
	t.Helper()
	pool, err := course.NewPool(course.Packets)
	if err != nil {
		t.Fatal(err)
	}
	c, err := course.New(course.Config{
		Sessions: sessions, Order: min(4*sessions, 1<<20), Room: room, Pool: pool, Port: course.NewLoop(pool), Seed: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Drain()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := c.Start(sessions == 0); err != nil {
		t.Fatal(err)
	}
	if sessions > 0 {
		if err := c.Warm(); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func lap(t testing.TB, c *course.Course) time.Duration {
	d := c.Lap()
	if _, err := c.Feed(); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestPacketsOfKnownSessionsAllocateNothing: nothing that a packet of a known session meets may allocate.
func TestPacketsOfKnownSessionsAllocateNothing(t *testing.T) {
	c := newCourse(t, 5000, 0)
	if n := testing.AllocsPerRun(50, func() { lap(t, c) }); n != 0 {
		t.Errorf("%v allocations in %d packets", n, course.Lap)
	}
}

// BenchmarkHit is the path of a packet of a known session, both directions half and half, without a device. The figure is
// ns/packet; making the packets is not in it. ns/macswap is the same with the bare swap of MAC addresses in the worker's
// place, alternating lap by lap, to compare with on a machine that is not quiet.
func BenchmarkHit(b *testing.B) {
	for _, n := range []int{1000, 1 << 16, 1_000_000, 10_000_000} {
		if testing.Short() && n > 1<<16 {
			continue
		}
		b.Run(fmt.Sprintf("sessions=%d", n), func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			c := newCourse(b, n, 0)
			b.ReportAllocs()
			b.ResetTimer()
			laps, bare := make([]time.Duration, b.N), make([]time.Duration, b.N)
			for i := range laps {
				laps[i] = lap(b, c)
				bare[i] = c.Straight(swap)
				if _, err := c.Feed(); err != nil {
					b.Fatal(err)
				}
			}
			report(b, laps, "ns/packet")
			report(b, bare, "ns/macswap")
		})
	}
}

// BenchmarkOpen is the path of a client's first SYN: schedule, local port, session, and the packet forwarded.
func BenchmarkOpen(b *testing.B) {
	const room = 1 << 20
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var c *course.Course
	laps := make([]time.Duration, b.N)
	for i := range laps {
		if i%(room/course.Lap-16) == 0 {
			b.StopTimer()
			c = newCourse(b, 0, room)
			b.StartTimer()
		}
		laps[i] = lap(b, c)
	}
	report(b, laps, "ns/session")
}

// report gives the median of the laps, in processor time.
func report(b *testing.B, laps []time.Duration, unit string) {
	slices.Sort(laps)
	b.ReportMetric(float64(laps[len(laps)/2].Nanoseconds())/course.Lap, unit)
}

func swap(b *port.Batch) {
	for i := range b.N {
		d := b.Pkt[i].Data
		var dst [6]byte
		copy(dst[:], d[:6])
		copy(d[:6], d[6:12])
		copy(d[6:12], dst[:])
	}
}
