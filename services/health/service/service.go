// Package service is the HealthService: it checks the servers of every virtual service, keeps and publishes the verdicts,
// and watches whether data planes answer.
package service

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc"

	healthv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/health/v1"
	schedulerv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/scheduler/v1"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
	"github.com/holdfast-lb/holdfast/services/health/checker"
)

// Config of the service.
type Config struct {
	// Source is the address that checks come from; the zero Addr leaves the choice to the kernel.
	Source netip.Addr
	// Replicas of the key-value buckets; 0 means 1.
	Replicas int
	// TargetPoll is how often the servers are read from the scheduler; 0 means 1 s.
	TargetPoll time.Duration
	// NodePoll is how often data planes are asked; 0 means 1 s.
	NodePoll time.Duration
	// Retry is the pause after a failure of a store or of another service; 0 means 250 ms.
	Retry time.Duration
}

// Deps are what the service needs from outside.
type Deps struct {
	NATS *nats.Conn
	JS   jetstream.JetStream
	// Scheduler and Coordinator are connections to those services.
	Scheduler   grpc.ClientConnInterface
	Coordinator grpc.ClientConnInterface
	// Dial makes a client connection to a node's data plane that connects when it is used.
	Dial func(node, address string) (*grpc.ClientConn, error)
	// Probe checks a server over TCP; nil means checker.TCP from the configured source.
	Probe checker.Probe
	Log   *slog.Logger
}

// Service is the HealthService. One replica runs at a time: two would publish each verdict twice.
type Service struct {
	healthv1.UnimplementedHealthServiceServer

	cfg      Config
	deps     Deps
	checks   *checkStore
	verdicts *verdicts
	nodes    *liveness
	services schedulerv1.VirtualServiceServiceClient
	servers  schedulerv1.RealServerServiceClient
	changed  chan struct{} // capacity 1: a check was made, changed or removed
	closers  []io.Closer   // connections that Build made, for the end of Run
}

// New makes the service; it checks nothing before Run.
func New(cfg Config, d Deps) (*Service, error) {
	if d.NATS == nil || d.JS == nil || d.Scheduler == nil || d.Coordinator == nil || d.Dial == nil || d.Log == nil {
		return nil, errors.New("health: NATS, JS, Scheduler, Coordinator, Dial and Log are needed")
	}
	for _, x := range []struct {
		v *time.Duration
		d time.Duration
	}{{&cfg.TargetPoll, time.Second}, {&cfg.NodePoll, time.Second}, {&cfg.Retry, 250 * time.Millisecond}} {
		if *x.v <= 0 {
			*x.v = x.d
		}
	}
	if cfg.Replicas == 0 {
		cfg.Replicas = 1
	}
	if d.Probe == nil {
		d.Probe = checker.TCP(cfg.Source)
	}
	return &Service{
		cfg: cfg, deps: d,
		checks:   &checkStore{js: d.JS, replicas: cfg.Replicas},
		verdicts: newVerdicts(d, cfg),
		nodes:    newLiveness(d, syncv1.NewCoordinatorServiceClient(d.Coordinator), cfg),
		services: schedulerv1.NewVirtualServiceServiceClient(d.Scheduler),
		servers:  schedulerv1.NewRealServerServiceClient(d.Scheduler),
		changed:  make(chan struct{}, 1),
	}, nil
}

// Register adds the service to a gRPC server.
func (s *Service) Register(r grpc.ServiceRegistrar) { healthv1.RegisterHealthServiceServer(r, s) }

// Run checks until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	defer func() {
		s.verdicts.hub.Close()
		for _, c := range s.closers {
			_ = c.Close()
		}
	}()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.nodes.run(ctx)
	}()
	defer func() { <-done }()
	// What was known before a restart is where checks go on from: a restart makes no server flap.
	s.retry(ctx, "verdicts not read", func() error { return s.verdicts.load(ctx) })
	c := checker.New(s.deps.Probe, func(r checker.Result) { s.verdicts.observe(ctx, r) })
	defer c.Close()
	for failing := false; ctx.Err() == nil; {
		err := s.aim(ctx, c)
		if err != nil && !failing && ctx.Err() == nil {
			s.deps.Log.Warn("servers not read; those known are checked on", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
		case <-s.changed:
		case <-time.After(s.cfg.TargetPoll):
		}
	}
	return nil
}

// retry calls fn until it succeeds or ctx ends.
func (s *Service) retry(ctx context.Context, what string, fn func() error) {
	for said := false; ctx.Err() == nil; {
		err := fn()
		if err == nil {
			return
		}
		if !said && ctx.Err() == nil {
			s.deps.Log.Warn(what, "error", err)
			said = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(s.cfg.Retry):
		}
	}
}

// poke makes the targets be looked at now.
func (s *Service) poke() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}
