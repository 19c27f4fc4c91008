package rollout

import (
	"context"
	"log/slog"
	"strings"

	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
)

// Coordinator are the nodes that the sync-coordinator has in its view.
type Coordinator struct {
	Client syncv1.CoordinatorServiceClient
	Log    *slog.Logger
}

// Follow keeps a WatchMembership stream open. While there is none, the last nodes hold.
func (c Coordinator) Follow(ctx context.Context, set func([]Node)) error {
	wait := retryMin
	for ctx.Err() == nil {
		heard, err := c.stream(ctx, set)
		if heard {
			wait = retryMin
		}
		// After the end of ctx the error tells only of that, and the end is no failure; the pause ends at once.
		if ctx.Err() == nil {
			c.Log.Debug("the membership stream ended", "error", err, "wait", wait)
		}
		sleep(ctx, wait, nil)
		wait = min(2*wait, retryMax)
	}
	return nil
}

func (c Coordinator) stream(ctx context.Context, set func([]Node)) (heard bool, err error) {
	// The stream is cancelled on every way out, or it would stay open behind the next one.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Client.WatchMembership(ctx, &syncv1.WatchMembershipRequest{})
	if err != nil {
		return false, err
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return heard, err
		}
		heard = true
		var nodes []Node
		for _, n := range m.GetNodes() {
			switch n.GetState() {
			case syncv1.NodeState_NODE_STATE_JOINING, syncv1.NodeState_NODE_STATE_ADMITTED,
				syncv1.NodeState_NODE_STATE_DRAINING, syncv1.NodeState_NODE_STATE_DEGRADED:
				nodes = append(nodes, Node{Name: strings.TrimPrefix(n.GetName(), "nodes/"), Incarnation: n.GetIncarnation(), Address: n.GetControlAddress()})
			}
		}
		set(nodes)
	}
}

var _ Nodes = Coordinator{}
