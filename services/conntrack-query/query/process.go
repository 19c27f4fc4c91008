package query

import (
	"context"
	"errors"
	"flag"
	"io"

	"google.golang.org/grpc"

	"github.com/holdfast-lb/holdfast/services/kit"
	"github.com/holdfast-lb/holdfast/services/kit/pki"
)

// Options are what an operator sets: host:port of the other services.
type Options struct {
	Coordinator, Scheduler string
}

// Process is the kind of process that runs the service alone.
func Process() kit.Process {
	var o Options
	return kit.Process{
		Flags: func(fs *flag.FlagSet) {
			fs.StringVar(&o.Coordinator, "coordinator", "127.0.0.1:7302", "`host:port` of the sync-coordinator")
			fs.StringVar(&o.Scheduler, "scheduler", "127.0.0.1:7301", "`host:port` of the scheduler")
		},
		Policy: Policy(),
		New:    func(_ context.Context, env *kit.Env) (kit.Service, error) { return Build(env, o) },
	}
}

// Policy says which roles may call what.
func Policy() pki.Policy {
	const s = "/holdfast.conntrack.v1.SessionService/"
	return pki.Policy{
		s:                    {pki.RoleService, pki.RoleGateway, pki.RoleOperator, pki.RoleViewer},
		s + "DeleteSessions": {pki.RoleGateway, pki.RoleOperator},
	}
}

// Build makes the service with real connections.
func Build(env *kit.Env, o Options) (*Service, error) {
	coordinator, err := kit.Dial(o.Coordinator, env.ClientTLS(pki.RoleService))
	if err != nil {
		return nil, err
	}
	scheduler, err := kit.Dial(o.Scheduler, env.ClientTLS(pki.RoleService))
	if err != nil {
		return nil, err
	}
	s, err := New(Deps{
		Dial: func(node, address string) (*grpc.ClientConn, error) {
			return kit.Dial(address, env.ClientTLSOf(pki.Identity{Role: pki.RoleDataplane, Name: node}))
		},
		Coordinator: coordinator,
		Scheduler:   scheduler,
		Log:         env.Log,
	})
	if err != nil {
		return nil, errors.Join(err, coordinator.Close(), scheduler.Close())
	}
	s.closers = []io.Closer{coordinator, scheduler}
	return s, nil
}
