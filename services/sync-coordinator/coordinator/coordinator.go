// Package coordinator runs the membership machine: it keeps its state in a NATS key-value bucket, holds a link to every
// data plane, answers the CoordinatorService and publishes what happens.
//
// Any number of replicas run; one leads, by a lease in the bucket. All of a term's decisions are made by one goroutine:
// an event is applied to the machine, the new state is written by compare-and-set, and only when that write stands do
// data planes, callers and subscribers hear of it. A refused write ends the term.
package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
	"github.com/holdfast-lb/holdfast/services/kit/apierr"
	"github.com/holdfast-lb/holdfast/services/kit/seal"
	"github.com/holdfast-lb/holdfast/services/kit/watch"
	"github.com/holdfast-lb/holdfast/services/sync-coordinator/membership"
)

// healthEvery is how late health may be with who leads.
const healthEvery = 250 * time.Millisecond

// Config of the service. Zero values mean the defaults.
type Config struct {
	Rules membership.Config
	// Tick is how often time alone is looked at; 100 ms.
	Tick time.Duration
	// StatusInterval is the longest time between two statuses of a data plane; 100 ms.
	StatusInterval time.Duration
	// Silence is how long a status stream may be quiet before it counts as broken; 1 s.
	Silence time.Duration
	// Answer is how long a data plane may take to begin a status stream; 400 ms.
	Answer time.Duration
	// LeaseTTL is the life of the leader's lease, whole seconds; 2 s.
	LeaseTTL time.Duration
	// PoolPoll is how often the pools are read; 1 s.
	PoolPoll time.Duration
	// StoreTimeout bounds one write of the state; 3 s.
	StoreTimeout time.Duration
	// JoinTimeout is how long a joining node may make no progress before it is put aside; 60 s.
	JoinTimeout time.Duration
	// JoinBackOff is the first pause of a node whose lives are of no use; 10 s, negative none.
	JoinBackOff time.Duration
	// KeyPatience is the age at which a key rotation goes on without members that don't apply it; 24 h, negative never.
	KeyPatience time.Duration
	// KeyLifetime is the age at which the cluster key is changed; 24 h, negative never.
	KeyLifetime time.Duration
	// Replicas of the key-value bucket; 1.
	Replicas int
	// Instance names this replica in the lease.
	Instance string
}

func (c *Config) defaults() {
	if c.Rules == (membership.Config{}) {
		c.Rules = membership.DefaultConfig()
	}
	if c.JoinTimeout > 0 {
		c.Rules.JoinBound = c.JoinTimeout.Milliseconds()
	}
	if c.JoinBackOff != 0 {
		c.Rules.JoinBackOff = max(c.JoinBackOff.Milliseconds(), 0)
	}
	if c.KeyPatience != 0 {
		c.Rules.KeyPatience = max(c.KeyPatience.Milliseconds(), 0)
	}
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{
		{&c.Tick, 100 * time.Millisecond},
		{&c.StatusInterval, 100 * time.Millisecond},
		{&c.Silence, time.Second},
		{&c.Answer, 400 * time.Millisecond},
		{&c.LeaseTTL, 2 * time.Second},
		{&c.PoolPoll, time.Second},
		{&c.StoreTimeout, 3 * time.Second},
	} {
		if *d.v <= 0 {
			*d.v = d.d
		}
	}
	if c.KeyLifetime == 0 {
		c.KeyLifetime = 24 * time.Hour
	}
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.Instance == "" {
		c.Instance = nats.NewInbox()
	}
}

// Deps are what the service needs from outside.
type Deps struct {
	NATS *nats.Conn
	// Dial makes a client connection to a node's data plane that connects when it is used.
	Dial func(node, address string, opts ...grpc.DialOption) (*grpc.ClientConn, error)
	// Pools reads the pools that the scheduler keeps.
	Pools func(ctx context.Context) ([]membership.Pool, error)
	// Keys seal what is secret in the store. All replicas have the same.
	Keys    *seal.Keys
	Log     *slog.Logger
	Metrics prometheus.Registerer // may be nil
}

// Coordinator is one replica of the service.
type Coordinator struct {
	syncv1.UnimplementedCoordinatorServiceServer

	cfg     Config
	deps    Deps
	log     *slog.Logger
	metrics *metrics
	term    atomic.Pointer[term] // nil while standing by
	serving func(bool)           // nil without a health service; set by Register
	hub     watch.Hub[*syncv1.WatchMembershipResponse]
	clock   func() int64
	sealed  atomic.Bool // see store
	closers []io.Closer // connections that Build made, for the end of Run
}

// New makes a replica; it does nothing before Run.
func New(cfg Config, deps Deps) (*Coordinator, error) {
	cfg.defaults()
	switch {
	case deps.NATS == nil, deps.Dial == nil, deps.Pools == nil, deps.Keys == nil, deps.Log == nil:
		return nil, errors.New("coordinator: NATS, Dial, Pools, Keys and Log are needed")
	case cfg.LeaseTTL%time.Second != 0:
		return nil, fmt.Errorf("coordinator: lease of %v is not whole seconds", cfg.LeaseTTL)
	}
	m, err := newMetrics(deps.Metrics)
	if err != nil {
		return nil, err
	}
	// Unix milliseconds that no step of the wall clock moves while the process runs.
	start := time.Now()
	clock := func() int64 { return start.UnixMilli() + time.Since(start).Milliseconds() }
	return &Coordinator{cfg: cfg, deps: deps, log: deps.Log, metrics: m, clock: clock}, nil
}

// Register adds the service to a gRPC server. Where that has a health service, it says SERVING of this service while
// this replica leads, so that callers are not sent to one that stands by.
func (c *Coordinator) Register(s grpc.ServiceRegistrar) {
	syncv1.RegisterCoordinatorServiceServer(s, c)
	if h, ok := s.(interface{ SetServing(string, bool) }); ok {
		c.serving = func(yes bool) { h.SetServing(syncv1.CoordinatorService_ServiceDesc.ServiceName, yes) }
	}
}

// tellHealth repeats what is so: the server sets every service to SERVING when it begins, at a time of its own.
func (c *Coordinator) tellHealth(ctx context.Context) {
	for c.serving != nil {
		c.serving(c.term.Load() != nil)
		select {
		case <-ctx.Done():
			return
		case <-time.After(healthEvery):
		}
	}
}

// Run leads whenever it can get the lease, until ctx ends or it meets a stored state that it can't use.
func (c *Coordinator) Run(ctx context.Context) error {
	defer func() {
		c.hub.Close()
		for _, x := range c.closers {
			_ = x.Close()
		}
	}()
	ctx, cancel := context.WithCancel(ctx)
	told := make(chan struct{})
	go func() {
		defer close(told)
		c.tellHealth(ctx)
	}()
	defer func() { cancel(); <-told }()
	for ctx.Err() == nil {
		err := c.campaign(ctx)
		if errors.Is(err, errUnreadable) {
			return err
		}
		if err != nil && ctx.Err() == nil {
			c.log.Warn("term ended", "error", err)
			c.metrics.terms.Inc()
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
	return nil
}

// campaign waits for the lease and leads until it is lost.
func (c *Coordinator) campaign(ctx context.Context) error {
	st, err := openStore(ctx, c.deps.NATS, c.cfg, c.deps.Keys, &c.sealed)
	if err != nil {
		return err
	}
	// A replica that can't open the state must not take the lease from one that can.
	if _, _, err := st.load(ctx); err != nil {
		return err
	}
	l := newLease(st, c.cfg.Instance, c.cfg.LeaseTTL)
	if err := l.gain(ctx); err != nil {
		return err
	}
	defer l.release()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		if err := l.keep(ctx); err != nil {
			cancel(fmt.Errorf("lease: %w", err))
		}
	}()
	defer func() { cancel(nil); <-kept }()

	t, err := newTerm(ctx, c, st)
	if err != nil {
		return err
	}
	c.term.Store(t)
	c.lead(true)
	c.log.Info("leading", "view", t.stored.View, "instance", c.cfg.Instance)
	defer func() {
		c.term.Store(nil)
		c.lead(false)
	}()
	return t.run(ctx)
}

func (c *Coordinator) lead(yes bool) {
	v := 0.0
	if yes {
		v = 1
	}
	c.metrics.leading.Set(v)
}

// do applies fn to the machine on the term's goroutine and returns when what it changed is stored.
func (c *Coordinator) do(ctx context.Context, fn func(t *term, now int64) error) error {
	t := c.term.Load()
	if t == nil {
		return apierr.New(apierr.NotLeader, "this replica stands by")
	}
	return t.do(ctx, fn)
}

type metrics struct {
	leading, view, members prometheus.Gauge
	terms, removals        prometheus.Counter
	aside, heldBack        prometheus.Counter
	relayed                *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "holdfast", Subsystem: "coordinator", Name: name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "holdfast", Subsystem: "coordinator", Name: name, Help: help})
	}
	m := &metrics{
		leading:  gauge("leading", "1 while this replica leads."),
		view:     gauge("view", "The view in force."),
		members:  gauge("members", "Nodes in the view."),
		terms:    counter("terms_lost_total", "Terms that ended by a fault."),
		removals: counter("removals_total", "Nodes removed by the word of two witnesses."),
		aside:    counter("put_aside_total", "Joining nodes that made no progress and were put aside."),
		heldBack: counter("joins_held_back_total", "Joins refused since the node must wait."),
		relayed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "holdfast", Subsystem: "coordinator", Name: "relayed_block_reports_total",
			Help: "What members said of a dead node's blocks by way of a peer, by what became of it.",
		}, []string{"outcome"}),
	}
	if r == nil {
		return m, nil
	}
	for _, x := range []prometheus.Collector{m.leading, m.view, m.members, m.terms, m.removals, m.aside, m.heldBack, m.relayed} {
		if err := r.Register(x); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

// errStore marks failures of the key-value store.
var errStore = errors.New("coordinator: the store does not answer")

// the generated client is what a link speaks through.
type dataplane = dpdv1.DataplaneServiceClient
