package coordinator

import (
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/event/v1"
	"github.com/holdfast-lb/holdfast/services/sync-coordinator/membership"
)

// publish logs events and puts those with a public kind on NATS. They are news, not state: a subscriber that missed some
// reads the membership.
func (t *term) publish(events []membership.Event) {
	for i, e := range events {
		n := t.stored.Node(e.Node)
		if n == nil && e.Node != 0 {
			continue
		}
		t.logEvent(e, n)
		kind, public := eventKinds[e.Kind]
		if !public {
			continue
		}
		if e.Kind == membership.NodeAside {
			t.c.metrics.aside.Inc()
		}
		if e.Kind == membership.NodeRemoved {
			switch e.Cause {
			case membership.CauseLeft:
				kind = eventv1.NodeEventKind_NODE_EVENT_KIND_LEFT
			case membership.CauseDead:
				t.c.metrics.removals.Inc()
			}
		}
		if err := t.send(i, kind, e, n); err != nil {
			t.c.log.Warn("event not published", "kind", kind, "node", n.Name, "error", err)
		}
	}
}

func (t *term) send(i int, kind eventv1.NodeEventKind, e membership.Event, n *membership.Node) error {
	data, err := proto.Marshal(&eventv1.NodeEvent{
		Kind: kind, Time: timestamppb.New(time.UnixMilli(t.c.clock())), Node: n.Name, Life: life(e.Node, e.Inc),
		View: t.stored.View, Detail: detail(n),
	})
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	word := strings.ToLower(strings.TrimPrefix(kind.String(), "NODE_EVENT_KIND_"))
	msg := nats.NewMsg("holdfast.v1.node." + n.Name + "." + word)
	msg.Data = data
	msg.Header.Set("Content-Type", "application/x-protobuf")
	msg.Header.Set("Holdfast-Schema", "holdfast.event.v1.NodeEvent")
	msg.Header.Set("Holdfast-Node", n.Name)
	msg.Header.Set(nats.MsgIdHdr, fmt.Sprintf("node-%d-%d-%d-%s-%d", t.stored.View, e.Node, e.Inc, word, i))
	return t.c.deps.NATS.PublishMsg(msg)
}

func (t *term) logEvent(e membership.Event, n *membership.Node) {
	args := []any{"view", t.stored.View}
	if n != nil {
		args = append(args, "node", n.Name, "inc", e.Inc)
	}
	if e.Peer != 0 {
		args = append(args, "peer", e.Peer)
	}
	if e.Block != 0 {
		args = append(args, "block", e.Block)
	}
	if e.Cause != membership.CauseNone {
		args = append(args, "cause", e.Cause)
	}
	switch e.Kind {
	case membership.NodeAside:
		t.c.log.Warn(string(e.Kind), append(args, "reason", detail(n))...)
	case membership.RemovalHeld, membership.MemberLeftOut, membership.NodeControlLost, membership.NodeDegraded, membership.NodeRemoved,
		membership.KeysHeld, membership.KeysLeftOut, membership.BlockHeld:
		t.c.log.Warn(string(e.Kind), args...)
	default:
		t.c.log.Info(string(e.Kind), args...)
	}
}
