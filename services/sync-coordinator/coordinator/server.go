package coordinator

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
	"github.com/holdfast-lb/holdfast/services/kit/apierr"
	"github.com/holdfast-lb/holdfast/services/kit/page"
	"github.com/holdfast-lb/holdfast/services/kit/pki"
	"github.com/holdfast-lb/holdfast/services/sync-coordinator/membership"
)

// Join gives a data plane its identity. A data plane may join under its own name alone.
func (c *Coordinator) Join(ctx context.Context, r *syncv1.JoinRequest) (*syncv1.JoinResponse, error) {
	if err := ownName(ctx, r.GetNodeName()); err != nil {
		return nil, err
	}
	var v apierr.Violations
	if r.GetSyncPort() > 65535 {
		v.Add("sync_port", "is above 65535")
	}
	if n := len(r.GetProcessId()); n != 16 {
		v.Add("process_id", "has %d bytes, not 16", n)
	}
	if err := v.Err(); err != nil {
		return nil, err
	}
	var out *syncv1.JoinResponse
	err := c.do(ctx, func(t *term, now int64) error {
		n, err := t.m.Join(now, membership.JoinRequest{
			Name:           r.GetNodeName(),
			ControlAddress: r.GetControlAddress(),
			StoredInc:      max(r.GetStoredIncarnation(), r.GetFencedLife().GetIncarnation()),
			ProcessID:      hex.EncodeToString(r.GetProcessId()),
			SyncPort:       uint16(r.GetSyncPort()),
			IPv4:           r.GetIpv4(),
			IPv6:           r.GetIpv6(),
			Workers:        r.GetWorkers(),
			Version:        r.GetVersion(),
			DataAddresses:  r.GetDataAddresses(),
		})
		if err != nil {
			return err
		}
		out = &syncv1.JoinResponse{Life: life(n.ID, n.Inc)}
		return nil
	})
	if err != nil {
		if errors.Is(err, membership.ErrBackOff) {
			c.metrics.heldBack.Inc()
		}
		return nil, refusalAt(c.clock(), err)
	}
	// The view has its number only now that it is stored.
	err = c.do(ctx, func(t *term, now int64) error {
		n := t.stored.Node(out.GetLife().GetId())
		switch {
		case n == nil || n.Inc != out.GetLife().GetIncarnation():
			return membership.ErrStaleInc
		case !n.Member(): // put aside while that was stored
			return &membership.BackOffError{Name: n.Name, Until: max(n.JoinAfter, now+1), Lives: n.Setbacks}
		}
		out.Membership, out.Keys = membershipFor(&t.stored, n), keysProto(&t.stored.Keys)
		return nil
	})
	if err != nil {
		return nil, refusalAt(c.clock(), err)
	}
	return out, nil
}

// Leave takes a node out on its own word.
func (c *Coordinator) Leave(ctx context.Context, r *syncv1.LeaveRequest) (*syncv1.LeaveResponse, error) {
	err := c.do(ctx, func(t *term, now int64) error {
		n, ok := t.m.Node(r.GetLife().GetId())
		if !ok {
			return membership.ErrUnknownNode
		}
		if err := ownName(ctx, n.Name); err != nil {
			return err
		}
		return t.m.Leave(now, n.ID, r.GetLife().GetIncarnation())
	})
	if err != nil {
		return nil, refusal(err)
	}
	out := &syncv1.LeaveResponse{}
	err = c.do(ctx, func(t *term, _ int64) error { out.View = t.stored.View; return nil })
	return out, refusal(err)
}

// ownName lets a data plane speak for itself alone; every other role that the policy lets in may speak for any.
func ownName(ctx context.Context, node string) error {
	id, ok := pki.FromContext(ctx)
	if ok && id.Role == pki.RoleDataplane && id.Name != node {
		return apierr.New(apierr.RoleDenied, "%s may not speak for node %q", id, node)
	}
	return nil
}

// ListNodes lists all nodes by name.
func (c *Coordinator) ListNodes(ctx context.Context, r *syncv1.ListNodesRequest) (*syncv1.ListNodesResponse, error) {
	const scope = "nodes"
	size, after, err := page.Of(scope, r)
	if err != nil {
		return nil, err
	}
	out := &syncv1.ListNodesResponse{}
	err = c.do(ctx, func(t *term, now int64) error {
		out.View = t.stored.View
		for _, n := range sortedNodes(&t.stored) {
			if after != "" && n.Name <= after {
				continue
			}
			if len(out.Nodes) == size {
				out.NextPageToken = page.Token(scope, strings.TrimPrefix(out.Nodes[size-1].GetName(), "nodes/"))
				break
			}
			p := t.nodeProto(now, n)
			p.Sync = t.status[n.ID]
			out.Nodes = append(out.Nodes, p)
		}
		return nil
	})
	if err != nil {
		return nil, refusal(err)
	}
	return out, nil
}

// GetNode reads one node.
func (c *Coordinator) GetNode(ctx context.Context, r *syncv1.GetNodeRequest) (*syncv1.Node, error) {
	name, err := nodeID(r.GetName())
	if err != nil {
		return nil, err
	}
	var out *syncv1.Node
	err = c.do(ctx, func(t *term, now int64) error {
		n := t.stored.Named(name)
		if n == nil {
			return fmt.Errorf("%w: %s", membership.ErrUnknownNode, name)
		}
		out = t.nodeProto(now, n)
		out.Sync = t.status[n.ID]
		return nil
	})
	if err != nil {
		return nil, refusal(err)
	}
	return out, nil
}

// DrainNode makes a node hand over and leave. A data plane may drain itself alone.
func (c *Coordinator) DrainNode(ctx context.Context, r *syncv1.DrainNodeRequest) (*longrunningpb.Operation, error) {
	name, err := nodeID(r.GetName())
	if err != nil {
		return nil, err
	}
	if err := ownName(ctx, name); err != nil {
		return nil, err
	}
	return c.operate(ctx, verbDrain, name, r.GetValidateOnly(), func(t *term, now int64, _ membership.Node) error {
		return t.m.Drain(now, name, r.GetForce(), r.GetValidateOnly())
	})
}

// BulkSync makes a node get every member's stock anew.
func (c *Coordinator) BulkSync(ctx context.Context, r *syncv1.BulkSyncRequest) (*longrunningpb.Operation, error) {
	name, err := nodeID(r.GetName())
	if err != nil {
		return nil, err
	}
	return c.operate(ctx, verbBulkSync, name, false, func(t *term, now int64, n membership.Node) error {
		return t.m.Restock(now, n.ID)
	})
}

func (c *Coordinator) operate(ctx context.Context, verb, name string, check bool, fn func(*term, int64, membership.Node) error) (*longrunningpb.Operation, error) {
	var out *longrunningpb.Operation
	err := c.do(ctx, func(t *term, now int64) error {
		n, ok := t.m.Named(name)
		if !ok {
			return fmt.Errorf("%w: %s", membership.ErrUnknownNode, name)
		}
		if err := fn(t, now, n); err != nil {
			return err
		}
		if check {
			out = &longrunningpb.Operation{Done: true}
			return nil
		}
		var err error
		out, err = t.operationProto(now, t.begin(now, verb, n))
		return err
	})
	if err != nil {
		return nil, refusal(err)
	}
	return out, nil
}

// ListOperations lists operations, newest first.
func (c *Coordinator) ListOperations(ctx context.Context, r *syncv1.ListOperationsRequest) (*syncv1.ListOperationsResponse, error) {
	const scope = "operations"
	size, after, err := page.Of(scope, r)
	if err != nil {
		return nil, err
	}
	out := &syncv1.ListOperationsResponse{}
	err = c.do(ctx, func(t *term, now int64) error {
		skip := after != ""
		for _, o := range newestFirst(t.ops) {
			if skip {
				skip = o.ID != after
				continue
			}
			if len(out.Operations) == size {
				out.NextPageToken = page.Token(scope, strings.TrimPrefix(out.Operations[size-1].GetName(), "operations/"))
				break
			}
			p, err := t.operationProto(now, o)
			if err != nil {
				return err
			}
			out.Operations = append(out.Operations, p)
		}
		return nil
	})
	if err != nil {
		return nil, refusal(err)
	}
	return out, nil
}

// GetOperation reads one operation.
func (c *Coordinator) GetOperation(ctx context.Context, r *syncv1.GetOperationRequest) (*longrunningpb.Operation, error) {
	var out *longrunningpb.Operation
	err := c.do(ctx, func(t *term, now int64) error {
		for _, o := range t.ops {
			if "operations/"+o.ID == r.GetName() {
				var err error
				out, err = t.operationProto(now, o)
				return err
			}
		}
		return apierr.New(apierr.OperationNotFound, "no operation %q", r.GetName())
	})
	if err != nil {
		return nil, refusal(err)
	}
	return out, nil
}

// WatchMembership streams the state: now, and at each change.
func (c *Coordinator) WatchMembership(_ *syncv1.WatchMembershipRequest, s grpc.ServerStreamingServer[syncv1.WatchMembershipResponse]) error {
	ctx := s.Context()
	bookmark := func() error {
		var msg *syncv1.WatchMembershipResponse
		err := c.do(ctx, func(t *term, _ int64) error {
			msg = t.watchMessage(dpdv1.WatchKind_WATCH_KIND_BOOKMARK)
			return nil
		})
		if err != nil {
			return refusal(err)
		}
		return s.Send(msg)
	}
	err := c.hub.Serve(ctx, bookmark, s.Send)
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	return err
}

func nodeID(name string) (string, error) {
	id, ok := strings.CutPrefix(name, "nodes/")
	if !ok || id == "" {
		var v apierr.Violations
		v.Add("name", "%q is not nodes/NAME", name)
		return "", v.Err()
	}
	return id, nil
}

// refusal is refusalAt for calls that are never told to wait.
func refusal(err error) error { return refusalAt(0, err) }

// refusalAt gives the machine's sentinels their code and reason; what has one already passes. now is for how long is left
// of a wait.
func refusalAt(now int64, err error) error {
	if err == nil || apierr.ReasonOf(err) != "" {
		return err
	}
	field := func(name string) error {
		var v apierr.Violations
		v.Add(name, "%v", err)
		return v.Err()
	}
	var wait *membership.BackOffError
	switch {
	case errors.Is(err, membership.ErrName):
		return field("node_name")
	case errors.Is(err, membership.ErrAddress):
		return field("control_address")
	case errors.Is(err, membership.ErrFamily):
		return field("ipv4")
	case errors.Is(err, membership.ErrTooLong):
		return field("data_addresses")
	case errors.Is(err, membership.ErrTooMany):
		return apierr.New(apierr.LimitReached, "%v", err)
	case errors.As(err, &wait):
		left := max(wait.Until-now, 1)
		return apierr.With(apierr.JoinBackOff, map[string]string{"retry_after_ms": fmt.Sprint(left)}, "%v", err)
	case errors.Is(err, membership.ErrNoSip):
		return apierr.New(apierr.SIPPoolExhausted, "%v", err)
	case errors.Is(err, membership.ErrUnknownNode):
		return apierr.New(apierr.NodeNotFound, "%v", err)
	case errors.Is(err, membership.ErrStaleInc):
		return apierr.New(apierr.WrongLife, "%v", err)
	case errors.Is(err, membership.ErrLastNode):
		return apierr.New(apierr.LastNode, "%v", err)
	case errors.Is(err, membership.ErrNotMember), errors.Is(err, membership.ErrPhase):
		return apierr.New(apierr.NodeNotInView, "%v", err)
	case errors.Is(err, errStore):
		return apierr.New(apierr.StoreUnavailable, "%v", err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	}
	return apierr.New(apierr.Internal, "%v", err)
}
