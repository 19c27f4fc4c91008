package event

import (
	"errors"
	"strings"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/ring"
	eventv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/event/v1"
	"google.golang.org/protobuf/proto"
)

type sent struct {
	subject string
	batch   *eventv1.SessionEventBatch
	bytes   int
}

type fakeBus struct {
	msgs []sent
	down bool
	t    *testing.T
}

func (b *fakeBus) Publish(subject string, h map[string]string, payload []byte) error {
	if b.down {
		return errors.New("down")
	}
	m := &eventv1.SessionEventBatch{}
	if err := proto.Unmarshal(payload, m); err != nil {
		b.t.Fatal(err)
	}
	b.msgs = append(b.msgs, sent{subject, m, len(payload)})
	return nil
}

func setup(t *testing.T, capacity int) (*Publisher, *fakeBus, *ring.SPSC[flow.Event], *uint64) {
	b := &fakeBus{t: t}
	r := ring.New[flow.Event](capacity)
	lost := new(uint64)
	p := NewPublisher(b, "lb-a", func() flow.Node { return flow.Node{ID: 1, Inc: 9} }, []*ring.SPSC[flow.Event]{r}, func() uint64 { return *lost })
	return p, b, r, lost
}

func TestEventsArriveInOrderUnderTheSubjectOfTheirKind(t *testing.T) {
	p, b, r, _ := setup(t, 16)
	for i, k := range []flow.EventKind{flow.EventCreated, flow.EventEstablished, flow.EventCreated} {
		r.Put(&flow.Event{Kind: k, Session: flow.Session{Birth: flow.Birth(i + 1)}})
	}
	p.Turn()
	if len(b.msgs) != 2 {
		t.Fatalf("%d messages, want one a kind", len(b.msgs))
	}
	if got := b.msgs[0].subject; got != "holdfast.v1.session.lb-a.created" {
		t.Errorf("subject %q", got)
	}
	ev := b.msgs[0].batch.Events
	if len(ev) != 2 || ev[0].Session.Birth != 1 || ev[1].Session.Birth != 3 {
		t.Errorf("created: %v", ev)
	}
	if b.msgs[0].batch.Sequence != 1 || b.msgs[1].batch.Sequence != 2 {
		t.Errorf("sequences %d, %d", b.msgs[0].batch.Sequence, b.msgs[1].batch.Sequence)
	}
}

func TestABatchStaysBelowTheBusLimit(t *testing.T) {
	p, b, r, _ := setup(t, 4096)
	for range 2000 {
		r.Put(&flow.Event{Kind: flow.EventRefused, Reason: strings.Repeat("x", 100)})
	}
	p.Turn()
	n := 0
	for _, m := range b.msgs {
		n += len(m.batch.Events)
		if m.bytes > 64<<10 || len(m.batch.Events) > batchEvents {
			t.Errorf("a batch of %d bytes, %d events", m.bytes, len(m.batch.Events))
		}
	}
	if n != 2000 {
		t.Errorf("%d events arrived of 2000", n)
	}
}

func TestWhatWorkersLostIsAnnouncedOnce(t *testing.T) {
	p, b, _, lost := setup(t, 4)
	*lost = 5
	p.Turn()
	p.Turn()
	if len(b.msgs) != 1 || b.msgs[0].batch.Events[0].Lost != 5 {
		t.Fatalf("messages: %v", b.msgs)
	}
}

func TestABusThatIsAwayMakesAGapAndADesyncWhenItIsBack(t *testing.T) {
	p, b, r, _ := setup(t, 4)
	b.down = true
	r.Put(&flow.Event{Kind: flow.EventCreated})
	p.Turn()
	if p.Failed.Load() != 1 || p.Sent.Load() != 0 {
		t.Errorf("failed %d sent %d", p.Failed.Load(), p.Sent.Load())
	}
	b.down = false
	p.Turn()
	if len(b.msgs) != 1 || b.msgs[0].batch.Events[0].Kind != eventv1.SessionEventKind_SESSION_EVENT_KIND_DESYNC || b.msgs[0].batch.Sequence < 2 {
		t.Errorf("after it came back: %v", b.msgs)
	}
}

func TestEveryKindHasATokenAndOthersDoNot(t *testing.T) {
	for k := flow.EventCreated; k <= flow.EventDesync; k++ {
		if want := strings.ToUpper(k.String()); eventv1.SessionEventKind(k).String() != "SESSION_EVENT_KIND_"+want {
			t.Errorf("kind %d is %q here and %v in the API", k, k, eventv1.SessionEventKind(k))
		}
	}
	if flow.EventKind(0).String() != "unknown" || flow.EventKind(200).String() != "unknown" {
		t.Error("a kind that is none has a token")
	}
}
