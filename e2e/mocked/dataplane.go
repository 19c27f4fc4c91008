// Package mocked runs the real control plane against data planes that are mocks: real gRPC with mutual TLS on loopback,
// the real services, a real embedded NATS server and the real gateway. It needs neither root nor DPDK.
//
//	CGO_ENABLED=0 go test ./e2e/mocked
//
// With -dataplane-addrs the same suite talks to real data planes instead, as far as it only watches them.
package mocked

import (
	"context"

	"google.golang.org/grpc"

	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
)

//go:generate go tool mockgen -source=dataplane.go -destination=mock_dataplane.go -package=mocked

// Dataplane is the data plane's gRPC service in a form that can be mocked: the generated interface has an unexported
// method and generic streams.
type Dataplane interface {
	GetInfo(context.Context, *dpdv1.GetInfoRequest) (*dpdv1.GetInfoResponse, error)
	ApplyConfig(context.Context, *dpdv1.ApplyConfigRequest) (*dpdv1.ApplyConfigResponse, error)
	ApplyMembership(context.Context, *dpdv1.ApplyMembershipRequest) (*dpdv1.ApplyMembershipResponse, error)
	ApplyKeys(context.Context, *dpdv1.ApplyKeysRequest) (*dpdv1.ApplyKeysResponse, error)
	ListSessions(context.Context, *dpdv1.ListSessionsRequest, func(*dpdv1.ListSessionsResponse) error) error
	GetSession(context.Context, *dpdv1.GetSessionRequest) (*dpdv1.GetSessionResponse, error)
	DeleteSessions(context.Context, *dpdv1.DeleteSessionsRequest) (*dpdv1.DeleteSessionsResponse, error)
	GetStats(context.Context, *dpdv1.GetStatsRequest) (*dpdv1.GetStatsResponse, error)
	StartBulkSync(context.Context, *dpdv1.StartBulkSyncRequest) (*dpdv1.StartBulkSyncResponse, error)
	WatchSync(context.Context, *dpdv1.WatchSyncRequest, func(*dpdv1.WatchSyncResponse) error) error
	Drain(context.Context, *dpdv1.DrainRequest) (*dpdv1.DrainResponse, error)
}

// Server is a Dataplane behind gRPC.
type Server struct {
	dpdv1.UnimplementedDataplaneServiceServer
	Dataplane Dataplane
}

// GetInfo passes the call on.
func (s Server) GetInfo(ctx context.Context, r *dpdv1.GetInfoRequest) (*dpdv1.GetInfoResponse, error) {
	return s.Dataplane.GetInfo(ctx, r)
}

// ApplyConfig passes the call on.
func (s Server) ApplyConfig(ctx context.Context, r *dpdv1.ApplyConfigRequest) (*dpdv1.ApplyConfigResponse, error) {
	return s.Dataplane.ApplyConfig(ctx, r)
}

// ApplyMembership passes the call on.
func (s Server) ApplyMembership(ctx context.Context, r *dpdv1.ApplyMembershipRequest) (*dpdv1.ApplyMembershipResponse, error) {
	return s.Dataplane.ApplyMembership(ctx, r)
}

// ApplyKeys passes the call on.
func (s Server) ApplyKeys(ctx context.Context, r *dpdv1.ApplyKeysRequest) (*dpdv1.ApplyKeysResponse, error) {
	return s.Dataplane.ApplyKeys(ctx, r)
}

// ListSessions passes the call on.
func (s Server) ListSessions(r *dpdv1.ListSessionsRequest, out grpc.ServerStreamingServer[dpdv1.ListSessionsResponse]) error {
	return s.Dataplane.ListSessions(out.Context(), r, out.Send)
}

// GetSession passes the call on.
func (s Server) GetSession(ctx context.Context, r *dpdv1.GetSessionRequest) (*dpdv1.GetSessionResponse, error) {
	return s.Dataplane.GetSession(ctx, r)
}

// DeleteSessions passes the call on.
func (s Server) DeleteSessions(ctx context.Context, r *dpdv1.DeleteSessionsRequest) (*dpdv1.DeleteSessionsResponse, error) {
	return s.Dataplane.DeleteSessions(ctx, r)
}

// GetStats passes the call on.
func (s Server) GetStats(ctx context.Context, r *dpdv1.GetStatsRequest) (*dpdv1.GetStatsResponse, error) {
	return s.Dataplane.GetStats(ctx, r)
}

// StartBulkSync passes the call on.
func (s Server) StartBulkSync(ctx context.Context, r *dpdv1.StartBulkSyncRequest) (*dpdv1.StartBulkSyncResponse, error) {
	return s.Dataplane.StartBulkSync(ctx, r)
}

// WatchSync passes the call on.
func (s Server) WatchSync(r *dpdv1.WatchSyncRequest, out grpc.ServerStreamingServer[dpdv1.WatchSyncResponse]) error {
	return s.Dataplane.WatchSync(out.Context(), r, out.Send)
}

// Drain passes the call on.
func (s Server) Drain(ctx context.Context, r *dpdv1.DrainRequest) (*dpdv1.DrainResponse, error) {
	return s.Dataplane.Drain(ctx, r)
}
