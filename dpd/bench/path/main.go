//go:build dpdk

// Command path measures the forwarding path of one real worker on DPDK's net_ring: P2 (64 k sessions) and P3 (10 M), each
// against macswap by turns, A B B A, and P7, new sessions, without a device.
//
// What is compared: worker.Turn on a port of 16 rings, with 13 thousand packets of 64 bytes under way, and in its place a
// macswap loop in C, as testpmd's, on the same port. Between the turns a generator on the other core makes new traffic of
// what came out (package course), for both alike, and evicts the bytes of each packet from all caches: it comes from memory, as
// one does that a device has written. Left where they are, they lie in a cache of both or of the other core, as the host happens to place
// the two, which moves the result of the loop in C by a factor of two and more. Only the turns are timed, as processor time. Beside them:
//
//	P2ref   the C loop against dpdk-testpmd on rings of its own, both fed by nobody: whether the loop is a fair stand-in for testpmd
//	P2pmd   the C loop, fed on its own core, against that testpmd: what the course costs
//	P2raw   the worker against that testpmd, which nobody feeds
//	P2one   control: the worker with a turn for each packet
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/holdfast-lb/holdfast/dpd/bench/path/course"
	"github.com/holdfast-lb/holdfast/dpd/internal/dpdk"
	"github.com/holdfast-lb/holdfast/dpd/internal/dpdk/baseline"
)

type options struct {
	core    int
	pairs   int
	slice   time.Duration
	huge    bool
	testpmd string
}

// mbufs is the number of packets of either side's pool.
const mbufs = 32768

func main() {
	var o options
	only := flag.String("run", "p2,p3,p7", "what to measure, separated by commas")
	out := flag.String("json", "", "`file` to write the results to, as a JSON list")
	flag.IntVar(&o.core, "core", runtime.NumCPU()-1, "core of the measured loop")
	flag.IntVar(&o.pairs, "pairs", 8, "pairs of measurements of each comparison, at least 7 for a result to count")
	flag.DurationVar(&o.slice, "slice", 300*time.Millisecond, "length of one measurement")
	flag.BoolVar(&o.huge, "huge", freeHugePages() >= 160, "use huge pages, for both sides; without them the TLB is what is measured")
	flag.StringVar(&o.testpmd, "testpmd", "dpdk-testpmd", "`program` to compare with")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, &o, strings.Split(*only, ","), *out); err != nil {
		fmt.Fprintln(os.Stderr, "path:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o *options, parts []string, out string) (err error) {
	debug.SetGCPercent(-1) // as the data plane does
	before := readCPU()
	fmt.Printf("goos: %s\ngoarch: %s\npkg: github.com/holdfast-lb/holdfast/dpd/bench/path\n", runtime.GOOS, runtime.GOARCH)
	if !o.huge {
		fmt.Println("# no huge pages for packets (echo 300 > /proc/sys/vm/nr_hugepages)")
	}
	var rep report
	for _, part := range parts {
		switch part {
		case "p2", "p3", "p7":
		default:
			return fmt.Errorf("-run: %q: want p2, p3 or p7", part)
		}
	}
	if slices.Contains(parts, "p2") || slices.Contains(parts, "p3") {
		if err := forwarding(ctx, o, parts, &rep); err != nil {
			return err
		}
	}
	if slices.Contains(parts, "p7") {
		if err := newSessions(ctx, o, &rep); err != nil {
			return err
		}
	}
	rep.steal(before, readCPU())
	rep.table(os.Stdout)
	return rep.write(out)
}

// forwarding measures P2 and P3 with one port and one testpmd.
func forwarding(ctx context.Context, o *options, parts []string, rep *report) (err error) {
	rt, err := dpdk.Start(dpdk.Config{FilePrefix: fmt.Sprint("hfpath", os.Getpid()), Mbufs: mbufs, NoHuge: !o.huge, LogLevel: "error"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rt.Close()) }()
	p, err := rt.OpenPort(dpdk.PortConfig{Device: "net_ring9", Workers: course.Queues})
	if err != nil {
		return err
	}
	peer, err := startTestpmd(ctx, o, "net_ring0", course.Queues)
	if err != nil {
		return err
	}
	defer peer.close()
	onThread, end, err := thread(rt, o.core)
	if err != nil {
		return err
	}
	defer end()
	feeder, endFeeder, err := thread(rt, (o.core+1)%runtime.NumCPU())
	if err != nil {
		return err
	}
	defer endFeeder()
	theirs := func() (float64, error) { return peer.measure(o.slice) }
	if slices.Contains(parts, "p2") {
		if err := race(ctx, o, rep, rt, p, onThread, feeder, theirs, trial{"P2", 1 << 16, 1 << 18, 0.40, true}); err != nil {
			return fmt.Errorf("P2: %w", err)
		}
	}
	if slices.Contains(parts, "p3") {
		if err := race(ctx, o, rep, rt, p, onThread, feeder, theirs, trial{"P3", 10_000_000, 1 << 22, 0.28, false}); err != nil {
			return fmt.Errorf("P3: %w", err)
		}
	}
	return nil
}

// trial is one row: sessions in the table, length of the random order over their tuples.
type trial struct {
	id              string
	sessions, order int
	goal            float64
	control         bool
}

// threads of a race: the measured one, and the generator's on another core.
type on func(func() error) error

func race(ctx context.Context, o *options, rep *report, rt *dpdk.Runtime, p *dpdk.Port, subject, feeder on, theirs func() (float64, error), t trial) (err error) {
	var c *course.Course
	if err := subject(func() (err error) {
		c, err = course.New(course.Config{Sessions: t.sessions, Order: t.order, Port: p, Pool: rt.Pool(), Seed: 1})
		if err == nil {
			if err = c.Start(false); err == nil {
				err = c.Warm()
			}
		}
		return err
	}); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, subject(func() error { c.Drain(); return c.Close() }))
	}()
	timed := func(lap func() time.Duration) func() (float64, error) {
		return func() (float64, error) { return measure(subject, feeder, c, o.slice, lap) }
	}
	alone := func(lap func() time.Duration) func() (float64, error) {
		return func() (float64, error) { return measureAlone(subject, c, o.slice, lap) }
	}
	inC := func() time.Duration {
		return c.Through(func(q, to int) int { return baseline.Macswap(p.ID(), q, to) })
	}
	what := fmt.Sprintf("FullNAT hit path of %s sessions", short(t.sessions))
	c.Leave = baseline.Evict
	before, err := handOver(subject, feeder)
	if err != nil {
		return err
	}
	a, b, err := turns(ctx, o.pairs, timed(c.Lap), timed(inC))
	if err != nil {
		return err
	}
	after, err := handOver(subject, feeder)
	if err != nil {
		return err
	}
	rep.faster(t.id, "macswap", what+" / macswap in C, the same generator on the other core, net_ring", a, b, t.goal, fmt.Sprintf("empty polls %.2f %%; hand-over %d ns before, %d after", 100*c.Empty(), before.Nanoseconds(), after.Nanoseconds()))
	if !t.control {
		return nil
	}
	few := max(o.pairs/2, 1)
	unfed := func() time.Duration {
		return c.Through(func(q, _ int) int { baseline.Macswap(p.ID(), q, q); return 0 })
	}
	if a, b, err = turns(ctx, few, func() (float64, error) { return measureUnfed(subject, o.slice, unfed) }, theirs); err != nil {
		return err
	}
	rep.faster(t.id+"ref", "testpmd", "macswap in C that nobody feeds / testpmd macswap that nobody feeds", a, b, 0, "whether the loop in C is a fair stand-in for testpmd")
	c.Leave = nil
	if a, b, err = turns(ctx, few, alone(inC), theirs); err != nil {
		return err
	}
	rep.faster(t.id+"pmd", "testpmd", "macswap in C, generator on its own core / testpmd macswap, net_ring", a, b, 0, "what the course costs")
	if a, b, err = turns(ctx, few, alone(c.Lap), theirs); err != nil {
		return err
	}
	rep.faster(t.id+"raw", "testpmd", what+", generator on its own core / testpmd macswap that nobody feeds", a, b, 0, "packets in the near caches on both sides")
	c.Leave = baseline.Evict
	if a, b, err = turns(ctx, few, timed(c.LapByOne), timed(c.Lap)); err != nil {
		return err
	}
	rep.faster(t.id+"one", "bursts", "control: the same, a turn for each packet / for each batch", a, b, 0, "without stages and without shared turns")
	return nil
}

// newSessions measures P7.
func newSessions(ctx context.Context, o *options, rep *report) error {
	const n, room = 1000, 1 << 20 // laps; sessions
	var rates []float64
	runtime.LockOSThread() // the main thread, which ends with the process
	if err := dpdk.Pin(o.core); err != nil {
		return err
	}
	for range o.pairs {
		if err := ctx.Err(); err != nil {
			return err
		}
		r, err := opening(n, room)
		if err != nil {
			return fmt.Errorf("P7: %w", err)
		}
		rates = append(rates, r)
	}
	rep.atLeast("P7", "new sessions of first SYNs through the worker, without a device", rates, 3)
	return nil
}

func opening(laps, room int) (rate float64, err error) {
	pool, err := course.NewPool(course.Packets)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	c, err := course.New(course.Config{Room: room, Pool: pool, Port: course.NewLoop(pool), Seed: 1})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := c.Start(true); err != nil {
		return 0, err
	}
	var sum time.Duration
	for range laps {
		sum += c.Lap()
		if _, err := c.Feed(); err != nil {
			return 0, err
		}
	}
	return float64(laps*course.Lap) / sum.Seconds() / 1e6, nil
}

// measure runs laps on the measured thread for d, the generator in between on its own, and returns the nanoseconds of a packet.
// The two threads hand over to each other by a word that they poll, as the threads of a data plane do: one that slept
// would begin each lap with what the kernel left in its caches.
func measure(subject, feed on, c *course.Course, d time.Duration, lap func() time.Duration) (float64, error) {
	const subjectsTurn, feedersTurn, over = 0, 1, 2
	var whose atomic.Int32
	fed := make(chan error, 1)
	go func() {
		fed <- feed(func() (err error) {
			for baseline.WaitWhile(&whose, subjectsTurn) != over {
				if err == nil {
					_, err = c.Feed()
				}
				whose.Store(subjectsTurn)
			}
			return err
		})
	}()
	var sum time.Duration
	n := 0
	err := subject(func() error {
		for start := time.Now(); time.Since(start) < d; n++ {
			sum += lap()
			whose.Store(feedersTurn)
			baseline.WaitWhile(&whose, feedersTurn)
		}
		whose.Store(over)
		return nil
	})
	return float64(sum.Nanoseconds()) / float64(n*course.Lap), errors.Join(err, <-fed)
}

// measureAlone is measure with the generator on the measured thread.
func measureAlone(subject on, c *course.Course, d time.Duration, lap func() time.Duration) (float64, error) {
	var sum time.Duration
	n := 0
	err := subject(func() error {
		for start := time.Now(); time.Since(start) < d; n++ {
			sum += lap()
			if _, err := c.Feed(); err != nil {
				return err
			}
		}
		return nil
	})
	return float64(sum.Nanoseconds()) / float64(n*course.Lap), err
}

// measureUnfed is measure without a generator: what comes out goes in again.
func measureUnfed(subject on, d time.Duration, lap func() time.Duration) (float64, error) {
	var sum time.Duration
	n := 0
	err := subject(func() error {
		for start := time.Now(); time.Since(start) < d; n++ {
			sum += lap()
		}
		return nil
	})
	return float64(sum.Nanoseconds()) / float64(n*course.Lap), err
}

// thread starts a locked thread, bound to a core and registered with DPDK, that runs functions until end is called.
func thread(rt *dpdk.Runtime, core int) (on func(func() error) error, end func(), err error) {
	calls, ready, ended := make(chan func()), make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // the thread ends with this goroutine
		if err := errors.Join(dpdk.Pin(core), rt.RegisterThread()); err != nil {
			ready <- err
			return
		}
		ready <- nil
		for f := range calls {
			f()
		}
		rt.UnregisterThread()
		close(ended)
	}()
	if err := <-ready; err != nil {
		return nil, nil, err
	}
	on = func(f func() error) error {
		done := make(chan error)
		calls <- func() { done <- f() }
		return <-done
	}
	return on, func() { close(calls); <-ended }, nil
}

// turns measures a and b in pairs, A B B A, so that a drift of the machine hits both alike.
func turns(ctx context.Context, pairs int, a, b func() (float64, error)) (as, bs []float64, err error) {
	for i := range pairs {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		var v [2]float64
		for j := range 2 {
			which := j ^ i&1
			f := a
			if which == 1 {
				f = b
			}
			if v[which], err = f(); err != nil {
				return nil, nil, err
			}
		}
		as, bs = append(as, v[0]), append(bs, v[1])
	}
	return as, bs, nil
}

func short(n int) string {
	if n%1_000_000 == 0 {
		return fmt.Sprintf("%d M", n/1_000_000)
	}
	return fmt.Sprintf("%d k", n/1024)
}
