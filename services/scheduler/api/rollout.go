package api

import (
	"context"
	"strconv"

	"google.golang.org/grpc"

	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	schedulerv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/scheduler/v1"
)

// Delivery knows which node runs which revision.
type Delivery interface {
	State() *schedulerv1.Rollout
	Watch(ctx context.Context, first, next func(*schedulerv1.Rollout) error) error
}

// Rollouts answers RolloutService.
type Rollouts struct {
	schedulerv1.UnimplementedRolloutServiceServer
	Delivery Delivery
}

// GetRollout reads the state now.
func (a *Rollouts) GetRollout(context.Context, *schedulerv1.GetRolloutRequest) (*schedulerv1.Rollout, error) {
	return a.Delivery.State(), nil
}

// WatchRollout streams the state.
func (a *Rollouts) WatchRollout(_ *schedulerv1.WatchRolloutRequest, stream grpc.ServerStreamingServer[schedulerv1.WatchRolloutResponse]) error {
	send := func(kind dpdv1.WatchKind) func(*schedulerv1.Rollout) error {
		return func(r *schedulerv1.Rollout) error {
			return stream.Send(&schedulerv1.WatchRolloutResponse{Kind: kind, Rollout: r, ResumeToken: strconv.FormatUint(r.GetRevision(), 36)})
		}
	}
	return a.Delivery.Watch(stream.Context(), send(dpdv1.WatchKind_WATCH_KIND_BOOKMARK), send(dpdv1.WatchKind_WATCH_KIND_UPDATE))
}
