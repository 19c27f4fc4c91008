package service

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"

	"google.golang.org/grpc"

	"github.com/holdfast-lb/holdfast/services/kit"
	"github.com/holdfast-lb/holdfast/services/kit/pki"
)

// Options are what an operator sets.
type Options struct {
	// Scheduler and Coordinator are host:port of those services.
	Scheduler, Coordinator string
	// Source is the address that checks come from; empty leaves the choice to the kernel.
	Source string
	// Replicas of the key-value buckets, 1 to 5.
	Replicas int
}

// Process is the kind of process that runs the service alone.
func Process() kit.Process {
	var o Options
	return kit.Process{
		Flags: func(fs *flag.FlagSet) {
			fs.StringVar(&o.Scheduler, "scheduler", "127.0.0.1:7301", "`host:port` of the scheduler")
			fs.StringVar(&o.Coordinator, "coordinator", "127.0.0.1:7302", "`host:port` of the sync-coordinator")
			fs.StringVar(&o.Source, "source", "", "`address` that checks come from; empty leaves the choice to the kernel")
			fs.IntVar(&o.Replicas, "kv-replicas", 1, "`copies` of the key-value buckets, 1 to 5")
		},
		Policy: Policy(),
		New:    func(_ context.Context, env *kit.Env) (kit.Service, error) { return Build(env, o) },
	}
}

// Policy says which roles may call what.
func Policy() pki.Policy {
	const s = "/holdfast.health.v1.HealthService/"
	writers := []pki.Role{pki.RoleService, pki.RoleGateway, pki.RoleOperator}
	return pki.Policy{
		s:                       append([]pki.Role{pki.RoleViewer}, writers...),
		s + "CreateHealthCheck": writers,
		s + "UpdateHealthCheck": writers,
		s + "DeleteHealthCheck": writers,
	}
}

// Build makes the service with real connections.
func Build(env *kit.Env, o Options) (*Service, error) {
	cfg := Config{Replicas: o.Replicas}
	if o.Replicas < 1 || o.Replicas > 5 {
		return nil, fmt.Errorf("health: %d copies of the buckets, want 1 to 5", o.Replicas)
	}
	if o.Source != "" {
		a, err := netip.ParseAddr(o.Source)
		if err != nil {
			return nil, fmt.Errorf("health: source: %w", err)
		}
		cfg.Source = a
	}
	scheduler, err := kit.Dial(o.Scheduler, env.ClientTLS(pki.RoleService))
	if err != nil {
		return nil, err
	}
	coordinator, err := kit.Dial(o.Coordinator, env.ClientTLS(pki.RoleService))
	if err != nil {
		return nil, err
	}
	s, err := New(cfg, Deps{
		NATS: env.NATS, JS: env.JS, Scheduler: scheduler, Coordinator: coordinator, Log: env.Log,
		Dial: func(node, address string) (*grpc.ClientConn, error) {
			return kit.Dial(address, env.ClientTLSOf(pki.Identity{Role: pki.RoleDataplane, Name: node}))
		},
	})
	if err != nil {
		return nil, errors.Join(err, scheduler.Close(), coordinator.Close())
	}
	s.closers = []io.Closer{scheduler, coordinator}
	return s, nil
}
