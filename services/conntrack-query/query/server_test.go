package query

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	conntrackv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/conntrack/v1"
	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	schedulerv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/scheduler/v1"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
	"github.com/holdfast-lb/holdfast/services/kit"
	"github.com/holdfast-lb/holdfast/services/kit/apierr"
)

// plane is a data plane that holds sessions.
type plane struct {
	dpdv1.UnimplementedDataplaneServiceServer
	shelf
	name    string
	hung    bool
	mu      sync.Mutex
	deleted []*dpdv1.DeleteSessionsRequest
}

func (p *plane) ListSessions(r *dpdv1.ListSessionsRequest, s grpc.ServerStreamingServer[dpdv1.ListSessionsResponse]) error {
	if p.hung {
		<-s.Context().Done()
		return s.Context().Err()
	}
	list, end, err := p.List(s.Context(), &Node{Name: p.name}, r.GetFilter(), r.GetCursor(), int(r.GetLimit()))
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(list, 10) {
		res := &dpdv1.ListSessionsResponse{Sessions: chunk, Cursor: place(chunk[len(chunk)-1])}
		if end == nil && chunk[len(chunk)-1] == list[len(list)-1] {
			res.Cursor = nil
		}
		if err := s.Send(res); err != nil {
			return err
		}
	}
	return nil
}

func (p *plane) GetSession(ctx context.Context, r *dpdv1.GetSessionRequest) (*dpdv1.GetSessionResponse, error) {
	if p.hung {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	for _, s := range p.byNode[p.name] {
		if Name(s.GetOriginal()) == Name(r.GetTuple()) {
			return &dpdv1.GetSessionResponse{Session: s}, nil
		}
	}
	return nil, status.Error(codes.NotFound, "no")
}

func (p *plane) DeleteSessions(ctx context.Context, r *dpdv1.DeleteSessionsRequest) (*dpdv1.DeleteSessionsResponse, error) {
	if p.hung {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deleted = append(p.deleted, r)
	return &dpdv1.DeleteSessionsResponse{Count: 2}, nil
}

// upper are the two services that the directory comes from.
type upper struct {
	syncv1.UnimplementedCoordinatorServiceServer
	schedulerv1.UnimplementedVirtualServiceServiceServer
	schedulerv1.UnimplementedRealServerServiceServer
	nodes []*syncv1.Node
}

func (u *upper) WatchMembership(_ *syncv1.WatchMembershipRequest, s grpc.ServerStreamingServer[syncv1.WatchMembershipResponse]) error {
	if err := s.Send(&syncv1.WatchMembershipResponse{Nodes: u.nodes}); err != nil {
		return err
	}
	<-s.Context().Done()
	return nil
}

func (u *upper) ListVirtualServices(_ context.Context, r *schedulerv1.ListVirtualServicesRequest) (*schedulerv1.ListVirtualServicesResponse, error) {
	if r.GetPageToken() == "" {
		return &schedulerv1.ListVirtualServicesResponse{NextPageToken: "2"}, nil
	}
	return &schedulerv1.ListVirtualServicesResponse{VirtualServices: []*schedulerv1.VirtualService{{Name: "virtualServices/web", Uid: 7}}}, nil
}

func (u *upper) ListRealServers(context.Context, *schedulerv1.ListRealServersRequest) (*schedulerv1.ListRealServersResponse, error) {
	return &schedulerv1.ListRealServersResponse{RealServers: []*schedulerv1.RealServer{{Name: "virtualServices/web/realServers/one", Uid: 9}}}, nil
}

func serve(t *testing.T, register func(*grpc.Server)) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	register(s)
	go func() { _ = s.Serve(lis) }()
	t.Cleanup(s.Stop)
	return lis.Addr().String()
}

// start runs the service over planes; an address "dead" refuses connections.
func start(t *testing.T, planes ...*plane) *Service {
	t.Helper()
	u := &upper{}
	for i, p := range planes {
		addr := serve(t, func(s *grpc.Server) { dpdv1.RegisterDataplaneServiceServer(s, p) })
		if p.dead[p.name] {
			addr = "127.0.0.1:1"
		}
		u.nodes = append(u.nodes, &syncv1.Node{Name: "nodes/" + p.name, Id: uint32(i + 1), Incarnation: uint64(10 * (i + 1)),
			State: syncv1.NodeState_NODE_STATE_ADMITTED, ControlAddress: addr})
	}
	u.nodes = append(u.nodes, &syncv1.Node{Name: "nodes/gone", Id: 99, State: syncv1.NodeState_NODE_STATE_REMOVED, ControlAddress: "127.0.0.1:1"})
	addr := serve(t, func(s *grpc.Server) {
		syncv1.RegisterCoordinatorServiceServer(s, u)
		schedulerv1.RegisterVirtualServiceServiceServer(s, u)
		schedulerv1.RegisterRealServerServiceServer(s, u)
	})
	conn, err := kit.Dial(addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s, err := New(Deps{
		Dial:        func(_, a string) (*grpc.ClientConn, error) { return kit.Dial(a, nil) },
		Coordinator: conn, Scheduler: conn, Log: slog.New(slog.DiscardHandler), NodeTimeout: 300 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if d, err := s.book.directory(true); err == nil && len(d.Nodes) == len(planes) && len(d.Servers) == 1 {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatal("the directory does not come")
		}
	}
}

func stocked(name string, from, to int) *plane {
	p := &plane{name: name, shelf: shelf{byNode: map[string][]*dpdv1.Session{}, dead: map[string]bool{}}}
	for i := from; i < to; i++ {
		s := session(1000 + i)
		s.ServiceId, s.ServerId = 7, 9
		p.byNode[name] = append(p.byNode[name], s)
	}
	return p
}

func TestListOverRealConnections(t *testing.T) {
	slow, dead := stocked("lb-c", 0, 40), stocked("lb-d", 0, 40)
	slow.hung, dead.dead["lb-d"] = true, true
	s := start(t, stocked("lb-a", 0, 40), stocked("lb-b", 0, 40), slow, dead)
	seen := map[string]bool{}
	req := &conntrackv1.ListSessionsRequest{PageSize: 15, Filter: "virtual_service=web AND owner=lb-a"}
	for {
		res, err := s.ListSessions(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range res.GetSessions() {
			if seen[x.GetName()] || x.GetOwner() != "nodes/lb-a" || x.GetRealServer() != "virtualServices/web/realServers/one" ||
				!slices.Equal(x.GetReplicas(), []string{"nodes/lb-a", "nodes/lb-b"}) {
				t.Fatalf("%v", x)
			}
			seen[x.GetName()] = true
		}
		e := res.GetNodeErrors()
		if len(e) != 2 || e[0].GetNode() != "nodes/lb-c" || e[0].GetCode() != "DEADLINE_EXCEEDED" || e[1].GetNode() != "nodes/lb-d" || e[1].GetCode() != "UNAVAILABLE" {
			t.Fatalf("node errors %v", e)
		}
		if req.PageToken = res.GetNextPageToken(); req.PageToken == "" {
			break
		}
	}
	if len(seen) != 40 {
		t.Fatalf("%d sessions", len(seen))
	}
}

func TestGetInAndOut(t *testing.T) {
	hung := stocked("lb-b", 0, 5)
	hung.hung = true
	s := start(t, stocked("lb-a", 0, 5), hung)
	got, err := s.GetSession(t.Context(), &conntrackv1.GetSessionRequest{Name: "sessions/tcp,192.0.2.1,1000,198.51.100.10,80"})
	if err != nil || got.GetLaddr().GetAddress() != "10.0.7.1" || got.GetServer().GetPort() != 8080 {
		t.Fatalf("%v %v", got, err)
	}
	_, err = s.GetSession(t.Context(), &conntrackv1.GetSessionRequest{Name: "sessions/tcp,192.0.2.1,9,198.51.100.10,80"})
	if !apierr.Is(err, apierr.SessionNotFound) {
		t.Fatal(err)
	}
	if _, err = s.GetSession(t.Context(), &conntrackv1.GetSessionRequest{Name: "x"}); !apierr.Is(err, apierr.BadRequest) {
		t.Fatal(err)
	}
	alone := stocked("lb-a", 0, 5)
	alone.hung = true
	s = start(t, alone)
	_, err = s.GetSession(t.Context(), &conntrackv1.GetSessionRequest{Name: "sessions/tcp,192.0.2.1,9,198.51.100.10,80"})
	if !apierr.Is(err, apierr.NodesUnreachable) {
		t.Fatal(err)
	}
}

// A service that has just started knows nobody to ask. It once said then that there were no sessions.
func TestNothingIsAnsweredBeforeTheDirectoryIsKnown(t *testing.T) {
	s := &Service{book: &book{}, conns: &pool{conns: map[string]pooled{}}}
	ask := map[string]func(filter string) error{
		"list": func(f string) error {
			_, err := s.ListSessions(t.Context(), &conntrackv1.ListSessionsRequest{Filter: f})
			return err
		},
		"count": func(f string) error {
			_, err := s.CountSessions(t.Context(), &conntrackv1.CountSessionsRequest{Filter: f})
			return err
		},
		"delete": func(f string) error {
			_, err := s.DeleteSessions(t.Context(), &conntrackv1.DeleteSessionsRequest{Filter: f})
			return err
		},
	}
	get := func() error {
		_, err := s.GetSession(t.Context(), &conntrackv1.GetSessionRequest{Name: "sessions/tcp,192.0.2.1,9,198.51.100.10,80"})
		return err
	}
	byService := func() error {
		_, err := s.CountSessions(t.Context(), &conntrackv1.CountSessionsRequest{GroupBy: conntrackv1.GroupBy_GROUP_BY_SERVICE})
		return err
	}
	for name, call := range ask {
		if err := call("client.port=9"); !apierr.Is(err, apierr.DirectoryUnknown) {
			t.Errorf("%s without nodes: %v", name, err)
		}
	}
	if err := get(); !apierr.Is(err, apierr.DirectoryUnknown) {
		t.Errorf("get without nodes: %v", err)
	}
	s.book.nodes.Store(&[]Node{}) // known: there are none
	for name, call := range ask {
		if err := call("client.port=9"); err != nil {
			t.Errorf("%s without names: %v", name, err)
		}
		for _, filter := range []string{"virtual_service=web", "client.port=9 AND real_server!=virtualServices/web/realServers/one"} {
			if err := call(filter); !apierr.Is(err, apierr.DirectoryUnknown) {
				t.Errorf("%s by %s without names: %v", name, filter, err)
			}
		}
	}
	if err := get(); !apierr.Is(err, apierr.SessionNotFound) {
		t.Errorf("get from no nodes: %v", err)
	}
	if err := byService(); !apierr.Is(err, apierr.DirectoryUnknown) {
		t.Errorf("count by service without names: %v", err)
	}
	s.book.names.Store(&names{services: map[uint32]string{7: "virtualServices/web"}})
	if err := byService(); err != nil {
		t.Error(err)
	}
	if err := ask["delete"]("virtual_service=web"); err != nil {
		t.Error(err)
	}
}

func TestCountsEachSessionOnce(t *testing.T) {
	s := start(t, stocked("lb-a", 0, 30), stocked("lb-b", 10, 50))
	for group, want := range map[conntrackv1.GroupBy]string{
		conntrackv1.GroupBy_GROUP_BY_UNSPECIFIED: "",
		conntrackv1.GroupBy_GROUP_BY_OWNER:       "nodes/lb-a",
		conntrackv1.GroupBy_GROUP_BY_SERVICE:     "virtualServices/web",
		conntrackv1.GroupBy_GROUP_BY_SERVER:      "virtualServices/web/realServers/one",
		conntrackv1.GroupBy_GROUP_BY_STATE:       "TCP_ESTABLISHED",
		conntrackv1.GroupBy_GROUP_BY_PROTOCOL:    "TCP",
	} {
		res, err := s.CountSessions(t.Context(), &conntrackv1.CountSessionsRequest{GroupBy: group})
		if err != nil || res.GetTotal() != 50 || len(res.GetGroups()) != 1 || res.GetGroups()[0].GetKey() != want || res.GetGroups()[0].GetCount() != 50 {
			t.Errorf("%v: %v %v", group, res, err)
		}
	}
	res, err := s.CountSessions(t.Context(), &conntrackv1.CountSessionsRequest{Filter: "client.port<1010"})
	if err != nil || res.GetTotal() != 10 {
		t.Errorf("%v %v", res, err)
	}
}

func TestDeleteAsksEveryOwner(t *testing.T) {
	a, b := stocked("lb-a", 0, 5), stocked("lb-b", 0, 5)
	s := start(t, a, b)
	res, err := s.DeleteSessions(t.Context(), &conntrackv1.DeleteSessionsRequest{Filter: "virtual_service=web", ValidateOnly: true})
	if err != nil || res.GetCount() != 4 {
		t.Fatalf("%v %v", res, err)
	}
	for _, p := range []*plane{a, b} {
		if len(p.deleted) != 1 || !p.deleted[0].GetValidateOnly() || p.deleted[0].GetFilter().GetServiceIds()[0] != 7 {
			t.Errorf("%s was asked %v", p.name, p.deleted)
		}
	}
	for filter, want := range map[string]apierr.Reason{"": apierr.EmptyFilter, "owner!=lb-a": apierr.BadFilter, "virtual_service=none": apierr.BadFilter, "x": apierr.BadFilter} {
		if _, err := s.DeleteSessions(t.Context(), &conntrackv1.DeleteSessionsRequest{Filter: filter}); !apierr.Is(err, want) {
			t.Errorf("%q: %v", filter, err)
		}
	}
}

func TestAHungNodeHoldsUpNoDelete(t *testing.T) {
	hung, b := stocked("lb-a", 0, 5), stocked("lb-b", 0, 5)
	hung.hung = true
	s := start(t, hung, b)
	res, err := s.DeleteSessions(t.Context(), &conntrackv1.DeleteSessionsRequest{Filter: "virtual_service=web"})
	if err != nil || res.GetCount() != 2 || len(res.GetNodeErrors()) != 1 || res.GetNodeErrors()[0].GetNode() != "nodes/lb-a" {
		t.Fatalf("%v %v", res, err)
	}
}

func TestListRefusals(t *testing.T) {
	s := start(t, stocked("lb-a", 0, 5))
	res, err := s.ListSessions(t.Context(), &conntrackv1.ListSessionsRequest{PageSize: 2})
	if err != nil || res.GetNextPageToken() == "" {
		t.Fatal(res, err)
	}
	for name, c := range map[string]struct {
		req  *conntrackv1.ListSessionsRequest
		want apierr.Reason
	}{
		"a filter that can't be read":  {&conntrackv1.ListSessionsRequest{Filter: "state<1"}, apierr.BadFilter},
		"a negative size":              {&conntrackv1.ListSessionsRequest{PageSize: -1}, apierr.BadRequest},
		"a token of another filter":    {&conntrackv1.ListSessionsRequest{Filter: "owner=lb-a", PageToken: res.GetNextPageToken()}, apierr.BadPageToken},
		"a token that nobody gave out": {&conntrackv1.ListSessionsRequest{PageToken: strings.Repeat("A", 20)}, apierr.BadPageToken},
	} {
		if _, err := s.ListSessions(t.Context(), c.req); !apierr.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.CountSessions(t.Context(), &conntrackv1.CountSessionsRequest{GroupBy: 99}); !apierr.Is(err, apierr.BadRequest) {
		t.Error(err)
	}
}
