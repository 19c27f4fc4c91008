package coordinator

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	eventv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/event/v1"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
	"github.com/holdfast-lb/holdfast/services/kit/apierr"
	"github.com/holdfast-lb/holdfast/services/sync-coordinator/membership"
)

func TestJoinGoesAllTheWayToAdmission(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.start("one")
	planes := w.cluster(c, "lb-a", "lb-b", "lb-c")
	seen := map[string]bool{}
	for i, p := range planes {
		m := p.applied()
		if m.GetSelf().GetLife().GetId() != uint32(i+1) || m.GetSelf().GetSipV4() == "" || m.GetSelf().GetSyncPort() != 7946 {
			t.Errorf("%s: self %v", p.name, m.GetSelf())
		}
		for _, b := range m.GetLaddrBlocks() {
			if proto.Equal(b.GetHolder(), p.life()) && b.GetAllocatable() {
				seen[b.GetAddresses()[0]] = true
			}
		}
		p.mu.Lock()
		k, views := p.keys, slices.Clone(p.views)
		p.mu.Unlock()
		if len(k.GetKeys()) != 1 || len(k.GetKeys()[0].GetSecret()) != 32 || len(k.GetRssKey()) != 40 || len(k.GetDigestKey()) != 16 {
			t.Errorf("%s: keys of generation %d", p.name, k.GetGeneration())
		}
		if !slices.IsSorted(views) {
			t.Errorf("%s: views %v", p.name, views)
		}
	}
	if len(seen) != 3 {
		t.Errorf("blocks held: %v", seen)
	}
	list, err := c.ListNodes(t.Context(), &syncv1.ListNodesRequest{PageSize: 2})
	if err != nil || len(list.GetNodes()) != 2 || list.GetNextPageToken() == "" || list.GetNodes()[0].GetSync() == nil {
		t.Fatalf("%v %v", list, err)
	}
	rest, err := c.ListNodes(t.Context(), &syncv1.ListNodesRequest{PageSize: 2, PageToken: list.GetNextPageToken()})
	if err != nil || len(rest.GetNodes()) != 1 || rest.GetNodes()[0].GetName() != "nodes/lb-c" || rest.GetNextPageToken() != "" {
		t.Fatalf("%v %v", rest, err)
	}
}

func TestADeadNodeIsRemovedAndTheOthersHearOfIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.start("one")
	nc, err := nats.Connect(w.nats.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync("holdfast.v1.node.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	p := w.cluster(c, "lb-a", "lb-b", "lb-c")
	dead := p[2].life()
	begin := time.Now()
	p[2].kill()
	gone := func(p *plane) bool {
		return p.sees("lb-c") == dpdv1.MemberState_MEMBER_STATE_UNSPECIFIED &&
			slices.ContainsFunc(p.applied().GetFenced(), func(l *dpdv1.NodeLife) bool { return proto.Equal(l, dead) })
	}
	w.until("both survivors see it gone and fenced", func() bool { return gone(p[0]) && gone(p[1]) })
	t.Logf("removed and told in %v", time.Since(begin))
	for _, b := range p[0].applied().GetLaddrBlocks() {
		if proto.Equal(b.GetHolder(), dead) {
			t.Errorf("the dead life still holds %v", b)
		}
	}
	n, err := c.GetNode(t.Context(), &syncv1.GetNodeRequest{Name: "nodes/lb-c"})
	if err != nil || n.GetState() != syncv1.NodeState_NODE_STATE_REMOVED || n.GetControlAlive() {
		t.Fatalf("%v %v", n, err)
	}
	var kinds []eventv1.NodeEventKind
	for !slices.Contains(kinds, eventv1.NodeEventKind_NODE_EVENT_KIND_REMOVED) {
		msg, err := sub.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatalf("after %v: %v", kinds, err)
		}
		var e eventv1.NodeEvent
		if err := proto.Unmarshal(msg.Data, &e); err != nil {
			t.Fatal(err)
		}
		// Whether silence or the broken connection is noticed first is chance here.
		if e.GetNode() == "lb-c" && e.GetKind() != eventv1.NodeEventKind_NODE_EVENT_KIND_DEGRADED {
			kinds = append(kinds, e.GetKind())
			if !strings.HasPrefix(msg.Subject, "holdfast.v1.node.lb-c.") || msg.Header.Get(nats.MsgIdHdr) == "" {
				t.Errorf("subject %q, id %q", msg.Subject, msg.Header.Get(nats.MsgIdHdr))
			}
		}
	}
	want := []eventv1.NodeEventKind{
		eventv1.NodeEventKind_NODE_EVENT_KIND_JOINED, eventv1.NodeEventKind_NODE_EVENT_KIND_ADMITTED,
		eventv1.NodeEventKind_NODE_EVENT_KIND_CONTROL_LOST, eventv1.NodeEventKind_NODE_EVENT_KIND_REMOVED,
	}
	if !slices.Equal(kinds, want) {
		t.Errorf("events %v", kinds)
	}

	// It comes back under its name and is let in again.
	p[2].listen("127.0.0.1:0")
	back := p[2].join(c)
	if back.GetLife().GetId() != dead.GetId() || back.GetLife().GetIncarnation() <= dead.GetIncarnation() {
		t.Fatalf("came back as %v after %v", back.GetLife(), dead)
	}
	w.until("it is admitted again", func() bool { return p[0].sees("lb-c") == admitted && p[2].sees("lb-c") == admitted })
}

func TestAHungNodeLosesItsControlConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.start("one")
	p := w.cluster(c, "lb-a", "lb-b", "lb-c")
	p[1].edit(func() { p[1].hung = true })
	w.until("control is lost", func() bool {
		n, err := c.GetNode(t.Context(), &syncv1.GetNodeRequest{Name: "nodes/lb-b"})
		return err == nil && !n.GetControlAlive()
	})
	// Its peers hear it: it stays.
	if got := p[0].sees("lb-b"); got != admitted {
		t.Fatalf("is %v", got)
	}
	p[1].edit(func() { p[1].hung = false })
	w.until("control is back", func() bool {
		n, err := c.GetNode(t.Context(), &syncv1.GetNodeRequest{Name: "nodes/lb-b"})
		return err == nil && n.GetControlAlive()
	})
}

func TestARestartLosesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.start("one")
	p := w.cluster(c, "lb-a", "lb-b")
	before := p[0].applied()
	keys := p[0].keySet()
	c.stop()
	c = w.start("two")
	w.until("a higher view is applied", func() bool {
		return p[0].applied().GetView() > before.GetView() && p[1].applied().GetView() > before.GetView()
	})
	after := proto.CloneOf(p[0].applied())
	after.View = before.GetView()
	if !proto.Equal(before, after) {
		t.Errorf("the view changed:\n%v\n%v", before, after)
	}
	w.until("both are connected", func() bool {
		l, err := c.ListNodes(t.Context(), &syncv1.ListNodesRequest{})
		return err == nil && len(l.GetNodes()) == 2 && l.GetNodes()[0].GetControlAlive() && l.GetNodes()[1].GetControlAlive()
	})
	again := p[1].join(c) // the same process: the same life
	if !proto.Equal(again.GetLife(), before.GetMembers()[1].GetLife()) || !proto.Equal(again.GetKeys(), keys) {
		t.Errorf("the same process was given %v", again.GetLife())
	}
}

func TestAStandbyTakesOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.start("one")
	w.until("one leads", func() bool { return first.term.Load() != nil })
	second := w.start("two")
	p := w.cluster(first, "lb-a", "lb-b")
	if _, err := second.ListNodes(t.Context(), &syncv1.ListNodesRequest{}); !apierr.Is(err, apierr.NotLeader) {
		t.Fatalf("the standby answered %v", err)
	}
	view := p[0].applied().GetView()
	first.stop()
	w.until("the other one leads", func() bool { return second.term.Load() != nil })
	w.until("its view is applied", func() bool { return p[0].applied().GetView() > view })
	p[1].kill()
	w.until("it removes a dead node", func() bool { return p[0].sees("lb-b") == dpdv1.MemberState_MEMBER_STATE_UNSPECIFIED })
}

func TestAWriterThatLostItsPlaceStops(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.start("one")
	p := w.cluster(c, "lb-a")
	view := p[0].applied().GetView()
	// Someone else writes the state, as a second leader would; what this one writes in between comes before.
	st := *c.term.Load().store
	w.until("the other one writes", func() bool {
		state, _, err := st.load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		state.View += 50
		return st.save(t.Context(), &state) == nil
	})
	_, err := c.Join(t.Context(), w.plane("lb-b").request())
	if !apierr.Is(err, apierr.StoreUnavailable) && !apierr.Is(err, apierr.NotLeader) {
		t.Fatalf("the join of a leader that lost its place: %v", err)
	}
	w.until("it leads again, above what the other wrote", func() bool { return p[0].applied().GetView() > view+50 })
}

func TestDrainEndsWithTheNodeOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.start("one")
	p := w.cluster(c, "lb-a", "lb-b")
	check, err := c.DrainNode(t.Context(), &syncv1.DrainNodeRequest{Name: "nodes/lb-b", ValidateOnly: true})
	if err != nil || p[0].sees("lb-b") != admitted {
		t.Fatalf("%v %v", check, err)
	}
	op, err := c.DrainNode(t.Context(), &syncv1.DrainNodeRequest{Name: "nodes/lb-b"})
	if err != nil || op.GetDone() {
		t.Fatalf("%v %v", op, err)
	}
	w.until("the operation ends", func() bool {
		op, err = c.GetOperation(t.Context(), &syncv1.GetOperationRequest{Name: op.GetName()})
		return err == nil && op.GetDone()
	})
	var n syncv1.Node
	if err := op.GetResponse().UnmarshalTo(&n); err != nil || n.GetState() != syncv1.NodeState_NODE_STATE_LEFT {
		t.Fatalf("%v %v", &n, err)
	}
	w.until("the other one sees it gone", func() bool { return p[0].sees("lb-b") == dpdv1.MemberState_MEMBER_STATE_UNSPECIFIED })
	list, err := c.ListOperations(t.Context(), &syncv1.ListOperationsRequest{})
	if err != nil || len(list.GetOperations()) != 1 {
		t.Fatalf("%v %v", list, err)
	}
}

func TestBulkSyncEndsWhenEveryStockCame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.start("one")
	w.cluster(c, "lb-a", "lb-b")
	op, err := c.BulkSync(t.Context(), &syncv1.BulkSyncRequest{Name: "nodes/lb-b"})
	if err != nil {
		t.Fatal(err)
	}
	same, err := c.BulkSync(t.Context(), &syncv1.BulkSyncRequest{Name: "nodes/lb-b"})
	if err != nil || same.GetName() != op.GetName() {
		t.Fatalf("a second operation beside the first: %v %v", same, err)
	}
	w.until("the operation ends", func() bool {
		op, err = c.GetOperation(t.Context(), &syncv1.GetOperationRequest{Name: op.GetName()})
		return err == nil && op.GetDone()
	})
	if op.GetError() != nil {
		t.Fatal(op.GetError())
	}
}

func TestAnOldKeyIsChangedWithoutLoss(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rules := membership.DefaultConfig()
	rules.KeySettle = 200
	c := w.startWith(Config{Rules: rules, KeyLifetime: 500 * time.Millisecond})
	p := w.cluster(c, "lb-a", "lb-b")
	has := func(p *plane, id uint32) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return slices.ContainsFunc(p.keys.GetKeys(), func(k *dpdv1.ClusterKey) bool { return k.GetId() == id })
	}
	last := uint32(0)
	w.until("the key was changed twice", func() bool {
		p[0].mu.Lock()
		k := p[0].keys
		p[0].mu.Unlock()
		if n := len(k.GetKeys()); n < 1 || n > 2 {
			t.Fatalf("%d keys", n)
		}
		// Whatever one seals with, the other one has.
		if k.GetActiveKeyId() != last {
			last = k.GetActiveKeyId()
			if !has(p[1], last) {
				t.Fatalf("key %d is used before the other node has it", last)
			}
		}
		return last >= 3
	})
}

func TestRefusalsHaveReasons(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.start("one")
	p := w.cluster(c, "lb-a")[0]
	ctx := t.Context()
	join := func(edit func(*syncv1.JoinRequest)) error {
		r := p.request()
		edit(r)
		_, err := c.Join(ctx, r)
		return err
	}
	get := func(name string) error {
		_, err := c.GetNode(ctx, &syncv1.GetNodeRequest{Name: name})
		return err
	}
	for _, tc := range []struct {
		name string
		err  error
		want apierr.Reason
	}{
		{"a bad node name", join(func(r *syncv1.JoinRequest) { r.NodeName = "A" }), apierr.BadRequest},
		{"a bad address", join(func(r *syncv1.JoinRequest) { r.NodeName, r.ControlAddress = "lb-x", "x" }), apierr.BadRequest},
		{"a port above 65535", join(func(r *syncv1.JoinRequest) { r.SyncPort = 65536 }), apierr.BadRequest},
		{"a short process id", join(func(r *syncv1.JoinRequest) { r.ProcessId = []byte("x") }), apierr.BadRequest},
		{"no family", join(func(r *syncv1.JoinRequest) { r.NodeName, r.Ipv4 = "lb-x", false }), apierr.BadRequest},
		{"a family without pool", join(func(r *syncv1.JoinRequest) { r.NodeName, r.Ipv4, r.Ipv6 = "lb-x", false, true }), apierr.SIPPoolExhausted},
		{"an unknown node", get("nodes/none"), apierr.NodeNotFound},
		{"no resource name", get("lb-a"), apierr.BadRequest},
		{"an unknown operation", func() error {
			_, err := c.GetOperation(ctx, &syncv1.GetOperationRequest{Name: "operations/x"})
			return err
		}(), apierr.OperationNotFound},
		{"a drain of the last node", func() error {
			_, err := c.DrainNode(ctx, &syncv1.DrainNodeRequest{Name: "nodes/lb-a"})
			return err
		}(), apierr.LastNode},
		{"a bulk sync of an unknown node", func() error {
			_, err := c.BulkSync(ctx, &syncv1.BulkSyncRequest{Name: "nodes/none"})
			return err
		}(), apierr.NodeNotFound},
		{"a leave of a former life", func() error {
			_, err := c.Leave(ctx, &syncv1.LeaveRequest{Life: &dpdv1.NodeLife{Id: 1, Incarnation: 1}})
			return err
		}(), apierr.WrongLife},
		{"a page token of elsewhere", func() error {
			_, err := c.ListNodes(ctx, &syncv1.ListNodesRequest{PageToken: "AAAA"})
			return err
		}(), apierr.BadPageToken},
	} {
		if !apierr.Is(tc.err, tc.want) {
			t.Errorf("%s: %v, want reason %s", tc.name, tc.err, tc.want.Name)
		}
	}
	if got := p.applied().GetMembers(); len(got) != 1 {
		t.Errorf("refusals changed the view: %v", got)
	}
}

func TestWatchBeginsWithABookmarkAndSeesEachChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.start("one")
	w.cluster(c, "lb-a")
	ctx, cancel := context.WithCancel(t.Context())
	s := &watcher{ctx: ctx, got: make(chan *syncv1.WatchMembershipResponse, 64)}
	done := make(chan error, 1)
	go func() { done <- c.WatchMembership(&syncv1.WatchMembershipRequest{}, s) }()
	first := <-s.got
	if first.GetKind() != dpdv1.WatchKind_WATCH_KIND_BOOKMARK || len(first.GetNodes()) != 1 || first.GetNodes()[0].GetSync() != nil {
		t.Fatalf("%v", first)
	}
	w.plane("lb-b").join(c)
	for m := range s.got {
		if m.GetView() < first.GetView() {
			t.Fatalf("view %d after %d", m.GetView(), first.GetView())
		}
		if len(m.GetNodes()) == 2 {
			break
		}
	}
	cancel()
	if err := <-done; status.Code(err) != codes.Canceled {
		t.Fatal(err)
	}
}

type watcher struct {
	grpc.ServerStream
	ctx context.Context
	got chan *syncv1.WatchMembershipResponse
}

func (w *watcher) Context() context.Context                     { return w.ctx }
func (w *watcher) Send(m *syncv1.WatchMembershipResponse) error { w.got <- m; return nil }
