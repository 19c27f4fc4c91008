package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	healthv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/health/v1"
	schedulerv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/scheduler/v1"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
	"github.com/holdfast-lb/holdfast/services/kit"
	"github.com/holdfast-lb/holdfast/services/kit/apierr"
	"github.com/holdfast-lb/holdfast/services/kit/natsd"
	"github.com/holdfast-lb/holdfast/services/scheduler/rollout"
	"github.com/holdfast-lb/holdfast/services/scheduler/verdict"
)

// plane is a data plane that takes configurations as the contract says; refuse makes it fail a number of times.
type plane struct {
	dpdv1.UnimplementedDataplaneServiceServer
	addr string

	mu     sync.Mutex
	conf   *dpdv1.ApplyConfigRequest
	calls  int
	refuse int
	hung   bool // never answers an ApplyConfig; set before it is in the view
}

func startPlane(t *testing.T) *plane {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &plane{addr: lis.Addr().String(), conf: &dpdv1.ApplyConfigRequest{}}
	s := grpc.NewServer()
	dpdv1.RegisterDataplaneServiceServer(s, p)
	served := make(chan error, 1)
	go func() { served <- s.Serve(lis) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Errorf("the data plane's server ended with %v", err)
		}
	})
	return p
}

func (p *plane) ApplyConfig(ctx context.Context, r *dpdv1.ApplyConfigRequest) (*dpdv1.ApplyConfigResponse, error) {
	if p.hung {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
	if p.refuse > 0 {
		p.refuse--
		return nil, status.Error(codes.Internal, "not now")
	}
	if r.GetRevision() < p.conf.GetRevision() {
		return nil, apierr.New(apierr.StaleRevision, "older")
	}
	p.conf = r
	return &dpdv1.ApplyConfigResponse{Revision: r.GetRevision(), Changed: true}, nil
}

func (p *plane) GetInfo(context.Context, *dpdv1.GetInfoRequest) (*dpdv1.GetInfoResponse, error) {
	return &dpdv1.GetInfoResponse{Sync: &dpdv1.SyncStatus{ConfigRevision: p.get().GetRevision()}}, nil
}

func (p *plane) get() *dpdv1.ApplyConfigRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conf
}

// coordinator streams the nodes that it is told.
type coordinator struct {
	syncv1.UnimplementedCoordinatorServiceServer
	mu    sync.Mutex
	nodes []*syncv1.Node
	moved chan struct{}
}

func (c *coordinator) set(nodes ...*syncv1.Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes = nodes
	if c.moved != nil {
		close(c.moved)
	}
	c.moved = make(chan struct{})
}

func (c *coordinator) WatchMembership(_ *syncv1.WatchMembershipRequest, s grpc.ServerStreamingServer[syncv1.WatchMembershipResponse]) error {
	for {
		c.mu.Lock()
		nodes, moved := c.nodes, c.moved
		c.mu.Unlock()
		if err := s.Send(&syncv1.WatchMembershipResponse{Nodes: nodes}); err != nil {
			return err
		}
		select {
		case <-moved:
		case <-s.Context().Done():
			return s.Context().Err()
		}
	}
}

func member(name string, inc uint64, p *plane, st syncv1.NodeState) *syncv1.Node {
	return &syncv1.Node{Name: "nodes/" + name, Incarnation: inc, ControlAddress: p.addr, State: st}
}

// world is a scheduler with everything that it meets.
type world struct {
	t     *testing.T
	js    jetstream.JetStream
	coord *coordinator
	conn  *grpc.ClientConn
	vs    schedulerv1.VirtualServiceServiceClient
	rs    schedulerv1.RealServerServiceClient
	ap    schedulerv1.AddressPoolServiceClient
	ro    schedulerv1.RolloutServiceClient
	stop  func()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	bus, err := natsd.Start(natsd.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bus.Close)
	nc, err := nats.Connect(bus.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	w := &world{t: t, coord: &coordinator{}}
	if w.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	w.coord.set()
	w.start()
	t.Cleanup(func() { w.stop() })
	return w
}

// start runs the scheduler, a new one when it ran before.
func (w *world) start() {
	w.t.Helper()
	log := slog.New(slog.DiscardHandler)
	cs, err := kit.Listen(kit.ServerConfig{Listen: "127.0.0.1:0", Log: log})
	if err != nil {
		w.t.Fatal(err)
	}
	syncv1.RegisterCoordinatorServiceServer(cs, w.coord)
	ss, err := kit.Listen(kit.ServerConfig{Listen: "127.0.0.1:0", Log: log})
	if err != nil {
		w.t.Fatal(err)
	}
	cc, err := kit.Dial(cs.Addr().String(), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	s := New(Config{}, Deps{
		JS:    w.js,
		Nodes: rollout.Coordinator{Client: syncv1.NewCoordinatorServiceClient(cc), Log: log},
		Dial:  func(a string) (*grpc.ClientConn, error) { return kit.Dial(a, nil) },
		Log:   log,
	})
	s.Register(ss)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- kit.Together(ctx, s.Run, ss.Serve, cs.Serve) }()
	if w.conn, err = kit.Dial(ss.Addr().String(), nil); err != nil {
		w.t.Fatal(err)
	}
	w.vs, w.rs = schedulerv1.NewVirtualServiceServiceClient(w.conn), schedulerv1.NewRealServerServiceClient(w.conn)
	w.ap, w.ro = schedulerv1.NewAddressPoolServiceClient(w.conn), schedulerv1.NewRolloutServiceClient(w.conn)
	conn := w.conn
	w.stop = sync.OnceFunc(func() {
		conn.Close()
		cc.Close()
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	w.eventually("the store is ready", func() bool {
		_, err := w.vs.ListVirtualServices(w.t.Context(), &schedulerv1.ListVirtualServicesRequest{})
		return err == nil
	})
}

// eventually polls; what it waits for crosses processes and has no other signal.
func (w *world) eventually(what string, cond func() bool) {
	w.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatalf("never: %s", what)
		}
	}
}

func (w *world) create(id string, port int, servers ...string) {
	w.t.Helper()
	if _, err := w.vs.CreateVirtualService(w.t.Context(), &schedulerv1.CreateVirtualServiceRequest{
		VirtualServiceId: id,
		VirtualService:   &schedulerv1.VirtualService{Vip: "198.51.100.10", Port: uint32(port), Protocol: dpdv1.Protocol_PROTOCOL_TCP},
	}); err != nil {
		w.t.Fatal(err)
	}
	for i, s := range servers {
		if _, err := w.rs.CreateRealServer(w.t.Context(), &schedulerv1.CreateRealServerRequest{
			Parent: "virtualServices/" + id, RealServerId: s,
			RealServer: &schedulerv1.RealServer{Address: fmt.Sprintf("10.0.0.%d", i+1), Port: 8080},
		}); err != nil {
			w.t.Fatal(err)
		}
	}
}

// shape is the configuration in words: "web:80[a b!]" with ! for down and ~ for drain.
func shape(c *dpdv1.ApplyConfigRequest) string {
	var out []string
	for _, s := range c.GetServices() {
		var servers []string
		for _, x := range s.GetServers() {
			mark := map[dpdv1.ServerState]string{dpdv1.ServerState_SERVER_STATE_DOWN: "!", dpdv1.ServerState_SERVER_STATE_DRAIN: "~"}[x.GetState()]
			servers = append(servers, x.GetName()+mark)
		}
		out = append(out, fmt.Sprintf("%s:%d%v", s.GetName(), s.GetPort(), servers))
	}
	return strings.Join(out, " ")
}

func (w *world) runs(p *plane, want string) {
	w.t.Helper()
	w.eventually(want, func() bool { return shape(p.get()) == want })
}

func TestEveryNodeOfTheViewGetsEveryRevision(t *testing.T) {
	w := newWorld(t)
	a, b, gone := startPlane(t), startPlane(t), startPlane(t)
	b.refuse = 2
	w.create("web", 80, "x", "y")
	w.coord.set(member("a", 1, a, syncv1.NodeState_NODE_STATE_ADMITTED), member("b", 1, b, syncv1.NodeState_NODE_STATE_JOINING), member("gone", 1, gone, syncv1.NodeState_NODE_STATE_REMOVED))
	w.runs(a, "web:80[x y]")
	w.runs(b, "web:80[x y]")
	w.create("mail", 25)
	w.runs(a, "web:80[x y] mail:25[]")
	w.runs(b, "web:80[x y] mail:25[]")
	w.eventually("both are reported with the newest revision", func() bool {
		r, err := w.ro.GetRollout(t.Context(), &schedulerv1.GetRolloutRequest{})
		return err == nil && len(r.GetNodes()) == 2 && r.GetNodes()[0].GetNode() == "nodes/a" && r.GetServices() == 2 && r.GetServers() == 2 &&
			r.GetNodes()[0].GetRevision() == r.GetRevision() && r.GetNodes()[1].GetRevision() == r.GetRevision() && r.GetNodes()[1].GetError() == ""
	})
	if gone.calls != 0 {
		t.Error("a removed node was called")
	}
	// A node whose process came back without its configuration, in the same or another life, gets it again.
	fresh := startPlane(t)
	w.coord.set(member("a", 2, fresh, syncv1.NodeState_NODE_STATE_JOINING))
	w.runs(fresh, "web:80[x y] mail:25[]")
	fresh.mu.Lock()
	fresh.conf = &dpdv1.ApplyConfigRequest{}
	fresh.mu.Unlock()
	w.runs(fresh, "web:80[x y] mail:25[]")
}

func TestRestartKeepsStateAndRevision(t *testing.T) {
	w := newWorld(t)
	a := startPlane(t)
	w.coord.set(member("a", 1, a, syncv1.NodeState_NODE_STATE_ADMITTED))
	w.create("web", 80, "x")
	w.runs(a, "web:80[x]")
	rev := a.get().GetRevision()
	w.stop()
	w.start()
	w.eventually("the same revision", func() bool {
		r, err := w.ro.GetRollout(t.Context(), &schedulerv1.GetRolloutRequest{})
		return err == nil && len(r.GetNodes()) == 1 && r.GetNodes()[0].GetRevision() == rev && r.GetRevision() == rev
	})
	w.create("mail", 25)
	w.runs(a, "web:80[x] mail:25[]")
	if a.get().GetRevision() <= rev {
		t.Errorf("revision %d after %d", a.get().GetRevision(), rev)
	}
}

func TestDeadNodeIsReportedAndDelaysNoOther(t *testing.T) {
	w := newWorld(t)
	a := startPlane(t)
	dead := &plane{addr: "127.0.0.1:1"}
	broken := startPlane(t)
	broken.refuse = 1 << 30
	w.coord.set(member("a", 1, a, syncv1.NodeState_NODE_STATE_ADMITTED), member("dead", 1, dead, syncv1.NodeState_NODE_STATE_ADMITTED), member("broken", 1, broken, syncv1.NodeState_NODE_STATE_ADMITTED))
	w.create("web", 80)
	w.runs(a, "web:80[]")
	w.eventually("the failure is reported", func() bool {
		r, err := w.ro.GetRollout(t.Context(), &schedulerv1.GetRolloutRequest{})
		i := slices.IndexFunc(r.GetNodes(), func(n *schedulerv1.NodeRollout) bool { return n.GetNode() == "nodes/broken" })
		return err == nil && i >= 0 && r.GetNodes()[i].GetFailures() > 0 && strings.Contains(r.GetNodes()[i].GetError(), "not now")
	})
}

func TestANodeThatNeverAcknowledgesDelaysNoOther(t *testing.T) {
	w := newWorld(t)
	a, hung := startPlane(t), startPlane(t)
	hung.hung = true
	w.coord.set(member("hung", 1, hung, syncv1.NodeState_NODE_STATE_ADMITTED), member("a", 1, a, syncv1.NodeState_NODE_STATE_ADMITTED))
	w.create("web", 80)
	w.runs(a, "web:80[]")
	w.create("mail", 25)
	w.runs(a, "web:80[] mail:25[]")
	b := startPlane(t) // and one that comes later
	w.coord.set(member("hung", 1, hung, syncv1.NodeState_NODE_STATE_ADMITTED), member("a", 1, a, syncv1.NodeState_NODE_STATE_ADMITTED),
		member("b", 1, b, syncv1.NodeState_NODE_STATE_JOINING))
	w.runs(b, "web:80[] mail:25[]")
	r, err := w.ro.GetRollout(t.Context(), &schedulerv1.GetRolloutRequest{})
	i := slices.IndexFunc(r.GetNodes(), func(n *schedulerv1.NodeRollout) bool { return n.GetNode() == "nodes/hung" })
	if err != nil || i < 0 || r.GetNodes()[i].GetRevision() == r.GetRevision() {
		t.Fatalf("%v %v", r, err)
	}
}

func TestVerdictsReachTheDataPlanes(t *testing.T) {
	w := newWorld(t)
	a := startPlane(t)
	w.coord.set(member("a", 1, a, syncv1.NodeState_NODE_STATE_ADMITTED))
	w.create("web", 80, "x", "y")
	w.runs(a, "web:80[x y]")
	kv, err := w.js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: verdict.Bucket})
	if err != nil {
		t.Fatal(err)
	}
	write := func(key string, value []byte) {
		t.Helper()
		if _, err := kv.Put(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
	}
	put := func(key, addr string, st healthv1.BackendState) {
		t.Helper()
		b, err := proto.Marshal(&healthv1.BackendHealth{Address: addr, Port: 8080, State: st})
		if err != nil {
			t.Fatal(err)
		}
		write(key, b)
	}
	write("backend.web.junk.more", []byte("x"))
	write("backend.web.x", []byte("junk"))
	put("backend.web.x", "not an address", healthv1.BackendState_BACKEND_STATE_DOWN)
	put("backend.web.x", "10.9.9.9", healthv1.BackendState_BACKEND_STATE_DOWN) // another server of that name
	put("backend.web.y", "10.0.0.2", healthv1.BackendState_BACKEND_STATE_DOWN)
	put("backend.later.z", "10.0.0.1", healthv1.BackendState_BACKEND_STATE_DOWN)
	w.runs(a, "web:80[x y!]")
	w.create("later", 81, "z") // its verdict was there before it
	w.runs(a, "web:80[x y!] later:81[z!]")
	put("backend.web.y", "10.0.0.2", healthv1.BackendState_BACKEND_STATE_UP)
	if err := kv.Delete(t.Context(), "backend.later.z"); err != nil {
		t.Fatal(err)
	}
	w.runs(a, "web:80[x y] later:81[z]")
}

func TestWatchBeginsWithABookmarkAndEndsWithTheProcess(t *testing.T) {
	w := newWorld(t)
	stream, err := w.ro.WatchRollout(t.Context(), &schedulerv1.WatchRolloutRequest{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := stream.Recv()
	if err != nil || m.GetKind() != dpdv1.WatchKind_WATCH_KIND_BOOKMARK || m.GetRollout() == nil {
		t.Fatalf("first message %v, %v", m, err)
	}
	w.create("web", 80)
	for m.GetRollout().GetServices() != 1 {
		if m, err = stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	if m.GetKind() != dpdv1.WatchKind_WATCH_KIND_UPDATE {
		t.Errorf("kind %v", m.GetKind())
	}
	go w.stop()
	for err == nil {
		_, err = stream.Recv()
	}
	if errors.Is(err, io.EOF) {
		t.Error("the stream ended without a reason")
	}
	w.stop()
}

func TestPatchChangesOnlyWhatTheMaskNames(t *testing.T) {
	w := newWorld(t)
	w.create("web", 80, "x")
	ctx := t.Context()
	old, err := w.vs.GetVirtualService(ctx, &schedulerv1.GetVirtualServiceRequest{Name: "virtualServices/web"})
	if err != nil {
		t.Fatal(err)
	}
	patch := &schedulerv1.VirtualService{
		Name: "virtualServices/web", Etag: old.GetEtag(), Vip: "198.51.100.99", Algorithm: dpdv1.Algorithm_ALGORITHM_WLC,
		Timeouts: &schedulerv1.SessionTimeouts{TcpEstablished: durationpb.New(time.Minute)},
	}
	up := func(mask ...string) (*schedulerv1.VirtualService, error) {
		return w.vs.UpdateVirtualService(ctx, &schedulerv1.UpdateVirtualServiceRequest{VirtualService: patch, UpdateMask: &fieldmaskpb.FieldMask{Paths: mask}})
	}
	if _, err := up("nonsense"); !slices.Equal(apierr.Fields(err), []string{"update_mask"}) {
		t.Errorf("unknown field: %v", err)
	}
	if _, err := up("vip"); !slices.Equal(apierr.Fields(err), []string{"virtual_service.vip"}) {
		t.Errorf("immutable field: %v", err)
	}
	if x, err := up("etag", "uid", "name"); err != nil || x.GetEtag() != old.GetEtag() {
		t.Errorf("output fields alone: %v, %v", x, err)
	}
	x, err := up("algorithm", "etag")
	if err != nil || x.GetAlgorithm() != dpdv1.Algorithm_ALGORITHM_WLC || x.GetTimeouts() != nil || x.GetVip() != old.GetVip() || x.GetEtag() == old.GetEtag() {
		t.Errorf("masked: %v, %v", x, err)
	}
	if _, err := up("timeouts"); !apierr.Is(err, apierr.ETagMismatch) {
		t.Errorf("old etag: %v", err)
	}
	patch.Etag = ""
	if x, err := up("timeouts.tcp_established"); err != nil || x.GetTimeouts().GetTcpEstablished().GetSeconds() != 60 {
		t.Errorf("nested: %v, %v", x, err)
	}
	patch.Expire = dpdv1.ExpireAction_EXPIRE_ACTION_RST
	if x, err := up("expire"); err != nil || x.GetExpire() != patch.Expire {
		t.Errorf("expire: %v, %v", x, err)
	}
	patch.Expire = dpdv1.ExpireAction_EXPIRE_ACTION_UNSPECIFIED
	if x, err := up("expire"); err != nil || x.GetExpire() != dpdv1.ExpireAction_EXPIRE_ACTION_SILENT {
		t.Errorf("expire taken back: %v, %v", x, err)
	}
	patch.Timeouts.TcpEstablished = durationpb.New(1500 * time.Millisecond)
	if _, err := up("timeouts.tcp_established"); !slices.Equal(apierr.Fields(err), []string{"virtual_service.timeouts.tcp_established"}) {
		t.Errorf("half a second: %v", err)
	}
	s, err := w.rs.UpdateRealServer(ctx, &schedulerv1.UpdateRealServerRequest{
		RealServer: &schedulerv1.RealServer{Name: "virtualServices/web/realServers/x", Weight: proto.Uint32(0), AdminState: schedulerv1.AdminState_ADMIN_STATE_DRAINING},
	})
	if err != nil || s.GetWeight() != 0 || s.GetAdminState() != schedulerv1.AdminState_ADMIN_STATE_DRAINING {
		t.Errorf("without a mask: %v, %v", s, err)
	}
	if _, err := w.rs.UpdateRealServer(ctx, &schedulerv1.UpdateRealServerRequest{
		RealServer: &schedulerv1.RealServer{Name: "virtualServices/web/realServers/x", Weight: proto.Uint32(65536)},
	}); !slices.Equal(apierr.Fields(err), []string{"real_server.weight"}) {
		t.Errorf("weight out of range: %v", err)
	}
}

func TestListsComeInPagesAndTokensAreTheirOwn(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		w.create(fmt.Sprintf("s%d", i), 80+i, "a", "b")
	}
	ctx := t.Context()
	var got []string
	token := ""
	for {
		r, err := w.rs.ListRealServers(ctx, &schedulerv1.ListRealServersRequest{Parent: "virtualServices/-", PageSize: 3, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range r.GetRealServers() {
			got = append(got, strings.NewReplacer("virtualServices/", "", "realServers/", "").Replace(x.GetName()))
		}
		if token = r.GetNextPageToken(); token == "" {
			break
		}
	}
	if want := "s0/a s0/b s1/a s1/b s2/a s2/b s3/a s3/b s4/a s4/b"; strings.Join(got, " ") != want {
		t.Errorf("got %v", got)
	}
	r, err := w.vs.ListVirtualServices(ctx, &schedulerv1.ListVirtualServicesRequest{PageSize: 5})
	if err != nil || len(r.GetVirtualServices()) != 5 || r.GetNextPageToken() != "" {
		t.Errorf("a page that is just full: %v, %v", r, err)
	}
	r, err = w.vs.ListVirtualServices(ctx, &schedulerv1.ListVirtualServicesRequest{PageSize: 2})
	if err != nil || len(r.GetVirtualServices()) != 2 {
		t.Fatalf("%v, %v", r, err)
	}
	for name, call := range map[string]func() error{
		"token of another method": func() error {
			_, err := w.ap.ListAddressPools(ctx, &schedulerv1.ListAddressPoolsRequest{PageToken: r.GetNextPageToken()})
			return err
		},
		"token of another parent": func() error {
			_, err := w.rs.ListRealServers(ctx, &schedulerv1.ListRealServersRequest{Parent: "virtualServices/s1", PageToken: r.GetNextPageToken()})
			return err
		},
		"junk": func() error {
			_, err := w.vs.ListVirtualServices(ctx, &schedulerv1.ListVirtualServicesRequest{PageToken: "junk"})
			return err
		},
	} {
		if err := call(); !apierr.Is(err, apierr.BadPageToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBadRequestsAreRefusedAndChangeNothing(t *testing.T) {
	w := newWorld(t)
	w.create("web", 80, "x")
	ctx := t.Context()
	pool := &schedulerv1.AddressPool{Purpose: schedulerv1.PoolPurpose_POOL_PURPOSE_LADDR, Prefixes: []string{"203.0.113.0/28", "203.0.113.16"}}
	if p, err := w.ap.CreateAddressPool(ctx, &schedulerv1.CreateAddressPoolRequest{AddressPoolId: "l4", AddressPool: pool}); err != nil ||
		p.GetBlockSize() != 1 || !slices.Equal(p.GetPrefixes(), []string{"203.0.113.0/28", "203.0.113.16/32"}) {
		t.Fatalf("%v, %v", p, err)
	}
	var before *schedulerv1.Rollout
	w.eventually("the revision of what was made", func() bool {
		r, err := w.ro.GetRollout(ctx, &schedulerv1.GetRolloutRequest{})
		before = r
		return err == nil && r.GetServers() == 1
	})
	vs := func(id string, v *schedulerv1.VirtualService) error {
		_, err := w.vs.CreateVirtualService(ctx, &schedulerv1.CreateVirtualServiceRequest{VirtualServiceId: id, VirtualService: v})
		return err
	}
	ok := &schedulerv1.VirtualService{Vip: "198.51.100.11", Port: 80, Protocol: dpdv1.Protocol_PROTOCOL_TCP}
	for _, tc := range []struct {
		name   string
		err    error
		reason apierr.Reason
		fields []string
	}{
		{"no service", vs("a", nil), apierr.BadRequest, []string{"virtual_service"}},
		{"port out of range", vs("a", &schedulerv1.VirtualService{Vip: "198.51.100.11", Port: 65536 + 80, Protocol: 1}), apierr.BadRequest, []string{"virtual_service.port"}},
		{"unknown mode and algorithm", vs("a", &schedulerv1.VirtualService{Vip: "198.51.100.11", Port: 80, Protocol: 1, Mode: 4, Algorithm: 99, Expire: 99}), apierr.BadRequest, []string{"virtual_service.mode", "virtual_service.algorithm", "virtual_service.expire"}},
		{"duplicate name", vs("web", ok), apierr.DuplicateName, nil},
		{"overlap", vs("a", &schedulerv1.VirtualService{Vip: "198.51.100.10", Port: 80, Protocol: 1}), apierr.VIPOverlap, nil},
		{"VIP of a pool", vs("a", &schedulerv1.VirtualService{Vip: "203.0.113.16", Port: 80, Protocol: 1}), apierr.AddressIsVIP, nil},
		{"bad name", func() error {
			_, err := w.vs.GetVirtualService(ctx, &schedulerv1.GetVirtualServiceRequest{Name: "web"})
			return err
		}(), apierr.BadRequest, []string{"name"}},
		{"unknown server", func() error {
			_, err := w.rs.DeleteRealServer(ctx, &schedulerv1.DeleteRealServerRequest{Name: "virtualServices/web/realServers/none"})
			return err
		}(), apierr.RealServerNotFound, nil},
		{"unknown parent", func() error {
			_, err := w.rs.ListRealServers(ctx, &schedulerv1.ListRealServersRequest{Parent: "virtualServices/none"})
			return err
		}(), apierr.VirtualServiceNotFound, nil},
		{"not empty", func() error {
			_, err := w.vs.DeleteVirtualService(ctx, &schedulerv1.DeleteVirtualServiceRequest{Name: "virtualServices/web"})
			return err
		}(), apierr.NotEmpty, nil},
		{"pool overlap", func() error {
			_, err := w.ap.CreateAddressPool(ctx, &schedulerv1.CreateAddressPoolRequest{AddressPoolId: "l5", AddressPool: pool})
			return err
		}(), apierr.PoolOverlap, nil},
		{"junk in a pool", func() error {
			_, err := w.ap.CreateAddressPool(ctx, &schedulerv1.CreateAddressPoolRequest{AddressPoolId: "l5", AddressPool: &schedulerv1.AddressPool{Purpose: 1, BlockSize: 1 << 20, Prefixes: []string{"10.0.0.0/33", "x", "10.0.0.1"}}})
			return err
		}(), apierr.BadRequest, []string{"address_pool.block_size", "address_pool.prefixes[0]", "address_pool.prefixes[1]"}},
		{"pool shrinks", func() error {
			_, err := w.ap.UpdateAddressPool(ctx, &schedulerv1.UpdateAddressPoolRequest{AddressPool: &schedulerv1.AddressPool{Name: "addressPools/l4", Prefixes: []string{"203.0.113.16"}}})
			return err
		}(), apierr.ShrinksByHalf, nil},
	} {
		if !apierr.Is(tc.err, tc.reason) || !slices.Equal(apierr.Fields(tc.err), tc.fields) {
			t.Errorf("%s: %v, fields %v", tc.name, tc.err, apierr.Fields(tc.err))
		}
	}
	if _, err := w.vs.CreateVirtualService(ctx, &schedulerv1.CreateVirtualServiceRequest{VirtualServiceId: "a", VirtualService: ok, ValidateOnly: true}); err != nil {
		t.Errorf("validate_only: %v", err)
	}
	after, err := w.ro.GetRollout(ctx, &schedulerv1.GetRolloutRequest{})
	if err != nil || after.GetRevision() != before.GetRevision() {
		t.Errorf("revision %d after %d, %v", after.GetRevision(), before.GetRevision(), err)
	}
}

func TestPolicyNamesEveryMethod(t *testing.T) {
	p := Policy()
	for _, d := range []grpc.ServiceDesc{
		schedulerv1.VirtualServiceService_ServiceDesc, schedulerv1.RealServerService_ServiceDesc,
		schedulerv1.AddressPoolService_ServiceDesc, schedulerv1.RolloutService_ServiceDesc,
	} {
		check := func(method string) {
			full := "/" + d.ServiceName + "/" + method
			reads := strings.HasPrefix(method, "Get") || strings.HasPrefix(method, "List") || strings.HasPrefix(method, "Watch")
			if p.Allows(full, "viewer") != reads || !p.Allows(full, "gateway") || p.Allows(full, "dpd") {
				t.Errorf("%s is not as it should be", full)
			}
		}
		for _, m := range d.Methods {
			check(m.MethodName)
		}
		for _, m := range d.Streams {
			check(m.StreamName)
		}
	}
}
