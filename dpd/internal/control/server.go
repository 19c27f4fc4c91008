package control

import (
	"context"
	"errors"
	"time"

	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// API implements DataplaneService over a Plane.
type API struct {
	dpdv1.UnimplementedDataplaneServiceServer
	plane Plane
	// Changed is woken when the status may have changed; watchers send at once then. May be nil.
	changed func() <-chan struct{}
}

// New makes the service. changed returns a channel that is closed at the next change of the status; nil means that watchers
// send at their interval only.
func New(p Plane, changed func() <-chan struct{}) *API { return &API{plane: p, changed: changed} }

// Register adds the service to a gRPC server.
func (s *API) Register(g grpc.ServiceRegistrar) { dpdv1.RegisterDataplaneServiceServer(g, s) }

// reasons maps the refusals of a Plane to gRPC: one place, so that a reason never changes by accident.
var reasons = []struct {
	err    error
	code   codes.Code
	reason string
	field  string // of the request, where one is at fault; metadata of the ErrorInfo
}{
	{ErrStaleRevision, codes.FailedPrecondition, "STALE_REVISION", ""},
	{ErrStaleView, codes.FailedPrecondition, "STALE_VIEW", ""},
	{ErrStaleKeys, codes.FailedPrecondition, "STALE_KEYS", ""},
	{ErrRSSKey, codes.FailedPrecondition, "RSS_KEY_CHANGED", "keys.rss_key"},
	{ErrWrongLife, codes.FailedPrecondition, "WRONG_LIFE", ""},
	{ErrNotMember, codes.FailedPrecondition, "NOT_A_MEMBER", ""},
	{ErrUnknownPeer, codes.NotFound, "UNKNOWN_PEER", ""},
	{ErrNotFound, codes.NotFound, "SESSION_NOT_FOUND", ""},
	{ErrBusy, codes.Unavailable, "WORKER_BUSY", ""},
}

func fault(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	code, info := codes.Internal, &errdetails.ErrorInfo{Reason: "INTERNAL", Domain: "holdfast"}
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			code, info.Reason = r.code, r.reason
			if r.field != "" {
				info.Metadata = map[string]string{"field": r.field}
			}
			break
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err).Err()
	}
	st := status.New(code, err.Error())
	if d, derr := st.WithDetails(info); derr == nil {
		st = d
	}
	return st.Err()
}

// GetInfo describes the node.
func (s *API) GetInfo(context.Context, *dpdv1.GetInfoRequest) (*dpdv1.GetInfoResponse, error) {
	i, st := s.plane.Info(), s.plane.Status()
	return infoProto(&i, &st), nil
}

// GetStats reads the counters.
func (s *API) GetStats(context.Context, *dpdv1.GetStatsRequest) (*dpdv1.GetStatsResponse, error) {
	st := s.plane.Stats()
	return statsProto(&st), nil
}

// ApplyConfig checks and applies a snapshot of services.
func (s *API) ApplyConfig(ctx context.Context, q *dpdv1.ApplyConfigRequest) (*dpdv1.ApplyConfigResponse, error) {
	c, err := services(q)
	if err != nil {
		return nil, err
	}
	if q.GetValidateOnly() {
		rev, _, _ := s.plane.Revisions()
		return &dpdv1.ApplyConfigResponse{Revision: rev}, nil
	}
	changed, err := s.plane.ApplyConfig(ctx, c)
	if err != nil {
		return nil, fault(err)
	}
	rev, _, _ := s.plane.Revisions()
	return &dpdv1.ApplyConfigResponse{Revision: rev, Changed: changed}, nil
}

// ApplyMembership checks and applies a view.
func (s *API) ApplyMembership(ctx context.Context, q *dpdv1.ApplyMembershipRequest) (*dpdv1.ApplyMembershipResponse, error) {
	m, err := membership(q.GetMembership())
	if err != nil {
		return nil, err
	}
	changed, err := s.plane.ApplyMembership(ctx, m)
	if err != nil {
		return nil, fault(err)
	}
	_, view, _ := s.plane.Revisions()
	return &dpdv1.ApplyMembershipResponse{View: view, Changed: changed}, nil
}

// ApplyKeys checks and applies the cluster keys.
func (s *API) ApplyKeys(ctx context.Context, q *dpdv1.ApplyKeysRequest) (*dpdv1.ApplyKeysResponse, error) {
	k, err := keys(q.GetKeys())
	if err != nil {
		return nil, err
	}
	changed, err := s.plane.ApplyKeys(ctx, k)
	if err != nil {
		return nil, fault(err)
	}
	_, _, gen := s.plane.Revisions()
	return &dpdv1.ApplyKeysResponse{Generation: gen, Changed: changed}, nil
}

// StartBulkSync makes this node send its stock, or ask for the members'.
func (s *API) StartBulkSync(_ context.Context, q *dpdv1.StartBulkSyncRequest) (*dpdv1.StartBulkSyncResponse, error) {
	var v violations
	var err error
	switch d := q.GetDirection().(type) {
	case *dpdv1.StartBulkSyncRequest_To:
		to := v.life("to", d.To)
		if err := v.err(); err != nil {
			return nil, err
		}
		err = s.plane.StartBulk(to)
	case *dpdv1.StartBulkSyncRequest_AskMembers:
		if !d.AskMembers {
			v.add("ask_members", "must be true when it is given")
			return nil, v.err()
		}
		err = s.plane.AskBulk()
	default:
		v.add("direction", "is required: to, or ask_members")
		return nil, v.err()
	}
	if err != nil {
		return nil, fault(err)
	}
	return &dpdv1.StartBulkSyncResponse{}, nil
}

// Drain starts a drain.
func (s *API) Drain(_ context.Context, q *dpdv1.DrainRequest) (*dpdv1.DrainResponse, error) {
	ms := q.GetQuietTimeoutMs()
	if ms > 3_600_000 {
		var v violations
		v.add("quiet_timeout_ms", "%d is outside 0..3600000", ms)
		return nil, v.err()
	}
	if ms == 0 {
		ms = 10_000
	}
	if err := s.plane.Drain(ms); err != nil {
		return nil, fault(err)
	}
	return &dpdv1.DrainResponse{}, nil
}

// WatchSync streams whole statuses. A Send that the reader holds up is bounded by gRPC's flow control window of one
// status: statuses are not queued, the newest is sent next, so a slow reader misses intermediate ones only.
func (s *API) WatchSync(q *dpdv1.WatchSyncRequest, out grpc.ServerStreamingServer[dpdv1.WatchSyncResponse]) error {
	ms := q.GetIntervalMs()
	if ms == 0 {
		ms = 100
	}
	if ms < 20 || ms > 10_000 {
		var v violations
		v.add("interval_ms", "%d is outside 20..10000", ms)
		return v.err()
	}
	tick := time.NewTicker(time.Duration(ms) * time.Millisecond)
	defer tick.Stop()
	kind := dpdv1.WatchKind_WATCH_KIND_BOOKMARK
	for {
		var changed <-chan struct{}
		if s.changed != nil {
			changed = s.changed()
		}
		st := s.plane.Status()
		if err := out.Send(&dpdv1.WatchSyncResponse{Kind: kind, Status: statusProto(&st)}); err != nil {
			return err
		}
		kind = dpdv1.WatchKind_WATCH_KIND_UPDATE
		select {
		case <-out.Context().Done():
			return fault(out.Context().Err())
		case <-tick.C:
		case <-changed:
		}
	}
}
