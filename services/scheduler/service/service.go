// Package service puts the scheduler together: desired state in JetStream, its API, verdicts in, snapshots out.
package service

import (
	"context"
	"log/slog"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc"

	schedulerv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/scheduler/v1"
	"github.com/holdfast-lb/holdfast/services/kit"
	"github.com/holdfast-lb/holdfast/services/kit/pki"
	"github.com/holdfast-lb/holdfast/services/scheduler/api"
	"github.com/holdfast-lb/holdfast/services/scheduler/rollout"
	"github.com/holdfast-lb/holdfast/services/scheduler/store"
	"github.com/holdfast-lb/holdfast/services/scheduler/verdict"
)

// Config of a scheduler.
type Config struct {
	// Replicas of the bucket: 1, or 3 with a NATS cluster.
	Replicas int
}

// Deps are what a scheduler works with.
type Deps struct {
	JS jetstream.JetStream
	// Nodes are the data planes; rollout.Coordinator is the usual source.
	Nodes rollout.Nodes
	// Dial opens a connection to a data plane.
	Dial func(address string) (*grpc.ClientConn, error)
	Log  *slog.Logger
}

// Scheduler is the service. Any number of replicas may run.
type Scheduler struct {
	store    *store.Store
	rollout  *rollout.Rollout
	verdicts *verdict.Follower
}

// New makes a scheduler; it touches nothing before Run.
func New(cfg Config, deps Deps) *Scheduler {
	log := deps.Log.With("service", "scheduler")
	s := store.New(deps.JS, cfg.Replicas, log)
	return &Scheduler{
		store:    s,
		rollout:  rollout.New(rollout.Config{Source: s, Nodes: deps.Nodes, Dial: deps.Dial, Log: log}),
		verdicts: &verdict.Follower{JS: deps.JS, State: s, Log: log},
	}
}

// Register adds the gRPC services.
func (s *Scheduler) Register(r grpc.ServiceRegistrar) {
	schedulerv1.RegisterVirtualServiceServiceServer(r, &api.VirtualServices{Store: s.store})
	schedulerv1.RegisterRealServerServiceServer(r, &api.RealServers{Store: s.store})
	schedulerv1.RegisterAddressPoolServiceServer(r, &api.AddressPools{Store: s.store})
	schedulerv1.RegisterRolloutServiceServer(r, &api.Rollouts{Delivery: s.rollout})
}

// Run works until ctx ends.
func (s *Scheduler) Run(ctx context.Context) error {
	return kit.Together(ctx, s.store.Run, s.rollout.Run, s.verdicts.Run)
}

// Policy says which roles may call the scheduler: services and the gateway all of it, viewers what reads.
func Policy() pki.Policy {
	writers := []pki.Role{pki.RoleService, pki.RoleGateway, pki.RoleOperator}
	readers := append([]pki.Role{pki.RoleViewer}, writers...)
	p := pki.Policy{}
	for _, d := range []grpc.ServiceDesc{
		schedulerv1.VirtualServiceService_ServiceDesc, schedulerv1.RealServerService_ServiceDesc,
		schedulerv1.AddressPoolService_ServiceDesc, schedulerv1.RolloutService_ServiceDesc,
	} {
		p["/"+d.ServiceName+"/"] = writers
	}
	for _, m := range []string{
		schedulerv1.VirtualServiceService_GetVirtualService_FullMethodName, schedulerv1.VirtualServiceService_ListVirtualServices_FullMethodName,
		schedulerv1.RealServerService_GetRealServer_FullMethodName, schedulerv1.RealServerService_ListRealServers_FullMethodName,
		schedulerv1.AddressPoolService_GetAddressPool_FullMethodName, schedulerv1.AddressPoolService_ListAddressPools_FullMethodName,
		schedulerv1.RolloutService_GetRollout_FullMethodName, schedulerv1.RolloutService_WatchRollout_FullMethodName,
	} {
		p[m] = readers
	}
	return p
}
