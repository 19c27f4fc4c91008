// Package rollout brings every revision of the configuration to every data plane of the view, and knows which one runs
// which. A node that is slow, dead or refuses delays none of the others.
package rollout

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	schedulerv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/scheduler/v1"
	"github.com/holdfast-lb/holdfast/services/kit"
	"github.com/holdfast-lb/holdfast/services/kit/watch"
	"github.com/holdfast-lb/holdfast/services/scheduler/desired"
	"github.com/holdfast-lb/holdfast/services/scheduler/snapshot"
)

// gather is the time in which changes become one revision: a seed of a thousand services is then a few snapshots.
const gather = 10 * time.Millisecond

// Node is one life of a data plane.
type Node struct {
	Name        string // node name without "nodes/"
	Incarnation uint64
	Address     string // host:port of its gRPC server
}

// Nodes tells which data planes are in the view.
type Nodes interface {
	// Follow calls set with all nodes whenever they change, until ctx ends. Between two calls the last set holds.
	Follow(ctx context.Context, set func([]Node)) error
}

// Source is the desired state.
type Source interface {
	// Config returns the services and their revision; false while they are not known.
	Config() (revision uint64, services []*desired.Service, ok bool)
	// Moved returns a channel that is closed at the next change.
	Moved() <-chan struct{}
}

// Config of a Rollout.
type Config struct {
	Source Source
	Nodes  Nodes
	// Dial opens a connection to a data plane.
	Dial func(address string) (*grpc.ClientConn, error)
	Log  *slog.Logger
}

// Rollout delivers. Safe for concurrent use.
type Rollout struct {
	cfg Config
	hub watch.Hub[*schedulerv1.Rollout]

	publishing sync.Mutex // taken before mu

	mu       sync.Mutex
	snap     *snapshot.Snapshot // nil until the state is known
	compiled time.Time
	moved    chan struct{} // closed when snap moves, and replaced
	nodes    map[Node]*node
}

// New makes a Rollout that does nothing until Run.
func New(cfg Config) *Rollout {
	return &Rollout{cfg: cfg, moved: make(chan struct{}), nodes: map[Node]*node{}}
}

// Run delivers until ctx ends.
func (r *Rollout) Run(ctx context.Context) error {
	defer r.hub.Close()
	var workers sync.WaitGroup
	defer workers.Wait()
	return kit.Together(ctx, r.compile, func(ctx context.Context) error {
		return r.cfg.Nodes.Follow(ctx, func(set []Node) { r.setNodes(ctx, &workers, set) })
	})
}

// compile makes a snapshot of every revision that stands for longer than the gathering time.
func (r *Rollout) compile(ctx context.Context) error {
	var c snapshot.Compiler
	for {
		moved := r.cfg.Source.Moved()
		if rev, services, ok := r.cfg.Source.Config(); ok && (r.snap == nil || rev != r.snap.Request.GetRevision()) {
			s := c.Compile(rev, services)
			r.mu.Lock()
			r.snap, r.compiled = &s, time.Now()
			close(r.moved)
			r.moved = make(chan struct{})
			r.mu.Unlock()
			r.cfg.Log.Info("compiled", "revision", rev, "services", len(services), "servers", s.Servers)
			r.publish()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-moved:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(gather):
		}
	}
}

// target is the newest snapshot, and a channel that is closed when there is a newer one.
func (r *Rollout) target() (*snapshot.Snapshot, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.snap, r.moved
}

func (r *Rollout) setNodes(ctx context.Context, workers *sync.WaitGroup, set []Node) {
	r.mu.Lock()
	for key, n := range r.nodes {
		if !slices.Contains(set, key) {
			n.cancel()
			delete(r.nodes, key)
		}
	}
	for _, key := range set {
		if r.nodes[key] == nil {
			nctx, cancel := context.WithCancel(ctx)
			n := &node{Node: key, r: r, cancel: cancel}
			r.nodes[key] = n
			workers.Go(func() { n.run(nctx) })
		}
	}
	r.mu.Unlock()
	r.publish()
}

// State is what GetRollout answers.
func (r *Rollout) State() *schedulerv1.Rollout {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := &schedulerv1.Rollout{}
	if r.snap != nil {
		out.Revision = r.snap.Request.GetRevision()
		out.CompileTime = timestamppb.New(r.compiled)
		out.Services = uint32(len(r.snap.Request.GetServices()))
		out.Servers = uint32(r.snap.Servers)
	}
	keys := slices.SortedFunc(maps.Keys(r.nodes), func(a, b Node) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Incarnation, b.Incarnation))
	})
	for _, key := range keys {
		n := r.nodes[key]
		p := &schedulerv1.NodeRollout{Node: "nodes/" + key.Name, Revision: n.revision, Error: n.err, Failures: n.failures}
		if !n.applied.IsZero() {
			p.ApplyTime = timestamppb.New(n.applied)
		}
		out.Nodes = append(out.Nodes, p)
	}
	return out
}

// publish tells the watchers; one at a time, so that an older state never follows a newer one.
func (r *Rollout) publish() {
	r.publishing.Lock()
	defer r.publishing.Unlock()
	r.hub.Publish(r.State())
}

// Watch sends the state now to first, and every later one to next, until ctx ends or the reader is cut off.
func (r *Rollout) Watch(ctx context.Context, first, next func(*schedulerv1.Rollout) error) error {
	return r.hub.Serve(ctx, func() error { return first(r.State()) }, next)
}
