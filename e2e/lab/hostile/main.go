// Command hostile proves in the lab that datagrams from outsiders cost a cluster nothing, even
// while a node is on its way in. From the router's side of the segment it sends each kind of
// hostile datagram (kinds.go) at each rate to the sync addresses of three data planes, under open
// connections, and restarts nodes in turn (kill -9, start, until admitted). What it replays it
// captured itself: datagrams of present links, of former links and of former lives.
//
// For each kind and rate it prints what came of it. Its last line is
//
//	hostile: kinds=… rates=3000,58000 reached=…,… restarts=… replies=0 ended=0 broken=0
//	admission_ms_baseline=… admission_ms_worst=… delayed_ms_worst=… amplification_worst=…
//
// replies are UDP packets that a node sent to anything but a member's sync address and port, and
// ICMP errors; ended are data planes that ended by themselves; broken are connections and UDP
// flows. Admission is the time from the start of the process until the control plane has admitted
// it. All share a few processors, the sender too: so the same flood to a closed port of the same
// addresses is the control, and delayed is the median of a kind's restarts less that of the
// control's at the same rate. A series that looks late is repeated, by turns with the control,
// before it is believed. Amplification is how many bytes members sent each other for each hostile
// byte, beyond what they send without an attack.
//
// The rates that the sender reached are printed; one that is far below what was asked for says that
// the machine is too small.
//
// The short form is for each change: four kinds that once did harm, one restart of each at the
// lower rate, and a delay counts from 5 s on.
//
// Exit code: 0 when there were no replies, nothing ended or broke, no admission was delayed by a
// second or more and nothing was amplified; 1 otherwise; 2 when the lab could not be run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-lb/holdfast/e2e/lab/cluster"
	"github.com/holdfast-lb/holdfast/e2e/lab/load"
	"github.com/holdfast-lb/holdfast/e2e/lab/topo"
)

// spareThreads is how many threads may run Go code: sender and readers of captures, and as many
// again.
const spareThreads = 8

var errLab = errors.New("the lab does not run")

func main() {
	short := flag.Bool("short", false, "a few kinds, one restart of each, the lower rate")
	only := flag.String("kinds", "", "`names` of kinds, separated by commas; all if empty")
	rates := flag.String("rates", "", "`rates` in datagrams a second, separated by commas (default 3000,58000; short: 3000)")
	restarts := flag.Int("restarts", 3, "restarts of each kind at each rate")
	seed := flag.Uint64("seed", 1, "seed of all choices")
	limit := flag.Duration("limit", 40*time.Minute, "longest `time` of a run")
	verbose := flag.Bool("v", false, "print the lab's steps")
	flag.Parse()
	p, err := planOf(*short, *only, *rates, *restarts)
	if err != nil || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "hostile: bad command line:", err)
		os.Exit(2)
	}
	// The sender's thread sleeps in the kernel thousands of times a second, and never waits to go
	// on.
	runtime.GOMAXPROCS(max(runtime.NumCPU(), spareThreads))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	r, err := hostile(ctx, p, *seed, *verbose)
	code := 0
	for _, f := range r.faults() {
		fmt.Println("hostile: fault:", f)
		code = 1
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "hostile:", err)
		code = 1
	}
	if errors.Is(err, errLab) {
		code = 2
	}
	if code != 0 && ctx.Err() == nil {
		if dir, err := cluster.KeepLogs(); err == nil {
			fmt.Fprintln(os.Stderr, "hostile: the logs are in", dir)
		}
	}
	if code != 2 {
		fmt.Println(r.line())
	}
	os.Exit(code)
}

// shortKinds are those that once ended a data plane, kept a link from being made, or were answered.
var shortKinds = []string{"salt-zero", "replay-present", "inc-other", "stranger-replay"}

func planOf(short bool, only, rates string, restarts int) (plan, error) {
	p := plan{
		kinds: kinds, rates: []int{3000, 58000}, restarts: restarts, baseline: 6, control: 2,
		maxDelay: time.Second, load: flows(60, 8),
	}
	names := strings.Split(only, ",")
	if short {
		p.rates, p.restarts, p.baseline, p.control = []int{3000}, 1, 1, 1
		p.maxDelay = 5 * time.Second // one restart of each tells no less from a busy machine
		if only == "" {
			only, names = "short", shortKinds
		}
	}
	if only != "" {
		p.kinds = nil
		for _, name := range names {
			i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })
			if i < 0 {
				return p, fmt.Errorf("no kind %q", name)
			}
			p.kinds = append(p.kinds, kinds[i])
		}
	}
	if rates != "" {
		p.rates = nil
		for _, text := range strings.Split(rates, ",") {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 || n > 1_000_000 {
				return p, fmt.Errorf("%q is no rate", text)
			}
			p.rates = append(p.rates, n)
		}
	}
	if p.restarts < 1 {
		return p, fmt.Errorf("%d restarts", p.restarts)
	}
	return p, nil
}

// stallMs is how long a connection may be silent: where floods fill the queues of the nodes'
// devices, TCP waits twice as long after each segment that was lost, 25 s after six.
const stallMs = 30_000

func flows(connections, udp int) load.Plan {
	return load.Plan{
		Active: connections - connections/2, Idle: connections / 2, UDP: udp, VIP4: topo.VIP4, VIP6: topo.VIP6,
		StreamPort: topo.PortStream, EchoPort: topo.PortEchoUDP, IntervalMs: 50, Payload: 1000, StallMs: stallMs,
	}
}

func hostile(ctx context.Context, p plan, seed uint64, verbose bool) (result, error) {
	progress := io.Discard
	if verbose {
		progress = os.Stdout
	}
	s := &scenario{plan: p, book: newBook(), seed: seed << 32, began: time.Now()}
	o := cluster.Default()
	o.Restless = true // else nodes would have to wait for having been killed so often
	lab, err := cluster.Up(ctx, o, progress)
	if err != nil {
		return result{}, fmt.Errorf("%w: %w", errLab, err)
	}
	defer func() {
		if err := cluster.Down(io.Discard); err != nil {
			fmt.Fprintln(os.Stderr, "hostile: taking the lab down:", err)
		}
	}()
	s.lab = lab
	if s.rest, err = lab.REST(); err != nil {
		return result{}, fmt.Errorf("%w: %w", errLab, err)
	}
	if s.client, err = lab.StartClient(); err != nil {
		return result{}, fmt.Errorf("%w: %w", errLab, err)
	}
	defer s.client.Stop()
	if s.seg, err = openSegment(lab.Nodes); err != nil {
		return result{}, fmt.Errorf("%w: %w", errLab, err)
	}
	defer s.seg.close()
	s.capture = startCapture(s.seg, s.book)
	defer s.capture.stop()
	s.say("the lab is up: %d kinds at %v a second, %d restarts each", len(p.kinds), p.rates, p.restarts)
	err = s.run(ctx)
	return s.result, err
}
