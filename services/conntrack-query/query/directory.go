package query

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	schedulerv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/scheduler/v1"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
	"github.com/holdfast-lb/holdfast/services/kit"
	"github.com/holdfast-lb/holdfast/services/kit/apierr"
)

// Times of keeping the directory.
const (
	namesEvery = 2 * time.Second
	retryAfter = 250 * time.Millisecond
)

// bounds on what the directory keeps of the scheduler's answers.
const maxNames = 4_000_000

// book keeps the directory: nodes from the coordinator's watch, names from the scheduler. When either is away, what was
// known last stays. Safe for concurrent use.
type book struct {
	log      *slog.Logger
	coord    syncv1.CoordinatorServiceClient
	services schedulerv1.VirtualServiceServiceClient
	servers  schedulerv1.RealServerServiceClient
	nodes    atomic.Pointer[[]Node]
	names    atomic.Pointer[names]
}

type names struct {
	services, servers map[uint32]string
}

// directory is what is known now. Until the nodes have been learnt once there is none, rather than an empty one: no
// sessions and no answer are not the same. The same holds for the names where the question is about those.
func (b *book) directory(named bool) (*Directory, error) {
	nodes, n := b.nodes.Load(), b.names.Load()
	switch {
	case nodes == nil:
		return nil, apierr.New(apierr.DirectoryUnknown, "the nodes are not known yet")
	case n != nil:
		return &Directory{Nodes: *nodes, Services: n.services, Servers: n.servers}, nil
	case named:
		return nil, apierr.New(apierr.DirectoryUnknown, "the virtual services and real servers are not known yet")
	}
	return &Directory{Nodes: *nodes}, nil
}

func (b *book) run(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		kit.Again(ctx, retryAfter, b.keepNames, b.say)
	}()
	kit.Again(ctx, retryAfter, b.followNodes, b.say)
	<-done
}

func (b *book) say(err error) {
	b.log.Warn("directory not read; what is known stays in use", "error", err)
}

func (b *book) followNodes(ctx context.Context) error {
	stream, err := b.coord.WatchMembership(ctx, &syncv1.WatchMembershipRequest{})
	if err != nil {
		return err
	}
	for {
		msg, err := stream.Recv()
		if err != nil {
			return err
		}
		nodes := nodesOf(msg.GetNodes())
		b.nodes.Store(&nodes)
	}
}

// keepNames reads the names and rests; what failed is due again sooner.
func (b *book) keepNames(ctx context.Context) error {
	if err := b.readNames(ctx); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-time.After(namesEvery):
	}
	return nil
}

func (b *book) readNames(ctx context.Context) error {
	n := &names{services: map[uint32]string{}, servers: map[uint32]string{}}
	for token := ""; ; {
		page, err := b.services.ListVirtualServices(ctx, &schedulerv1.ListVirtualServicesRequest{PageSize: 1000, PageToken: token})
		if err != nil {
			return err
		}
		for _, s := range page.GetVirtualServices() {
			n.services[s.GetUid()] = s.GetName()
		}
		if token = page.GetNextPageToken(); token == "" || len(n.services) > maxNames {
			break
		}
	}
	for token := ""; ; {
		page, err := b.servers.ListRealServers(ctx, &schedulerv1.ListRealServersRequest{Parent: "virtualServices/-", PageSize: 1000, PageToken: token})
		if err != nil {
			return err
		}
		for _, s := range page.GetRealServers() {
			n.servers[s.GetUid()] = s.GetName()
		}
		if token = page.GetNextPageToken(); token == "" || len(n.servers) > maxNames {
			break
		}
	}
	b.names.Store(n)
	return nil
}
