package coordinator

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	eventv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/event/v1"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
	"github.com/holdfast-lb/holdfast/services/kit/apierr"
	"github.com/holdfast-lb/holdfast/services/sync-coordinator/membership"
)

// hasty are the rules with short times for joiners.
func hasty() membership.Config {
	r := membership.DefaultConfig()
	r.JoinBound, r.JoinBackOff, r.JoinBackOffMax = 500, 1000, 1000
	return r
}

func TestAJoinerThatNeverGetsReadyIsPutAsideAndToldAndSeen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nc, err := nats.Connect(w.nats.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync("holdfast.v1.node.lb-x.aside")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	c := w.startWith(Config{Instance: "one", Rules: hasty()})
	p := w.cluster(c, "lb-a", "lb-b")
	x := w.plane("lb-x")
	x.unready = true
	x.join(c)
	life := x.life()
	node := func() *syncv1.Node {
		n, err := c.GetNode(t.Context(), &syncv1.GetNodeRequest{Name: "nodes/lb-x"})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	w.until("it says for what it waits", func() bool {
		n := node()
		return n.GetState() == syncv1.NodeState_NODE_STATE_ASIDE || strings.Contains(n.GetDetail(), "CONFIG (no configuration was applied)")
	})
	var aside *syncv1.Node
	w.until("it is aside", func() bool { aside = node(); return aside.GetState() == syncv1.NodeState_NODE_STATE_ASIDE })
	if d := aside.GetDetail(); !strings.HasPrefix(d, "no progress for 0 s: ") || !strings.Contains(d, "CONFIG (no configuration was applied)") {
		t.Errorf("detail %q", d)
	}
	if aside.GetSetbacks() == 0 {
		t.Errorf("%v", aside)
	}
	w.until("the others see it gone", func() bool {
		return p[0].sees("lb-x") == dpdv1.MemberState_MEMBER_STATE_UNSPECIFIED && p[1].sees("lb-x") == dpdv1.MemberState_MEMBER_STATE_UNSPECIFIED
	})
	w.until("it is told, although no peer may reach it", func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.st.GetState() == dpdv1.NodeState_NODE_STATE_FENCED
	})
	if m := x.applied(); m.GetSelf().GetState() != dpdv1.MemberState_MEMBER_STATE_JOINING || len(m.GetMembers()) != 2 || !proto.Equal(m.GetSelf().GetLife(), life) {
		t.Errorf("it was told %v", m)
	}
	msg, err := sub.NextMsg(5 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var e eventv1.NodeEvent
	if err := proto.Unmarshal(msg.Data, &e); err != nil || e.GetKind() != eventv1.NodeEventKind_NODE_EVENT_KIND_ASIDE || !proto.Equal(e.GetLife(), life) || e.GetDetail() == "" {
		t.Fatalf("%v %v", &e, err)
	}

	// It asks again, now with all that it needs.
	r := x.request()
	r.ProcessId = []byte("fedcba9876543210")
	if _, err := c.Join(t.Context(), r); err != nil {
		if apierr.ReasonOf(err) != "JOIN_BACK_OFF" || retryAfter(err) == "" {
			t.Fatal(err)
		}
	}
	x.edit(func() { x.unready = false })
	x.join(c)
	w.until("it is admitted", func() bool { return p[0].sees("lb-x") == admitted })
}

func retryAfter(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.GetMetadata()["retry_after_ms"]
		}
	}
	return ""
}

// A data plane that answers its status and nothing else must delay no view, no admission and no removal of others.
func TestADataPlaneThatAnswersNoCallDelaysNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rules := membership.DefaultConfig()
	rules.BeginGrace = 300 // 10 s in earnest
	c := w.startWith(Config{Instance: "one", Rules: rules})
	p := w.cluster(c, "lb-a", "lb-b", "lb-c")
	p[1].edit(func() { p[1].frozen = true })
	d := w.plane("lb-d")
	d.join(c)
	w.until("a joiner is admitted without its stock", func() bool { return p[0].sees("lb-d") == admitted && d.sees("lb-d") == admitted })
	p[2].kill()
	w.until("a dead node is removed", func() bool { return p[0].sees("lb-c") == dpdv1.MemberState_MEMBER_STATE_UNSPECIFIED })
	if _, err := c.DrainNode(t.Context(), &syncv1.DrainNodeRequest{Name: "nodes/lb-b"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.DrainNode(t.Context(), &syncv1.DrainNodeRequest{Name: "nodes/lb-d"}); err != nil {
		t.Fatal(err)
	}
	w.until("another drain ends", func() bool {
		n, err := c.GetNode(t.Context(), &syncv1.GetNodeRequest{Name: "nodes/lb-d"})
		return err == nil && n.GetState() == syncv1.NodeState_NODE_STATE_LEFT
	})
	// The next leader asks it too, and does not wait for it.
	c.stop()
	c = w.startWith(Config{Instance: "two", Rules: rules})
	e := w.plane("lb-e")
	e.join(c)
	w.until("the next leader admits", func() bool { return e.sees("lb-e") == admitted })
}

func TestADataPlaneThatTellsWithoutEndLeavesRoomForTheOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.start("one")
	p := w.cluster(c, "lb-a", "lb-b", "lb-c")
	p[1].edit(func() { p[1].loud = true })
	d := w.plane("lb-d")
	d.join(c)
	w.until("a joiner is admitted", func() bool { return d.sees("lb-d") == admitted })
	p[2].kill()
	w.until("a dead node is removed", func() bool { return p[0].sees("lb-c") == dpdv1.MemberState_MEMBER_STATE_UNSPECIFIED })
}

func TestPaceLetsABurstThroughAndSpacesTheRest(t *testing.T) {
	var p pace
	now := time.Unix(1000, 0)
	for i := range paceBurst {
		if d := p.wait(now); d != 0 {
			t.Fatalf("status %d of a burst waits %v", i, d)
		}
	}
	for i := 1; i <= 5; i++ {
		if d := p.wait(now); d != time.Duration(i)*paceEvery {
			t.Fatalf("status %d after the burst waits %v", i, d)
		}
	}
	now = now.Add(time.Minute)
	for i := range paceBurst {
		if d := p.wait(now); d != 0 {
			t.Fatalf("after a minute, status %d of a burst waits %v", i, d)
		}
	}
	if p.wait(now) == 0 {
		t.Fatal("a minute saved up more than a burst")
	}
}

// quietTerm is a term of a machine without store, links or goroutines.
func quietTerm(t *testing.T, log *bytes.Buffer) (*term, *int64) {
	t.Helper()
	now := int64(1_000_000)
	m, err := newMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &Coordinator{log: slog.New(slog.NewTextHandler(log, nil)), metrics: m, clock: func() int64 { return now }}
	x := &term{c: c, m: membership.New(membership.DefaultConfig(), membership.State{}, 0, membership.Secrets{}),
		links: map[uint32]*link{}, status: map[uint32]*dpdv1.SyncStatus{}}
	if err := x.m.SetPools(now, []membership.Pool{
		{Name: "sip", Kind: membership.PoolSip, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.9.0/28")}},
	}); err != nil {
		t.Fatal(err)
	}
	return x, &now
}

func TestAnOperationOfANodeThatIsStuckEnds(t *testing.T) {
	var log bytes.Buffer
	x, now := quietTerm(t, &log)
	n, err := x.m.Join(*now, membership.JoinRequest{Name: "lb-a", ControlAddress: "127.0.0.1:1", IPv4: true})
	if err != nil {
		t.Fatal(err)
	}
	x.status[n.ID] = &dpdv1.SyncStatus{Bulk: []*dpdv1.BulkProgress{{Begun: true, Expected: 100, Received: 10}}}
	x.begin(*now, verbDrain, n)
	x.begin(*now, verbBulkSync, n)
	*now += operationBound - 1
	x.turnOperations()
	for _, o := range x.ops {
		if o.Ended != 0 {
			t.Fatalf("%s ended too soon: %+v", o.Verb, o)
		}
	}
	*now++
	x.turnOperations()
	for _, o := range x.ops {
		if o.Ended == 0 || o.Error == "" {
			t.Fatalf("%s goes on: %+v", o.Verb, o)
		}
	}
}

func TestAStatusThatIsRefusedAgainAndAgainIsSaidOnce(t *testing.T) {
	var log bytes.Buffer
	x, now := quietTerm(t, &log)
	n, err := x.m.Join(*now, membership.JoinRequest{Name: "lb-a", ControlAddress: "127.0.0.1:1", IPv4: true})
	if err != nil {
		t.Fatal(err)
	}
	l := &link{t: x, id: n.ID, inc: n.Inc}
	x.links[n.ID] = l
	bad := &dpdv1.SyncStatus{Self: life(n.ID, n.Inc), Peers: make([]*dpdv1.PeerSync, maxPeers+1)}
	for range 3 {
		x.report(*now, l, bad)
	}
	if got := strings.Count(log.String(), "status refused"); got != 1 {
		t.Fatalf("said %d times:\n%s", got, &log)
	}
	x.report(*now, l, &dpdv1.SyncStatus{Self: life(n.ID, n.Inc)})
	x.report(*now, l, bad)
	if got := strings.Count(log.String(), "status refused"); got != 2 {
		t.Fatalf("said %d times:\n%s", got, &log)
	}
}

func TestWhatANodeSaysItLacksIsBounded(t *testing.T) {
	s := &dpdv1.SyncStatus{}
	for range 1000 {
		s.ReadyConditions = append(s.ReadyConditions, &dpdv1.ReadyCondition{
			Type: dpdv1.ReadyConditionType_READY_CONDITION_TYPE_STOCK, Detail: strings.Repeat("ä", 500)})
	}
	if met, missing := conditions(s); met != 0 || len(missing) > 3000 {
		t.Fatalf("%d met, %d bytes", met, len(missing))
	}
	s.ReadyConditions = []*dpdv1.ReadyCondition{
		{Type: dpdv1.ReadyConditionType_READY_CONDITION_TYPE_KEYS, Met: true},
		{Type: dpdv1.ReadyConditionType_READY_CONDITION_TYPE_HELLO, Detail: "x"},
		{Type: dpdv1.ReadyConditionType_READY_CONDITION_TYPE_ROUTES},
	}
	if met, missing := conditions(s); met != 1 || missing != "it says that it lacks HELLO (x), ROUTES" {
		t.Fatalf("%d met, %q", met, missing)
	}
}

func TestWhenANodeMayJoinAgainIsToldAsLongAsItMustWait(t *testing.T) {
	x, now := quietTerm(t, &bytes.Buffer{})
	n := membership.Node{Name: "lb-a", ID: 1, Phase: membership.Removed, Cause: membership.CauseAside, JoinAfter: *now + 1, Setbacks: 6}
	if p := x.nodeProto(*now, &n); p.GetJoinAfterTime().AsTime().UnixMilli() != *now+1 || p.GetSetbacks() != 6 {
		t.Errorf("%v", p)
	}
	if p := x.nodeProto(*now+1, &n); p.GetJoinAfterTime() != nil {
		t.Errorf("%v", p)
	}
}

func TestANodeThatKnowsThatItsLifeIsOverIsNotToldAgain(t *testing.T) {
	l := &link{want: desired{membership: &dpdv1.Membership{View: 9}, keys: &dpdv1.KeySet{Generation: 1}}}
	s := &dpdv1.SyncStatus{View: 8, KeyGeneration: 1, State: dpdv1.NodeState_NODE_STATE_JOINING}
	if !l.lacks(s) {
		t.Error("a joiner that runs an older view lacks nothing")
	}
	if s.State = dpdv1.NodeState_NODE_STATE_FENCED; l.lacks(s) {
		t.Error("a fenced one is told at each status")
	}
}

func TestReportOfReadsWhoHearsNothing(t *testing.T) {
	r, err := reportOf(&dpdv1.SyncStatus{Peers: []*dpdv1.PeerSync{
		{Peer: life(1, 5), UnheardMs: unheardAfter - 1, DigestEqual: true}, {Peer: life(2, 6), UnheardMs: unheardAfter},
	}})
	if err != nil || r.Peers[0].Unheard || !r.Peers[0].Equal || !r.Peers[1].Unheard || r.Peers[1].Equal {
		t.Fatalf("%+v %v", r.Peers, err)
	}
}

func TestRulesOnSickNodesHaveRanges(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
		ok   bool
	}{
		{"none given", Options{}, true},
		{"the least", Options{JoinTimeout: 10 * time.Second, JoinBackOff: -1, KeyPatience: 10 * time.Minute}, true},
		{"the most", Options{JoinTimeout: time.Hour, JoinBackOff: 10 * time.Minute, KeyPatience: -1}, true},
		{"a join timeout below 10 s", Options{JoinTimeout: 9 * time.Second}, false},
		{"a join timeout above 1 h", Options{JoinTimeout: 61 * time.Minute}, false},
		{"a negative join timeout", Options{JoinTimeout: -1}, false},
		{"a pause above 10 min", Options{JoinBackOff: 11 * time.Minute}, false},
		{"a patience below 10 min", Options{KeyPatience: time.Minute}, false},
	} {
		if err := c.o.Check(); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	cfg := Config{JoinTimeout: 20 * time.Second, JoinBackOff: -1, KeyPatience: time.Hour}
	cfg.defaults()
	if r := cfg.Rules; r.JoinBound != 20_000 || r.JoinBackOff != 0 || r.KeyPatience != 3_600_000 || r.BeginGrace == 0 {
		t.Errorf("%+v", r)
	}
}
