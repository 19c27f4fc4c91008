package service

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	eventv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/event/v1"
	healthv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/health/v1"
	schedulerv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/scheduler/v1"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
	"github.com/holdfast-lb/holdfast/services/kit"
	"github.com/holdfast-lb/holdfast/services/kit/apierr"
	"github.com/holdfast-lb/holdfast/services/kit/natsd"
)

// world is what the service stands in: a bus, a scheduler and a coordinator.
type world struct {
	syncv1.UnimplementedCoordinatorServiceServer
	schedulerv1.UnimplementedVirtualServiceServiceServer
	schedulerv1.UnimplementedRealServerServiceServer

	t    *testing.T
	nc   *nats.Conn
	js   jetstream.JetStream
	conn *grpc.ClientConn

	mu       sync.Mutex
	services []*schedulerv1.VirtualService
	servers  []*schedulerv1.RealServer
	nodes    []*syncv1.Node
	moved    chan struct{}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s, err := natsd.Start(natsd.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	w := &world{t: t, moved: make(chan struct{})}
	if w.nc, err = nats.Connect(s.URL()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.nc.Close)
	if w.js, err = jetstream.New(w.nc); err != nil {
		t.Fatal(err)
	}
	addr, _ := serve(t, func(s *grpc.Server) {
		syncv1.RegisterCoordinatorServiceServer(s, w)
		schedulerv1.RegisterVirtualServiceServiceServer(s, w)
		schedulerv1.RegisterRealServerServiceServer(s, w)
	})
	if w.conn, err = kit.Dial(addr, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.conn.Close() })
	return w
}

func serve(t *testing.T, register func(*grpc.Server)) (string, *grpc.Server) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	register(s)
	go func() { _ = s.Serve(lis) }()
	t.Cleanup(s.Stop)
	return lis.Addr().String(), s
}

func (w *world) edit(fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fn()
	close(w.moved)
	w.moved = make(chan struct{})
}

func (w *world) ListVirtualServices(context.Context, *schedulerv1.ListVirtualServicesRequest) (*schedulerv1.ListVirtualServicesResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return &schedulerv1.ListVirtualServicesResponse{VirtualServices: slices.Clone(w.services)}, nil
}

func (w *world) ListRealServers(context.Context, *schedulerv1.ListRealServersRequest) (*schedulerv1.ListRealServersResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return &schedulerv1.ListRealServersResponse{RealServers: slices.Clone(w.servers)}, nil
}

func (w *world) WatchMembership(_ *syncv1.WatchMembershipRequest, s grpc.ServerStreamingServer[syncv1.WatchMembershipResponse]) error {
	for {
		w.mu.Lock()
		nodes, moved := slices.Clone(w.nodes), w.moved
		w.mu.Unlock()
		if err := s.Send(&syncv1.WatchMembershipResponse{Nodes: nodes}); err != nil {
			return err
		}
		select {
		case <-s.Context().Done():
			return nil
		case <-moved:
		}
	}
}

// start runs the service until the test or the returned function ends it.
func (w *world) start() (*Service, func()) {
	w.t.Helper()
	s, err := New(Config{TargetPoll: 20 * time.Millisecond, NodePoll: 20 * time.Millisecond, Retry: 10 * time.Millisecond}, Deps{
		NATS: w.nc, JS: w.js, Scheduler: w.conn, Coordinator: w.conn, Log: slog.New(slog.DiscardHandler),
		Dial: func(_, a string) (*grpc.ClientConn, error) { return kit.Dial(a, nil) },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx) }()
	stop := sync.OnceFunc(func() { cancel(); <-done })
	w.t.Cleanup(stop)
	return s, stop
}

func (w *world) until(what string, fn func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !fn(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// backend is a TCP server that can be taken away and put back at its address.
func backend(t *testing.T, address string) (netip.AddrPort, net.Listener) {
	t.Helper()
	lis, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	t.Cleanup(func() { lis.Close() })
	return netip.MustParseAddrPort(lis.Addr().String()), lis
}

func web(protocol dpdv1.Protocol) *schedulerv1.VirtualService {
	return &schedulerv1.VirtualService{Name: "virtualServices/web", Protocol: protocol}
}

func realServer(id string, a netip.AddrPort) *schedulerv1.RealServer {
	return &schedulerv1.RealServer{Name: "virtualServices/web/realServers/" + id, Address: a.Addr().String(), Port: uint32(a.Port())}
}

func fast() *healthv1.HealthCheck {
	return &healthv1.HealthCheck{
		VirtualService: "virtualServices/web", Type: healthv1.CheckType_CHECK_TYPE_TCP,
		Interval: durationpb.New(100 * time.Millisecond), Rise: 2, Fall: 2,
	}
}

func (w *world) create(s *Service, c *healthv1.HealthCheck) *healthv1.HealthCheck {
	w.t.Helper()
	got, err := s.CreateHealthCheck(w.t.Context(), &healthv1.CreateHealthCheckRequest{HealthCheckId: "web", HealthCheck: c})
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

func state(s *Service, id string) healthv1.BackendState {
	for _, b := range s.verdicts.list("virtualServices/web") {
		if b.GetRealServer() == "virtualServices/web/realServers/"+id {
			return b.GetState()
		}
	}
	return healthv1.BackendState_BACKEND_STATE_UNSPECIFIED
}

const (
	unknown = healthv1.BackendState_BACKEND_STATE_UNKNOWN
	up      = healthv1.BackendState_BACKEND_STATE_UP
	down    = healthv1.BackendState_BACKEND_STATE_DOWN
)

func (w *world) stored(id string) healthv1.BackendState {
	kv, err := w.js.KeyValue(w.t.Context(), verdictBucket)
	if err != nil {
		return 0
	}
	e, err := kv.Get(w.t.Context(), "backend.web."+id)
	if err != nil {
		return 0
	}
	var b healthv1.BackendHealth
	if err := proto.Unmarshal(e.Value(), &b); err != nil {
		w.t.Fatal(err)
	}
	return b.GetState()
}

func TestADeadServerIsToldAndARestartRemembersIt(t *testing.T) {
	w := newWorld(t)
	one, lis := backend(t, "127.0.0.1:0")
	two, _ := backend(t, "127.0.0.1:0")
	w.services = []*schedulerv1.VirtualService{web(dpdv1.Protocol_PROTOCOL_TCP)}
	w.servers = []*schedulerv1.RealServer{realServer("one", one), realServer("two", two)}
	sub, err := w.nc.SubscribeSync("holdfast.v1.backend.>")
	if err != nil {
		t.Fatal(err)
	}
	s, stop := w.start()
	w.create(s, fast())
	w.until("both are up", func() bool { return state(s, "one") == up && state(s, "two") == up && w.stored("one") == up })
	lis.Close()
	w.until("one is down", func() bool { return state(s, "one") == down && w.stored("one") == down })
	if state(s, "two") != up {
		t.Error("two went too")
	}
	var got []string
	for len(got) < 3 {
		msg, err := sub.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatalf("after %v: %v", got, err)
		}
		var e eventv1.BackendEvent
		if err := proto.Unmarshal(msg.Data, &e); err != nil {
			t.Fatal(err)
		}
		got = append(got, msg.Subject+" "+e.GetRealServer())
	}
	if got[2] != "holdfast.v1.backend.web.down virtualServices/web/realServers/one" {
		t.Errorf("events %v", got)
	}

	stop()
	s, _ = w.start()
	w.until("the verdict is known again", func() bool { return state(s, "one") == down })
	backend(t, one.String())
	w.until("it is up again", func() bool { return state(s, "one") == up })

	w.edit(func() { w.servers = w.servers[:1] })
	w.until("the verdict on a server that went is dropped", func() bool { return state(s, "two") == 0 && w.stored("two") == 0 })
}

func TestTheDefaultCheckGoesByProtocol(t *testing.T) {
	w := newWorld(t)
	one, _ := backend(t, "127.0.0.1:0")
	w.services = []*schedulerv1.VirtualService{web(dpdv1.Protocol_PROTOCOL_TCP), {Name: "virtualServices/dns", Protocol: dpdv1.Protocol_PROTOCOL_UDP}}
	dns := realServer("x", one)
	dns.Name = "virtualServices/dns/realServers/x"
	w.servers = []*schedulerv1.RealServer{realServer("one", one), dns, {Name: "virtualServices/gone/realServers/x", Address: "127.0.0.1", Port: 1}}
	s, _ := w.start()
	w.until("TCP is checked", func() bool { return state(s, "one") == up })
	list, err := s.ListHealth(t.Context(), &healthv1.ListHealthRequest{})
	if err != nil || len(list.GetBackends()) != 2 || list.GetBackends()[0].GetState() != unknown || list.GetBackends()[0].GetCheckTime() != nil {
		t.Fatalf("%v %v", list, err)
	}
	// No check at all: what was found before says nothing any more.
	w.create(s, &healthv1.HealthCheck{VirtualService: "virtualServices/web", Type: healthv1.CheckType_CHECK_TYPE_NONE})
	w.until("an unchecked server is unknown", func() bool { return state(s, "one") == unknown && w.stored("one") == unknown })
}

func TestAnotherPortIsChecked(t *testing.T) {
	w := newWorld(t)
	one, _ := backend(t, "127.0.0.1:0")
	_, port, _ := net.SplitHostPort(one.String())
	n, _ := strconv.ParseUint(port, 10, 16)
	w.services = []*schedulerv1.VirtualService{web(dpdv1.Protocol_PROTOCOL_TCP)}
	w.servers = []*schedulerv1.RealServer{realServer("one", netip.AddrPortFrom(one.Addr(), 1))}
	s, _ := w.start()
	c := fast()
	c.Port = uint32(n)
	w.create(s, c)
	w.until("it is up", func() bool { return state(s, "one") == up })
	if b := s.verdicts.list("")[0]; b.GetPort() != 1 {
		t.Errorf("the verdict is about port %d, the server's is 1", b.GetPort())
	}
}

func TestChecksAreMadeChangedAndRemoved(t *testing.T) {
	w := newWorld(t)
	s, stop := w.start()
	ctx := t.Context()
	made := w.create(s, &healthv1.HealthCheck{VirtualService: "virtualServices/web", Type: healthv1.CheckType_CHECK_TYPE_TCP})
	if made.GetName() != "healthChecks/web" || made.GetInterval().AsDuration() != 2*time.Second || made.GetTimeout().AsDuration() != time.Second ||
		made.GetRise() != 2 || made.GetFall() != 3 || made.GetEtag() == "" || made.GetCreateTime() == nil {
		t.Fatalf("%v", made)
	}
	changed, err := s.UpdateHealthCheck(ctx, &healthv1.UpdateHealthCheckRequest{
		HealthCheck: &healthv1.HealthCheck{Name: made.GetName(), Etag: made.GetEtag(), Rise: 7, Fall: 9},
		UpdateMask:  &fieldmaskpb.FieldMask{Paths: []string{"rise"}},
	})
	if err != nil || changed.GetRise() != 7 || changed.GetFall() != 3 || changed.GetEtag() == made.GetEtag() {
		t.Fatalf("%v %v", changed, err)
	}
	implied, err := s.UpdateHealthCheck(ctx, &healthv1.UpdateHealthCheckRequest{
		HealthCheck: &healthv1.HealthCheck{Name: made.GetName(), Fall: 9}, ValidateOnly: true,
	})
	if err != nil || implied.GetRise() != 7 || implied.GetFall() != 9 {
		t.Fatalf("%v %v", implied, err)
	}
	stop()
	s, _ = w.start()
	got, err := s.GetHealthCheck(ctx, &healthv1.GetHealthCheckRequest{Name: made.GetName()})
	if err != nil || !proto.Equal(got, changed) {
		t.Fatalf("after a restart %v %v", got, err)
	}
	for _, id := range []string{"b", "a"} {
		if _, err := s.CreateHealthCheck(ctx, &healthv1.CreateHealthCheckRequest{HealthCheckId: id,
			HealthCheck: &healthv1.HealthCheck{VirtualService: "virtualServices/" + id, Type: healthv1.CheckType_CHECK_TYPE_NONE}}); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for req := (&healthv1.ListHealthChecksRequest{PageSize: 2}); ; {
		page, err := s.ListHealthChecks(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page.GetHealthChecks() {
			names = append(names, c.GetName())
		}
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
			break
		}
	}
	if !slices.Equal(names, []string{"healthChecks/a", "healthChecks/b", "healthChecks/web"}) {
		t.Errorf("listed %v", names)
	}
	if _, err := s.DeleteHealthCheck(ctx, &healthv1.DeleteHealthCheckRequest{Name: "healthChecks/web", Etag: changed.GetEtag()}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.GetHealthCheck(ctx, &healthv1.GetHealthCheckRequest{Name: "healthChecks/web"}); !apierr.Is(err, apierr.HealthCheckNotFound) {
		t.Fatal(err)
	}
}

func TestRefusalsChangeNothing(t *testing.T) {
	w := newWorld(t)
	s, _ := w.start()
	ctx := t.Context()
	made := w.create(s, fast())
	create := func(id string, edit func(*healthv1.HealthCheck)) error {
		c := fast()
		c.VirtualService = "virtualServices/other"
		edit(c)
		_, err := s.CreateHealthCheck(ctx, &healthv1.CreateHealthCheckRequest{HealthCheckId: id, HealthCheck: c})
		return err
	}
	update := func(c *healthv1.HealthCheck, paths ...string) error {
		_, err := s.UpdateHealthCheck(ctx, &healthv1.UpdateHealthCheckRequest{HealthCheck: c, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
		return err
	}
	bad := func(fn func(*healthv1.HealthCheck)) error { return create("x", fn) }
	for _, c := range []struct {
		name string
		err  error
		want apierr.Reason
	}{
		{"a name that is taken", create("web", func(*healthv1.HealthCheck) {}), apierr.DuplicateName},
		{"a second check of a service", bad(func(c *healthv1.HealthCheck) { c.VirtualService = "virtualServices/web" }), apierr.CheckExists},
		{"no id", create("", func(*healthv1.HealthCheck) {}), apierr.BadRequest},
		{"an id in capitals", create("X", func(*healthv1.HealthCheck) {}), apierr.BadRequest},
		{"an id of 64", create(strings.Repeat("x", 64), func(*healthv1.HealthCheck) {}), apierr.BadRequest},
		{"no type", bad(func(c *healthv1.HealthCheck) { c.Type = 0 }), apierr.BadRequest},
		{"an unknown type", bad(func(c *healthv1.HealthCheck) { c.Type = 99 }), apierr.BadRequest},
		{"no service", bad(func(c *healthv1.HealthCheck) { c.VirtualService = "" }), apierr.BadRequest},
		{"an interval below 100 ms", bad(func(c *healthv1.HealthCheck) { c.Interval = durationpb.New(99 * time.Millisecond) }), apierr.BadRequest},
		{"an interval above an hour", bad(func(c *healthv1.HealthCheck) { c.Interval = durationpb.New(time.Hour + 1) }), apierr.BadRequest},
		{"a timeout above the interval", bad(func(c *healthv1.HealthCheck) { c.Timeout = durationpb.New(time.Second) }), apierr.BadRequest},
		{"a timeout of 0", bad(func(c *healthv1.HealthCheck) { c.Timeout = durationpb.New(0) }), apierr.BadRequest},
		{"a rise of 101", bad(func(c *healthv1.HealthCheck) { c.Rise = 101 }), apierr.BadRequest},
		{"a port above 65535", bad(func(c *healthv1.HealthCheck) { c.Port = 65536 }), apierr.BadRequest},
		{"an update of what is not there", update(&healthv1.HealthCheck{Name: "healthChecks/none"}), apierr.HealthCheckNotFound},
		{"an update on an old etag", update(&healthv1.HealthCheck{Name: made.GetName(), Etag: "old", Rise: 1}), apierr.ETagMismatch},
		{"an update of an unknown field", update(&healthv1.HealthCheck{Name: made.GetName()}, "etag"), apierr.BadRequest},
		{"an update to a bad value", update(&healthv1.HealthCheck{Name: made.GetName(), Fall: 101}, "fall"), apierr.BadRequest},
		{"a deletion on an old etag", func() error {
			_, err := s.DeleteHealthCheck(ctx, &healthv1.DeleteHealthCheckRequest{Name: made.GetName(), Etag: "old"})
			return err
		}(), apierr.ETagMismatch},
		{"verdicts of what is no service", func() error {
			_, err := s.ListHealth(ctx, &healthv1.ListHealthRequest{VirtualService: "web"})
			return err
		}(), apierr.BadRequest},
	} {
		if !apierr.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %s", c.name, c.err, c.want.Name)
		}
	}
	err := bad(func(c *healthv1.HealthCheck) { c.Type, c.Port, c.Rise = 0, 70000, 200 })
	if f := apierr.Fields(err); len(f) != 3 {
		t.Errorf("fields %v: all are told at once", f)
	}
	all, err := s.ListHealthChecks(ctx, &healthv1.ListHealthChecksRequest{})
	if err != nil || len(all.GetHealthChecks()) != 1 || !proto.Equal(all.GetHealthChecks()[0], made) {
		t.Errorf("%v %v", all, err)
	}
}

// A service that has just started once said that there were no nodes.
func TestNodesAreNotListedBeforeTheyAreKnown(t *testing.T) {
	s := &Service{nodes: newLiveness(Deps{}, nil, Config{})}
	if res, err := s.ListNodeHealth(t.Context(), nil); !apierr.Is(err, apierr.DirectoryUnknown) {
		t.Errorf("%v %v", res, err)
	}
	s.nodes.set(t.Context(), nil, nil)
	if res, err := s.ListNodeHealth(t.Context(), nil); err != nil || len(res.GetNodes()) != 0 {
		t.Errorf("%v %v", res, err)
	}
}

func TestNodesAreAskedWhetherTheyServe(t *testing.T) {
	w := newWorld(t)
	h := health.NewServer()
	good, srv := serve(t, func(s *grpc.Server) { grpc_health_v1.RegisterHealthServer(s, h) })
	hung, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and never says a word
	if err != nil {
		t.Fatal(err)
	}
	defer hung.Close()
	node := func(name, addr string, st syncv1.NodeState) *syncv1.Node {
		return &syncv1.Node{Name: "nodes/" + name, ControlAddress: addr, State: st}
	}
	w.nodes = []*syncv1.Node{
		node("lb-a", good, syncv1.NodeState_NODE_STATE_ADMITTED),
		node("lb-b", "127.0.0.1:1", syncv1.NodeState_NODE_STATE_JOINING),
		node("lb-c", good, syncv1.NodeState_NODE_STATE_REMOVED),
		node("lb-d", hung.Addr().String(), syncv1.NodeState_NODE_STATE_ADMITTED),
		node("lb-e", good, syncv1.NodeState_NODE_STATE_ASIDE),
	}
	s, _ := w.start()
	serving := func(name string) (bool, bool) {
		res, err := s.ListNodeHealth(t.Context(), &healthv1.ListNodeHealthRequest{})
		if apierr.Is(err, apierr.DirectoryUnknown) {
			return false, false
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range res.GetNodes() {
			if n.GetNode() == "nodes/"+name {
				if n.GetServing() == (n.GetLastError() != "") {
					t.Fatalf("%v", n)
				}
				return n.GetServing(), true
			}
		}
		return false, false
	}
	w.until("the good one serves", func() bool { yes, _ := serving("lb-a"); return yes })
	if yes, known := serving("lb-b"); yes || !known {
		t.Error("a node that refuses connections serves")
	}
	for _, out := range []string{"lb-c", "lb-e"} {
		if _, known := serving(out); known {
			t.Errorf("%s is watched, and not in the view", out)
		}
	}
	if yes, known := serving("lb-d"); yes || !known {
		t.Error("a node that never answers serves")
	}
	h.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	w.until("NOT_SERVING is heard", func() bool { yes, _ := serving("lb-a"); return !yes })
	h.SetServingStatus("", grpc_health_v1.HealthCheckResponse_SERVING)
	w.until("it serves again", func() bool { yes, _ := serving("lb-a"); return yes })
	srv.Stop()
	w.until("its end is noticed", func() bool { yes, _ := serving("lb-a"); return !yes })
	w.edit(func() { w.nodes = nil })
	w.until("nobody is watched", func() bool { _, known := serving("lb-a"); return !known })
}

func TestWatchBeginsWithAllAndGoesOnWithChanges(t *testing.T) {
	w := newWorld(t)
	one, _ := backend(t, "127.0.0.1:0")
	w.services = []*schedulerv1.VirtualService{web(dpdv1.Protocol_PROTOCOL_TCP)}
	w.servers = []*schedulerv1.RealServer{realServer("one", one)}
	s, _ := w.start()
	w.until("the server is known", func() bool { return state(s, "one") != 0 })
	ctx, cancel := context.WithCancel(t.Context())
	out := &stream{ctx: ctx, got: make(chan *healthv1.WatchHealthResponse, 16)}
	done := make(chan error, 1)
	go func() {
		done <- s.WatchHealth(&healthv1.WatchHealthRequest{VirtualService: "virtualServices/web"}, out)
	}()
	if m := <-out.got; m.GetKind() != dpdv1.WatchKind_WATCH_KIND_BOOKMARK || len(m.GetBackends()) != 1 {
		t.Fatalf("%v", m)
	}
	s.verdicts.hub.Publish(&healthv1.BackendHealth{RealServer: "virtualServices/webb/realServers/one", State: down})
	s.verdicts.hub.Publish(&healthv1.BackendHealth{RealServer: "virtualServices/web/realServers/one", State: down})
	for m := range out.got {
		if m.GetKind() != dpdv1.WatchKind_WATCH_KIND_UPDATE || m.GetBackends()[0].GetRealServer() != "virtualServices/web/realServers/one" {
			t.Fatalf("%v", m)
		}
		if m.GetBackends()[0].GetState() == down {
			break
		}
	}
	cancel()
	if err := <-done; status.Code(err) != codes.Canceled {
		t.Errorf("the watch ended with %v", err)
	}
}

type stream struct {
	grpc.ServerStream
	ctx context.Context
	got chan *healthv1.WatchHealthResponse
}

func (s *stream) Context() context.Context                   { return s.ctx }
func (s *stream) Send(m *healthv1.WatchHealthResponse) error { s.got <- m; return nil }
