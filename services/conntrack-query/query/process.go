package query

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
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
			return kit.Dial(address, dataplaneTLS(env, node))
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

// dataplaneTLS accepts the data plane of that name alone: another one at its address is not it.
func dataplaneTLS(env *kit.Env, node string) *tls.Config {
	cfg := env.ClientTLS(pki.RoleDataplane)
	if cfg == nil {
		return nil
	}
	verify := cfg.VerifyConnection
	cfg.VerifyConnection = func(s tls.ConnectionState) error {
		if err := verify(s); err != nil {
			return err
		}
		id, err := pki.FromCertificate(s.PeerCertificates[0])
		if err == nil && id.Name != node {
			err = fmt.Errorf("query: %s answers at the address of node %s", id, node)
		}
		return err
	}
	return cfg
}
