// Package event carries session events from the workers to NATS. A worker puts an event into a bounded ring and never
// waits; what does not fit is counted by the worker and announced as DESYNC, after which a reader lists the sessions anew.
package event

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/holdfast-lb/holdfast/dpd/internal/apiform"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/ring"
	eventv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/event/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Bounds of a batch (the bus takes 64 KiB) and of its delay.
const (
	batchBytes  = 60 << 10
	batchEvents = 512
	batchDelay  = 10 * time.Millisecond
)

// Bus sends one message. It may drop while it is not connected; it must not block for long.
type Bus interface {
	Publish(subject string, header map[string]string, payload []byte) error
}

// Publisher drains the workers' rings into batches. One goroutine runs it.
type Publisher struct {
	bus   Bus
	node  string
	life  func() flow.Node
	rings []*ring.SPSC[flow.Event]
	lost  func() uint64 // events that workers could not put, since start
	seq   uint64
	told  uint64 // of lost, what DESYNC has told

	Sent   atomic.Uint64 // events that the bus took
	Failed atomic.Uint64 // events that the bus refused
}

// NewPublisher makes a publisher for a node. lost counts what workers could not put into their rings; life is the
// node's present life.
func NewPublisher(b Bus, node string, life func() flow.Node, rings []*ring.SPSC[flow.Event], lost func() uint64) *Publisher {
	return &Publisher{bus: b, node: node, life: life, rings: rings, lost: lost}
}

// Run publishes until ctx ends, then what is left.
func (p *Publisher) Run(ctx context.Context) {
	t := time.NewTicker(batchDelay)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			p.Turn()
			return
		case <-t.C:
			p.Turn()
		}
	}
}

// Turn publishes what the rings hold now, in batches by kind.
func (p *Publisher) Turn() {
	var batch [flow.EventDesync + 1][]*eventv1.SessionEvent
	var size [flow.EventDesync + 1]int
	flush := func(k flow.EventKind) {
		if len(batch[k]) > 0 {
			p.send(k, batch[k])
			batch[k], size[k] = nil, 0
		}
	}
	var e flow.Event
	for _, r := range p.rings {
		for n := r.Len(); n > 0 && r.Take(&e); n-- {
			if e.Kind == 0 || e.Kind > flow.EventDesync {
				continue
			}
			m := message(&e)
			s := proto.Size(m) + 4
			if size[e.Kind]+s > batchBytes || len(batch[e.Kind]) == batchEvents {
				flush(e.Kind)
			}
			batch[e.Kind] = append(batch[e.Kind], m)
			size[e.Kind] += s
		}
	}
	for k := flow.EventCreated; k < flow.EventDesync; k++ {
		flush(k)
	}
	if n := p.lost() + p.Failed.Load(); n > p.told {
		if p.send(flow.EventDesync, []*eventv1.SessionEvent{{
			Kind: eventv1.SessionEventKind_SESSION_EVENT_KIND_DESYNC, Time: timestamppb.Now(), Reason: "event_ring_full", Lost: n - p.told,
		}}) {
			p.told = n
		}
	}
}

// send publishes one batch under a sequence of its own, also when the bus refuses it: the gap tells readers.
func (p *Publisher) send(k flow.EventKind, events []*eventv1.SessionEvent) bool {
	p.seq++
	life := p.life()
	b, err := proto.Marshal(&eventv1.SessionEventBatch{Node: p.node, Life: apiform.Life(life), Sequence: p.seq, Events: events})
	if err == nil {
		err = p.bus.Publish(fmt.Sprintf("holdfast.v1.session.%s.%s", p.node, k), map[string]string{
			"Content-Type":      "application/protobuf",
			"Holdfast-Schema":   "holdfast.event.v1.SessionEventBatch",
			"Holdfast-Node":     p.node,
			"Holdfast-Epoch":    strconv.FormatUint(life.Inc, 10),
			"Holdfast-Sequence": strconv.FormatUint(p.seq, 10),
			"Holdfast-Count":    strconv.Itoa(len(events)),
			"Nats-Msg-Id":       fmt.Sprintf("%s-%d-%d", p.node, life.Inc, p.seq),
		}, b)
	}
	if err != nil {
		if k != flow.EventDesync {
			p.Failed.Add(uint64(len(events)))
		}
		return false
	}
	p.Sent.Add(uint64(len(events)))
	return true
}

func message(e *flow.Event) *eventv1.SessionEvent {
	m := &eventv1.SessionEvent{
		Kind: eventv1.SessionEventKind(e.Kind), Time: timestamppb.New(time.UnixMilli(int64(e.Wall))), Reason: e.Reason,
		Session: apiform.Session(&e.Session, int(e.Worker)),
	}
	if e.Former != (flow.Node{}) {
		m.FormerOwner = apiform.Life(e.Former)
	}
	return m
}
