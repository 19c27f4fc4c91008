package coordinator

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"google.golang.org/grpc"

	schedulerv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/scheduler/v1"
	"github.com/holdfast-lb/holdfast/services/kit"
	"github.com/holdfast-lb/holdfast/services/kit/pki"
	"github.com/holdfast-lb/holdfast/services/kit/seal"
	"github.com/holdfast-lb/holdfast/services/sync-coordinator/membership"
)

// Options are what an operator sets.
type Options struct {
	// Scheduler is host:port of the scheduler, which keeps the address pools.
	Scheduler string
	// Replicas of the key-value bucket, 1 to 5; as many as NATS has servers, at most.
	Replicas int
	// Instance names this replica in the lease and the log; empty makes a name up.
	Instance string
	// KeyLifetime is the age at which the cluster key is changed; 0 means 24 h, negative never.
	KeyLifetime time.Duration
	// JoinTimeout is how long a joining node may make no progress, 10 s to 1 h; 0 means 60 s.
	JoinTimeout time.Duration
	// JoinBackOff is the first pause of a node that was put aside or that joins too often, up to 10 min; 0 means 10 s,
	// negative none.
	JoinBackOff time.Duration
	// KeyPatience is the age at which a key rotation goes on without members that don't apply it, at least 10 min; 0 means
	// 24 h, negative never.
	KeyPatience time.Duration
	// Keys seal what is secret in the store.
	Keys *seal.Keys
}

// Flags adds the flags of the rules on sick nodes.
func (o *Options) Flags(fs *flag.FlagSet) {
	fs.DurationVar(&o.JoinTimeout, "join-timeout", time.Minute,
		"`time` without progress after which a joining node is put aside, 10s to 1h")
	fs.DurationVar(&o.JoinBackOff, "join-back-off", 10*time.Second,
		"first `pause` of a node that was put aside or whose lives are over too soon, up to 10m; it doubles up to 10m; negative none")
	fs.DurationVar(&o.KeyPatience, "key-patience", 24*time.Hour,
		"`age` at which a key rotation goes on without nodes that don't apply it, at least 10m; negative never")
}

// Check refuses values of these flags that are out of range.
func (o *Options) Check() error {
	switch {
	case o.JoinTimeout != 0 && (o.JoinTimeout < 10*time.Second || o.JoinTimeout > time.Hour):
		return fmt.Errorf("coordinator: --join-timeout is %v, want 10s to 1h", o.JoinTimeout)
	case o.JoinBackOff > 10*time.Minute:
		return fmt.Errorf("coordinator: --join-back-off is %v, want at most 10m", o.JoinBackOff)
	case o.KeyPatience > 0 && o.KeyPatience < 10*time.Minute:
		return fmt.Errorf("coordinator: --key-patience is %v, want at least 10m", o.KeyPatience)
	}
	return nil
}

// Process is the kind of process that runs the coordinator alone.
func Process() kit.Process {
	var o Options
	var kek string
	return kit.Process{
		Flags: func(fs *flag.FlagSet) {
			fs.StringVar(&o.Scheduler, "scheduler", "127.0.0.1:7301", "`host:port` of the scheduler")
			fs.IntVar(&o.Replicas, "kv-replicas", 1, "`copies` of the key-value bucket, 1 to 5")
			fs.DurationVar(&o.KeyLifetime, "key-lifetime", 24*time.Hour, "`age` at which the cluster key is changed; negative never")
			o.Flags(fs)
			fs.StringVar(&kek, "kek-file", "", "`file` of mode 0600 with the key that seals the cluster keys in the store, the same at all replicas: 64 hexadecimal digits; a second line may hold the former key")
			fs.StringVar(&o.Instance, "instance", "", "`name` of this replica in the leader's lease; empty makes one up")
		},
		Policy: Policy(),
		New: func(_ context.Context, env *kit.Env) (kit.Service, error) {
			// Not made here: replicas that each made their own could not open each other's.
			if kek == "" {
				return nil, errors.New("coordinator: --kek-file is needed; (umask 077; openssl rand -hex 32 > FILE) makes one")
			}
			var err error
			if o.Keys, err = seal.Load(kek); err != nil {
				return nil, fmt.Errorf("coordinator: --kek-file: %w", err)
			}
			return Build(env, o)
		},
	}
}

// Policy says which roles may call what. A data plane may join, drain itself and leave, under its own name alone.
func Policy() pki.Policy {
	const s = "/holdfast.sync.v1.CoordinatorService/"
	return pki.Policy{
		s:           {pki.RoleService, pki.RoleGateway, pki.RoleOperator, pki.RoleViewer},
		s + "Join":  {pki.RoleDataplane},
		s + "Leave": {pki.RoleDataplane, pki.RoleService, pki.RoleOperator},

		s + "DrainNode":    {pki.RoleDataplane, pki.RoleGateway, pki.RoleOperator},
		s + "GetOperation": {pki.RoleDataplane, pki.RoleService, pki.RoleGateway, pki.RoleOperator, pki.RoleViewer},
		s + "BulkSync":     {pki.RoleGateway, pki.RoleOperator},
	}
}

// Build makes a replica with real connections.
func Build(env *kit.Env, o Options) (*Coordinator, error) {
	if o.Replicas < 1 || o.Replicas > 5 {
		return nil, fmt.Errorf("coordinator: %d copies of the bucket, want 1 to 5", o.Replicas)
	}
	if err := o.Check(); err != nil {
		return nil, err
	}
	scheduler, err := kit.Dial(o.Scheduler, env.ClientTLS(pki.RoleService))
	if err != nil {
		return nil, err
	}
	pools := schedulerv1.NewAddressPoolServiceClient(scheduler)
	c, err := New(Config{
		Replicas: o.Replicas, Instance: o.Instance, KeyLifetime: o.KeyLifetime,
		JoinTimeout: o.JoinTimeout, JoinBackOff: o.JoinBackOff, KeyPatience: o.KeyPatience,
	}, Deps{
		NATS: env.NATS,
		Dial: func(node, address string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
			return kit.Dial(address, env.ClientTLSOf(pki.Identity{Role: pki.RoleDataplane, Name: node}), opts...)
		},
		Keys:    o.Keys,
		Pools:   func(ctx context.Context) ([]membership.Pool, error) { return readPools(ctx, pools) },
		Log:     env.Log,
		Metrics: env.Metrics,
	})
	if err != nil {
		_ = scheduler.Close()
		return nil, err
	}
	c.closers = []io.Closer{scheduler}
	return c, nil
}

// readPools reads all pages of the scheduler's pools.
func readPools(ctx context.Context, c schedulerv1.AddressPoolServiceClient) ([]membership.Pool, error) {
	var out []membership.Pool
	req := &schedulerv1.ListAddressPoolsRequest{PageSize: 1000}
	for {
		page, err := c.ListAddressPools(ctx, req)
		if err != nil {
			return nil, fmt.Errorf("list the address pools: %w", err)
		}
		for _, p := range page.GetAddressPools() {
			pool, err := poolOf(p)
			if err != nil {
				return nil, err
			}
			out = append(out, pool)
		}
		req.PageToken = page.GetNextPageToken()
		if req.PageToken == "" || len(out) > membership.MaxPools {
			return out, nil
		}
	}
}

func poolOf(p *schedulerv1.AddressPool) (membership.Pool, error) {
	out := membership.Pool{Name: strings.TrimPrefix(p.GetName(), "addressPools/")}
	switch p.GetPurpose() {
	case schedulerv1.PoolPurpose_POOL_PURPOSE_SIP:
		out.Kind = membership.PoolSip
	case schedulerv1.PoolPurpose_POOL_PURPOSE_LADDR:
		out.Kind = membership.PoolLaddr
		out.BlockSize = int(max(p.GetBlockSize(), 1))
	default:
		return out, fmt.Errorf("pool %s has the unknown purpose %v", p.GetName(), p.GetPurpose())
	}
	for _, text := range p.GetPrefixes() {
		x, err := netip.ParsePrefix(text)
		if a, err2 := netip.ParseAddr(text); err2 == nil {
			x, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			return out, fmt.Errorf("pool %s: %w", p.GetName(), err)
		}
		out.Prefixes = append(out.Prefixes, x.Masked())
	}
	return out, nil
}
