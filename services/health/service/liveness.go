package service

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	healthv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/health/v1"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
	"github.com/holdfast-lb/holdfast/services/kit"
)

// nodeTimeout bounds one question to a data plane.
const nodeTimeout = 500 * time.Millisecond

// liveness asks the gRPC health service of every data plane of the view. Safe for concurrent use.
type liveness struct {
	deps  Deps
	coord syncv1.CoordinatorServiceClient
	cfg   Config

	mu    sync.Mutex
	nodes map[string]*node // by name, nil until they were told; guarded by mu
}

// node is one data plane. Only its own goroutine writes state, under liveness.mu.
type node struct {
	name, address string
	cancel        context.CancelFunc
	state         *healthv1.NodeHealth // never changed, replaced
}

func newLiveness(d Deps, c syncv1.CoordinatorServiceClient, cfg Config) *liveness {
	return &liveness{deps: d, coord: c, cfg: cfg}
}

func (l *liveness) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	kit.Again(ctx, l.cfg.Retry, func(ctx context.Context) error { return l.follow(ctx, &wg) }, func(err error) {
		l.deps.Log.Warn("nodes not followed; those known are watched on", "error", err)
	})
}

func (l *liveness) follow(ctx context.Context, wg *sync.WaitGroup) error {
	stream, err := l.coord.WatchMembership(ctx, &syncv1.WatchMembershipRequest{})
	if err != nil {
		return err
	}
	for {
		msg, err := stream.Recv()
		if err != nil {
			return err
		}
		l.set(ctx, wg, msg.GetNodes())
	}
}

// set watches the nodes of the view and no others.
func (l *liveness) set(ctx context.Context, wg *sync.WaitGroup, list []*syncv1.Node) {
	wanted := map[string]string{}
	for _, n := range list {
		switch n.GetState() {
		case syncv1.NodeState_NODE_STATE_REMOVED, syncv1.NodeState_NODE_STATE_LEFT, syncv1.NodeState_NODE_STATE_ASIDE:
		default:
			wanted[strings.TrimPrefix(n.GetName(), "nodes/")] = n.GetControlAddress()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.nodes == nil {
		l.nodes = map[string]*node{}
	}
	for name, n := range l.nodes {
		if wanted[name] != n.address {
			n.cancel()
			delete(l.nodes, name)
		}
	}
	for name, address := range wanted {
		if l.nodes[name] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		n := &node{name: name, address: address, cancel: cancel, state: &healthv1.NodeHealth{
			Node: "nodes/" + name, StateTime: timestamppb.New(time.Now()), LastError: "not asked yet",
		}}
		l.nodes[name] = n
		wg.Go(func() { l.watch(ctx, n) })
	}
}

func (l *liveness) watch(ctx context.Context, n *node) {
	conn, err := l.deps.Dial(n.name, n.address)
	if err != nil {
		l.note(n, err)
		return
	}
	defer conn.Close()
	for {
		err := ask(ctx, conn)
		if ctx.Err() != nil {
			return
		}
		l.note(n, err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(l.cfg.NodePoll):
		}
	}
}

func ask(ctx context.Context, conn *grpc.ClientConn) error {
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	res, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		return err
	}
	if s := res.GetStatus(); s != grpc_health_v1.HealthCheckResponse_SERVING {
		return status.Error(codes.Unavailable, "says "+s.String())
	}
	return nil
}

func (l *liveness) note(n *node, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := proto.CloneOf(n.state)
	next.Serving, next.LastError = err == nil, ""
	if err != nil {
		next.LastError = status.Convert(err).Message()
	}
	if next.GetServing() != n.state.GetServing() {
		next.StateTime = timestamppb.New(time.Now())
	}
	n.state = next
}

// list is the state of every node; false while it is not known which there are.
func (l *liveness) list() ([]*healthv1.NodeHealth, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*healthv1.NodeHealth
	for _, n := range l.nodes {
		out = append(out, n.state)
	}
	slices.SortFunc(out, func(a, b *healthv1.NodeHealth) int { return strings.Compare(a.GetNode(), b.GetNode()) })
	return out, l.nodes != nil
}
