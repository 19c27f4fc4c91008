// Package node joins the parts of a data plane into a running one: devices, workers, sync thread, host part, routes,
// control server, events. It is the one exported seam of dpd: main runs a Node on DPDK, tests build meshes of Nodes on ports
// in memory.
//
// Everything that the services say is kept here (the applied configuration, view and keys) and compiled into what
// each thread needs; a thread gets it through its mailbox. When the services are gone the last word stays in force.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-lb/holdfast/dpd/internal/announce"
	"github.com/holdfast-lb/holdfast/dpd/internal/clock"
	"github.com/holdfast-lb/holdfast/dpd/internal/config"
	"github.com/holdfast-lb/holdfast/dpd/internal/control"
	"github.com/holdfast-lb/holdfast/dpd/internal/event"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/neigh"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/ring"
	"github.com/holdfast-lb/holdfast/dpd/internal/sched"
	"github.com/holdfast-lb/holdfast/dpd/internal/steer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncloop"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
)

// Version of the data plane, shown by GetInfo.
const Version = "0.1.0"

// Options are the parts that a test puts in the place of real ones.
type Options struct {
	// Devices instead of DPDK as configured.
	Devices Devices
	// Log; slog.Default if nil.
	Log *slog.Logger
	// Bus instead of NATS as configured.
	Bus event.Bus
}

// Node is one data plane.
type Node struct {
	cfg   config.Config
	log   *slog.Logger
	dev   Devices
	bus   event.Bus
	clock func() (tick uint32, now int64)
	real  func() int64 // unix milliseconds of the kernel's realtime clock
	began time.Time

	buckets steer.Map
	ports   []port.Port // with a lock where queues are few
	workers []*worker.Worker
	loop    *syncloop.Loop
	routes  *neigh.Publisher
	host    *neigh.Machine // touched on worker 0's thread alone
	events  []*ring.SPSC[flow.Event]
	pub     *event.Publisher
	ann     *announce.Announcer
	hops    [2]netip.Addr // next hop of announced routes
	stored  *incarnation
	server  *apiServer
	held    atomic.Pointer[string] // why the guard holds the routes back; see holding
	vouched atomic.Int64           // when the coordinator last began to say that this life is a member, unix milliseconds
	walling walling                // of the watcher
	owed    []atomic.Bool          // by worker: it has not been told that routes changed

	mu        sync.Mutex // of what follows; held while threads are told, so that they hear in order
	life      flow.Node
	state     control.State
	config    control.Config
	schedule  *sched.Snapshot
	view      control.Membership
	keys      control.Keys
	hasher    *steer.Hasher
	interp    *steer.Interpreter
	rules     []deviceRules
	lastRules []steer.Rule
	hwSync    []bool       // by port: the device steers sync datagrams, so the sync thread has its queue
	blocks    []netip.Addr // that workers allocate from
	torn      bool         // the last change of blocks failed half-way
	fencedAt  map[flow.Node]time.Time
	announced []purposeRoute
	proving   proving
	timing    clock.Guard
	told      time.Time // when routes were announced last
	seen      observation
	nextUse   time.Time          // not before, see blockUse
	drain     time.Time          // when the quiet time ends; zero: no drain
	repairing map[flow.Node]bool // peers whose digests are not equal
	equalAt   map[flow.Node]time.Time
	changed   chan struct{}
	rejoin    chan flow.Node
}

type deviceRules struct {
	device string
	rules  []RuleResult
}

// New checks and wires everything; nothing moves before Run.
func New(cfg config.Config, o Options) (*Node, error) {
	n := &Node{
		cfg: cfg, log: o.Log, dev: o.Devices, bus: o.Bus, clock: newClock().Read, real: realtime, began: time.Now(), state: control.StateStarting,
		changed: make(chan struct{}), rejoin: make(chan flow.Node, 1), fencedAt: map[flow.Node]time.Time{},
	}
	if n.log == nil {
		n.log = slog.Default()
	}
	var err error
	if n.bus == nil && cfg.NATS.URL != "" {
		if n.bus, err = connectBus(&cfg.NATS, cfg.Node.Name, n.log); err != nil {
			return nil, err
		}
	}
	if n.stored, err = openIncarnation(cfg.Node.DataDir); err != nil {
		return nil, err
	}
	if n.buckets, err = steer.NewMap(cfg.Workers); err != nil {
		return nil, err
	}
	n.hasher = steer.NewHasher(steer.Key{})
	if n.interp, err = steer.NewInterpreter(n.hasher, nil); err != nil {
		return nil, err
	}
	if n.schedule, err = sched.Compile(&sched.Config{}, nil); err != nil {
		return nil, err
	}
	if n.dev == nil {
		if n.dev, err = dpdkDevices(&cfg, nil, &n.buckets); err != nil {
			return nil, err
		}
	}
	if err := n.wire(); err != nil {
		return nil, errors.Join(err, n.dev.Close())
	}
	if err := n.announcer(); err != nil {
		return nil, errors.Join(err, n.dev.Close())
	}
	if n.server, err = n.listen(); err != nil {
		n.ann.Stop()
		return nil, errors.Join(err, n.dev.Close())
	}
	return n, nil
}

// Address is where the control server listens.
func (n *Node) Address() string { return n.server.address() }

// Run moves packets and serves the control plane until ctx ends; then routes are withdrawn first.
func (n *Node) Run(ctx context.Context) error {
	// Packet threads are never asked to stop by the scheduler for long if there is always a processor for the others.
	runtime.GOMAXPROCS(max(runtime.NumCPU(), len(n.workers)+2))
	threads, stop := context.WithCancel(context.Background())
	var packets, others sync.WaitGroup
	fail := make(chan error, len(n.workers)+4)
	for i, w := range n.workers {
		packets.Go(func() { fail <- n.thread(threads, i+1, w.Run) })
	}
	packets.Go(func() { fail <- n.thread(threads, 0, n.loop.Run) })

	ctx, cancel := context.WithCancel(ctx)
	others.Go(func() { fail <- n.server.serve(ctx) })
	others.Go(func() { n.watch(ctx) })
	others.Go(func() { n.watchRoutes(ctx) })
	if n.pub != nil {
		others.Go(func() { n.pub.Run(ctx) })
	}
	others.Go(func() { fail <- n.member(ctx) })
	n.log.Info("running", "node", n.cfg.Node.Name, "control", n.Address(), "workers", len(n.workers), "ports", len(n.ports))

	var err error
	select {
	case <-ctx.Done():
	case err = <-fail:
	}
	n.ann.Stop()
	cancel()
	others.Wait()
	stop()
	packets.Wait()
	n.empty()
	return errors.Join(err, n.dev.Close())
}

// thread runs a packet loop on a thread of its own.
func (n *Node) thread(ctx context.Context, index int, run func(context.Context)) error {
	runtime.LockOSThread() // never unlocked: the thread ends with its goroutine
	if cores := n.cfg.EAL.Cores; len(cores) > 1 {
		core := cores[0]
		if index > 0 {
			core = cores[1+(index-1)%(len(cores)-1)]
		}
		if err := pin(core); err != nil {
			n.log.Warn("a thread can't be pinned", "core", core, "err", err)
		}
	}
	if err := n.dev.Enter(); err != nil {
		return fmt.Errorf("registering a packet thread: %w", err)
	}
	defer n.dev.Leave()
	run(ctx)
	return nil
}

// empty frees the packets that threads had on their way to each other when they ended.
func (n *Node) empty() {
	n.loop.Empty()
	for _, w := range n.workers {
		w.Empty()
	}
}

// notify wakes those who watch the status.
func (n *Node) notify() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// Changed is closed at the next change of the status.
func (n *Node) Changed() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changed
}

// each runs f on every worker's thread in turn. ctx bounds the wait for all of them.
func (n *Node) each(ctx context.Context, f func(*worker.Worker)) error {
	for i, w := range n.workers {
		if err := w.Do(ctx, f); err != nil {
			return fmt.Errorf("worker %d: %w", i, err)
		}
	}
	return nil
}

var _ syncer.Outlet = (*syncloop.Loop)(nil)
