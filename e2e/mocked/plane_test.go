package mocked

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/golang/mock/gomock"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
	"github.com/holdfast-lb/holdfast/services/kit"
	"github.com/holdfast-lb/holdfast/services/kit/pki"
)

// plane is a mock behind real gRPC, and what the mock's answers come from.
type plane struct {
	b     *bed
	name  string
	mock  *MockDataplane
	creds *pki.Credentials
	addr  string
	stop  func()

	mu       sync.Mutex // guards the rest
	life     *dpdv1.NodeLife
	view     *dpdv1.Membership
	given    uint64 // the last view that ApplyMembership brought
	keys     *dpdv1.KeySet
	config   *dpdv1.ApplyConfigRequest
	bulk     []*dpdv1.BulkProgress
	deaf     map[uint32]bool   // peers that it does not hear
	left     map[uint32]uint64 // records that it still holds, by block
	fenced   uint64            // age of every fence, milliseconds
	sessions []*dpdv1.Session
	hung     bool
	moved    chan struct{}
}

// plane starts a mock. It may do everything a data plane does, any number of times; what a test demands it adds.
func (b *bed) plane(name string) *plane {
	b.t.Helper()
	p := &plane{b: b, name: name, mock: NewMockDataplane(b.ctrl), deaf: map[uint32]bool{}, left: map[uint32]uint64{}, moved: make(chan struct{})}
	leaf, err := b.ca.Issue(pki.Identity{Role: pki.RoleDataplane, Name: name}, time.Now())
	b.must(err)
	p.creds, err = pki.New(b.ca.CertPEM(), leaf)
	b.must(err)
	e := p.mock.EXPECT()
	e.GetInfo(gomock.Any(), gomock.Any()).DoAndReturn(p.getInfo).AnyTimes()
	e.ApplyConfig(gomock.Any(), gomock.Any()).DoAndReturn(p.applyConfig).AnyTimes()
	e.ApplyMembership(gomock.Any(), gomock.Any()).DoAndReturn(p.applyMembership).AnyTimes()
	e.ApplyKeys(gomock.Any(), gomock.Any()).DoAndReturn(p.applyKeys).AnyTimes()
	e.StartBulkSync(gomock.Any(), gomock.Any()).DoAndReturn(p.startBulkSync).AnyTimes()
	e.WatchSync(gomock.Any(), gomock.Any(), gomock.Any()).DoAndReturn(p.watchSync).AnyTimes()
	e.ListSessions(gomock.Any(), gomock.Any(), gomock.Any()).DoAndReturn(p.listSessions).AnyTimes()
	e.GetSession(gomock.Any(), gomock.Any()).DoAndReturn(p.getSession).AnyTimes()
	p.listen("127.0.0.1:0")
	b.planes = append(b.planes, p)
	b.t.Cleanup(func() { p.stop() })
	return p
}

func (p *plane) listen(addr string) {
	srv, err := kit.Listen(kit.ServerConfig{
		Listen: addr, TLS: p.creds.Server(), Log: slog.New(slog.DiscardHandler),
		Policy: pki.Policy{"/holdfast.dpd.v1.DataplaneService/": {pki.RoleService}},
	})
	p.b.must(err)
	dpdv1.RegisterDataplaneServiceServer(srv, Server{Dataplane: p.mock})
	p.addr = srv.Addr().String()
	go func() { _ = srv.Serve(context.Background()) }()
	p.stop = sync.OnceFunc(srv.Stop)
}

// kill ends the process: its sockets close, and no peer hears it any more.
func (p *plane) kill() {
	p.stop()
	for _, o := range p.b.planes {
		o.edit(func() { o.deaf[p.life.GetId()] = true })
	}
}

func (p *plane) edit(fn func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fn()
	close(p.moved)
	p.moved = make(chan struct{})
}

// join makes the call that a data plane makes itself.
func (p *plane) join() {
	p.b.t.Helper()
	conn, err := kit.Dial(p.b.mesh.GRPCAddr(), p.creds.Client(pki.RoleService))
	p.b.must(err)
	defer conn.Close()
	var res *syncv1.JoinResponse
	p.b.until("join of "+p.name, func() bool {
		res, err = syncv1.NewCoordinatorServiceClient(conn).Join(p.b.t.Context(), &syncv1.JoinRequest{
			NodeName: p.name, ControlAddress: p.addr, ProcessId: bytes.Repeat([]byte{7}, 16), Ipv4: true, Workers: 2, Version: "mock",
		})
		if c := status.Code(err); err != nil && c != codes.Unavailable && c != codes.ResourceExhausted {
			p.b.t.Fatalf("join: %v", err)
		}
		return err == nil
	})
	p.edit(func() { p.life, p.view, p.keys, p.bulk = res.GetLife(), res.GetMembership(), res.GetKeys(), nil })
	for _, o := range p.b.planes {
		o.edit(func() { delete(o.deaf, res.GetLife().GetId()) })
	}
}

func (p *plane) getInfo(context.Context, *dpdv1.GetInfoRequest) (*dpdv1.GetInfoResponse, error) {
	return &dpdv1.GetInfoResponse{Name: p.name, Version: "mock", Sync: p.status()}, nil
}

func (p *plane) applyConfig(_ context.Context, r *dpdv1.ApplyConfigRequest) (*dpdv1.ApplyConfigResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.GetRevision() < p.config.GetRevision() {
		p.b.t.Errorf("%s was given revision %d after %d", p.name, r.GetRevision(), p.config.GetRevision())
		return nil, status.Error(codes.FailedPrecondition, "STALE_REVISION")
	}
	p.config = r
	return &dpdv1.ApplyConfigResponse{Revision: r.GetRevision(), Changed: true}, nil
}

func (p *plane) applyMembership(_ context.Context, r *dpdv1.ApplyMembershipRequest) (*dpdv1.ApplyMembershipResponse, error) {
	m := r.GetMembership()
	var err error
	p.edit(func() {
		switch {
		case !proto.Equal(m.GetSelf().GetLife(), p.life):
			err = status.Error(codes.FailedPrecondition, "WRONG_LIFE")
		case m.GetView() < p.given:
			p.b.t.Errorf("%s was given view %d after %d", p.name, m.GetView(), p.given)
			err = status.Error(codes.FailedPrecondition, "STALE_VIEW")
		case m.GetView() < p.view.GetView(): // the answer to its Join was faster
			err = status.Error(codes.FailedPrecondition, "STALE_VIEW")
		default:
			p.view, p.given = m, m.GetView()
		}
	})
	if err != nil {
		return nil, err
	}
	return &dpdv1.ApplyMembershipResponse{View: m.GetView(), Changed: true}, nil
}

func (p *plane) applyKeys(_ context.Context, r *dpdv1.ApplyKeysRequest) (*dpdv1.ApplyKeysResponse, error) {
	p.edit(func() { p.keys = r.GetKeys() })
	return &dpdv1.ApplyKeysResponse{Generation: r.GetKeys().GetGeneration(), Changed: true}, nil
}

// startBulkSync is the whole of the sync protocol: the other one has everything at once.
func (p *plane) startBulkSync(_ context.Context, r *dpdv1.StartBulkSyncRequest) (*dpdv1.StartBulkSyncResponse, error) {
	p.mu.Lock()
	from, n := p.life, uint64(len(p.sessions))
	p.mu.Unlock()
	for _, o := range p.b.planes {
		o.edit(func() {
			if proto.Equal(o.life, r.GetTo()) {
				o.bulk = append(o.bulk, &dpdv1.BulkProgress{From: from, Begun: true, Ended: true, Expected: n, Received: n})
			}
		})
	}
	return &dpdv1.StartBulkSyncResponse{}, nil
}

func (p *plane) status() *dpdv1.SyncStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &dpdv1.SyncStatus{
		Self: p.life, State: dpdv1.NodeState_NODE_STATE_JOINING, View: p.view.GetView(), KeyGeneration: p.keys.GetGeneration(),
		ConfigRevision: p.config.GetRevision(), Bulk: slices.Clone(p.bulk),
	}
	for _, m := range p.view.GetMembers() {
		if l := m.GetLife(); l.GetId() != p.life.GetId() {
			s.Peers = append(s.Peers, &dpdv1.PeerSync{Peer: l, Established: true, Suspected: p.deaf[l.GetId()]})
		}
	}
	for _, b := range p.view.GetLaddrBlocks() {
		s.BlockUsage = append(s.BlockUsage, &dpdv1.BlockUsage{BlockId: b.GetId(), Records: p.left[b.GetId()]})
		if b.GetAllocatable() && proto.Equal(b.GetHolder(), p.life) {
			s.State = dpdv1.NodeState_NODE_STATE_READY
		}
	}
	for _, l := range p.view.GetFenced() {
		s.Fenced = append(s.Fenced, &dpdv1.FencedAge{Life: l, AgeMs: p.fenced})
	}
	return s
}

func (p *plane) watchSync(ctx context.Context, r *dpdv1.WatchSyncRequest, send func(*dpdv1.WatchSyncResponse) error) error {
	every := time.NewTicker(time.Duration(r.GetIntervalMs()) * time.Millisecond)
	defer every.Stop()
	for kind := dpdv1.WatchKind_WATCH_KIND_BOOKMARK; ; kind = dpdv1.WatchKind_WATCH_KIND_UPDATE {
		p.mu.Lock()
		moved := p.moved
		p.mu.Unlock()
		if err := send(&dpdv1.WatchSyncResponse{Kind: kind, Status: p.status()}); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		case <-moved:
		}
	}
}

// listSessions lists in the order of ports, which stands for the cluster's hash.
func (p *plane) listSessions(ctx context.Context, r *dpdv1.ListSessionsRequest, send func(*dpdv1.ListSessionsResponse) error) error {
	p.mu.Lock()
	all, hung := slices.Clone(p.sessions), p.hung
	p.mu.Unlock()
	if hung {
		<-ctx.Done()
		return ctx.Err()
	}
	place := func(s *dpdv1.Session) []byte { return []byte{byte(s.GetOriginal().GetSource().GetPort())} }
	out := &dpdv1.ListSessionsResponse{}
	for _, s := range all {
		if bytes.Compare(place(s), r.GetCursor()) <= 0 {
			continue
		}
		out.Sessions = append(out.Sessions, s)
		if len(out.Sessions) == int(r.GetLimit()) {
			out.Cursor = place(s)
			break
		}
	}
	return send(out)
}

func (p *plane) getSession(_ context.Context, r *dpdv1.GetSessionRequest) (*dpdv1.GetSessionResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.sessions {
		if proto.Equal(s.GetOriginal(), r.GetTuple()) {
			return &dpdv1.GetSessionResponse{Session: s}, nil
		}
	}
	return nil, status.Error(codes.NotFound, "SESSION_NOT_FOUND")
}

func (p *plane) applied() *dpdv1.Membership {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.view
}

func (p *plane) configured() *dpdv1.ApplyConfigRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.config
}

// sees is the state of a node in the view that this one runs; unspecified when it is not in it.
func (p *plane) sees(name string) dpdv1.MemberState {
	for _, m := range p.applied().GetMembers() {
		if m.GetName() == name {
			return m.GetState()
		}
	}
	return dpdv1.MemberState_MEMBER_STATE_UNSPECIFIED
}

// held is the block that a life holds in the view that this one runs.
func (p *plane) held(l *dpdv1.NodeLife) *dpdv1.LaddrBlock {
	for _, b := range p.applied().GetLaddrBlocks() {
		if b.GetHolder() != nil && proto.Equal(b.GetHolder(), l) {
			return b
		}
	}
	return nil
}

func (p *plane) block(id uint32) *dpdv1.LaddrBlock {
	for _, b := range p.applied().GetLaddrBlocks() {
		if b.GetId() == id {
			return b
		}
	}
	return nil
}
