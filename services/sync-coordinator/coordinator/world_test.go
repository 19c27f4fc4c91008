package coordinator

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
	"github.com/holdfast-lb/holdfast/services/kit"
	"github.com/holdfast-lb/holdfast/services/kit/natsd"
	"github.com/holdfast-lb/holdfast/services/kit/seal"
	"github.com/holdfast-lb/holdfast/services/sync-coordinator/membership"
)

// world is a NATS server, replicas of the coordinator and data planes that play their part over real gRPC.
type world struct {
	t      *testing.T
	nats   *natsd.Server
	dir    string     // of the server
	keys   *seal.Keys // of the replicas that start
	mu     sync.Mutex
	planes map[string]*plane
	pools  []membership.Pool
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	s, err := natsd.Start(natsd.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return &world{t: t, nats: s, dir: dir, keys: sealKeys(t, 1), planes: map[string]*plane{}, pools: []membership.Pool{
		{Name: "laddr", Kind: membership.PoolLaddr, BlockSize: 1, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.7.0/29")}},
		{Name: "sip", Kind: membership.PoolSip, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.9.0/28")}},
	}}
}

// replica is one running coordinator.
type replica struct {
	*Coordinator
	stop func()
}

func (w *world) start(instance string) *replica { return w.startWith(Config{Instance: instance}) }

func (w *world) startWith(cfg Config) *replica {
	w.t.Helper()
	c, run := w.build(cfg, w.log())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil {
			w.t.Errorf("Run: %v", err)
		}
	}()
	stop := sync.OnceFunc(func() {
		cancel()
		<-done
	})
	w.t.Cleanup(stop)
	return &replica{c, stop}
}

// build makes a replica with a connection of its own, which the end of run closes.
func (w *world) build(cfg Config, log io.Writer) (c *Coordinator, run func(context.Context) error) {
	w.t.Helper()
	cfg.PoolPoll = 50 * time.Millisecond
	nc, err := nats.Connect(w.nats.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		w.t.Fatal(err)
	}
	c, err = New(cfg, Deps{
		NATS: nc,
		Dial: func(_, address string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
			return kit.Dial(address, nil, opts...)
		},
		Pools: func(context.Context) ([]membership.Pool, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.pools, nil
		},
		Keys: w.keys,
		Log:  slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return c, func(ctx context.Context) error {
		defer nc.Close()
		return c.Run(ctx)
	}
}

func (w *world) log() io.Writer {
	if testing.Verbose() {
		return w.t.Output()
	}
	return io.Discard
}

// until polls, since the other side is a real server on real sockets.
func (w *world) until(what string, fn func() bool) {
	w.t.Helper()
	const most = time.Minute // it ends what hangs; a busy machine may be slow
	deadline := time.Now().Add(most)
	for !fn() {
		if time.Now().After(deadline) {
			w.t.Fatalf("not within %v: %s", most, what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// plane is a data plane as far as the coordinator can tell: it takes views, sends and gets stock and reports.
type plane struct {
	dpdv1.UnimplementedDataplaneServiceServer

	w    *world
	name string
	addr string
	srv  *grpc.Server

	mu      sync.Mutex // guards the rest
	st      *dpdv1.SyncStatus
	view    *dpdv1.Membership
	keys    *dpdv1.KeySet
	views   []uint64
	drains  int
	deaf    map[uint32]bool // peers that it does not hear
	hung    bool
	frozen  bool // answers no call but its status
	unready bool // never has all that it needs
	loud    bool // tells its status without end
	changed chan struct{}
}

func (w *world) plane(name string) *plane {
	w.t.Helper()
	p := &plane{w: w, name: name, st: &dpdv1.SyncStatus{}, deaf: map[uint32]bool{}, changed: make(chan struct{})}
	p.listen("127.0.0.1:0")
	w.mu.Lock()
	w.planes[name] = p
	w.mu.Unlock()
	w.t.Cleanup(p.kill)
	return p
}

func (p *plane) listen(addr string) {
	lis, err := net.Listen("tcp", addr)
	if err != nil {
		p.w.t.Fatal(err)
	}
	p.addr = lis.Addr().String()
	p.srv = grpc.NewServer(grpc.Creds(insecure.NewCredentials()))
	dpdv1.RegisterDataplaneServiceServer(p.srv, p)
	go func() { _ = p.srv.Serve(lis) }()
}

// kill takes the process away: its sockets close at once, and no peer hears it any more.
func (p *plane) kill() {
	p.srv.Stop()
	id := p.life().GetId()
	p.w.each(func(o *plane) { o.edit(func() { o.deaf[id] = true }) })
}

func (w *world) each(fn func(*plane)) {
	w.mu.Lock()
	all := make([]*plane, 0, len(w.planes))
	for _, p := range w.planes {
		all = append(all, p)
	}
	w.mu.Unlock()
	for _, p := range all {
		fn(p)
	}
}

func (w *world) byLife(l *dpdv1.NodeLife) *plane {
	var found *plane
	w.each(func(p *plane) {
		if proto.Equal(p.life(), l) {
			found = p
		}
	})
	return found
}

func (p *plane) life() *dpdv1.NodeLife {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.st.GetSelf()
}

// edit changes the plane and lets every status stream send.
func (p *plane) edit(fn func()) {
	p.mu.Lock()
	fn()
	close(p.changed)
	p.changed = make(chan struct{})
	p.mu.Unlock()
}

func (p *plane) request() *syncv1.JoinRequest {
	return &syncv1.JoinRequest{
		NodeName: p.name, ControlAddress: p.addr, ProcessId: []byte("0123456789abcdef"), Ipv4: true, Workers: 2, Version: "test",
	}
}

// join asks until a leader answers.
func (p *plane) join(c *replica) *syncv1.JoinResponse {
	p.w.t.Helper()
	var got *syncv1.JoinResponse
	p.w.until("join of "+p.name, func() bool {
		res, err := c.Join(p.w.t.Context(), p.request())
		if err != nil {
			if s := status.Code(err); s != codes.Unavailable && s != codes.ResourceExhausted {
				p.w.t.Fatalf("join: %v", err)
			}
			return false
		}
		got = res
		return true
	})
	p.edit(func() {
		p.st = &dpdv1.SyncStatus{Self: got.GetLife()}
		clear(p.deaf)
		p.take(got.GetMembership())
		p.keys = got.GetKeys()
		p.st.KeyGeneration = p.keys.GetGeneration()
	})
	p.w.each(func(o *plane) { o.edit(func() { delete(o.deaf, got.GetLife().GetId()) }) })
	return got
}

// take is ApplyMembership without the wire. Called with mu held.
func (p *plane) take(m *dpdv1.Membership) {
	p.view = m
	p.views = append(p.views, m.GetView())
	p.st.View = m.GetView()
	p.st.BlockUsage = nil
	for _, b := range m.GetLaddrBlocks() {
		p.st.BlockUsage = append(p.st.BlockUsage, &dpdv1.BlockUsage{BlockId: b.GetId()})
		if proto.Equal(b.GetHolder(), p.st.GetSelf()) && b.GetAllocatable() && !p.unready {
			p.st.State = dpdv1.NodeState_NODE_STATE_READY
		}
	}
	p.st.Fenced = nil
	for _, f := range m.GetFenced() {
		if proto.Equal(f, p.st.GetSelf()) {
			p.st.State = dpdv1.NodeState_NODE_STATE_FENCED
		}
		p.st.Fenced = append(p.st.Fenced, &dpdv1.FencedAge{Life: f, AgeMs: 100})
	}
}

// freeze holds a call of a frozen plane until its caller gives up.
func (p *plane) freeze(ctx context.Context) error {
	p.mu.Lock()
	frozen := p.frozen
	p.mu.Unlock()
	if frozen {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (p *plane) ApplyMembership(ctx context.Context, r *dpdv1.ApplyMembershipRequest) (*dpdv1.ApplyMembershipResponse, error) {
	if err := p.freeze(ctx); err != nil {
		return nil, err
	}
	m := r.GetMembership()
	var err error
	p.edit(func() {
		switch {
		case m.GetView() < p.st.GetView():
			err = status.Error(codes.FailedPrecondition, "stale view")
		case !proto.Equal(m.GetSelf().GetLife(), p.st.GetSelf()):
			err = status.Error(codes.FailedPrecondition, "wrong life")
		default:
			p.take(m)
		}
	})
	if err != nil {
		return nil, err
	}
	return &dpdv1.ApplyMembershipResponse{View: m.GetView(), Changed: true}, nil
}

func (p *plane) ApplyKeys(ctx context.Context, r *dpdv1.ApplyKeysRequest) (*dpdv1.ApplyKeysResponse, error) {
	if err := p.freeze(ctx); err != nil {
		return nil, err
	}
	p.edit(func() { p.keys, p.st.KeyGeneration = r.GetKeys(), r.GetKeys().GetGeneration() })
	return &dpdv1.ApplyKeysResponse{Generation: r.GetKeys().GetGeneration(), Changed: true}, nil
}

func (p *plane) GetInfo(ctx context.Context, _ *dpdv1.GetInfoRequest) (*dpdv1.GetInfoResponse, error) {
	if err := p.freeze(ctx); err != nil {
		return nil, err
	}
	return &dpdv1.GetInfoResponse{Name: p.name, Sync: p.statusNow()}, nil
}

func (p *plane) StartBulkSync(ctx context.Context, r *dpdv1.StartBulkSyncRequest) (*dpdv1.StartBulkSyncResponse, error) {
	if err := p.freeze(ctx); err != nil {
		return nil, err
	}
	to, from := p.w.byLife(r.GetTo()), p.life()
	if to != nil {
		to.edit(func() {
			to.st.Bulk = slices.DeleteFunc(to.st.Bulk, func(b *dpdv1.BulkProgress) bool { return b.GetFrom().GetId() == from.GetId() })
			to.st.Bulk = append(to.st.Bulk, &dpdv1.BulkProgress{From: from, Begun: true, Ended: true, Expected: 5, Received: 5})
		})
	}
	return &dpdv1.StartBulkSyncResponse{}, nil
}

func (p *plane) Drain(ctx context.Context, _ *dpdv1.DrainRequest) (*dpdv1.DrainResponse, error) {
	if err := p.freeze(ctx); err != nil {
		return nil, err
	}
	p.edit(func() {
		p.drains++
		p.st.State = dpdv1.NodeState_NODE_STATE_DRAINED
	})
	return &dpdv1.DrainResponse{}, nil
}

// statusNow is the status with what follows from the view and from whom it does not hear.
func (p *plane) statusNow() *dpdv1.SyncStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := proto.CloneOf(p.st)
	if p.unready {
		s.ReadyConditions = []*dpdv1.ReadyCondition{{Type: dpdv1.ReadyConditionType_READY_CONDITION_TYPE_CONFIG, Detail: "no configuration was applied"}}
	}
	for _, m := range p.view.GetMembers() {
		if l := m.GetLife(); l.GetId() != s.GetSelf().GetId() {
			s.Peers = append(s.Peers, &dpdv1.PeerSync{Peer: l, Established: true, Suspected: p.deaf[l.GetId()]})
		}
	}
	return s
}

func (p *plane) WatchSync(r *dpdv1.WatchSyncRequest, s grpc.ServerStreamingServer[dpdv1.WatchSyncResponse]) error {
	every := time.NewTicker(time.Duration(r.GetIntervalMs()) * time.Millisecond)
	defer every.Stop()
	for {
		p.mu.Lock()
		hung, loud, changed := p.hung, p.loud, p.changed
		p.mu.Unlock()
		if hung {
			<-s.Context().Done()
			return s.Context().Err()
		}
		if err := s.Send(&dpdv1.WatchSyncResponse{Status: p.statusNow()}); err != nil {
			return err
		}
		if loud {
			continue
		}
		select {
		case <-s.Context().Done():
			return s.Context().Err()
		case <-every.C:
		case <-changed:
		}
	}
}

func (p *plane) applied() *dpdv1.Membership {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.view
}

// sees is the state of a node in the view that this plane runs.
func (p *plane) sees(name string) dpdv1.MemberState {
	for _, m := range p.applied().GetMembers() {
		if m.GetName() == name {
			return m.GetState()
		}
	}
	return dpdv1.MemberState_MEMBER_STATE_UNSPECIFIED
}

const admitted = dpdv1.MemberState_MEMBER_STATE_ADMITTED

// cluster brings up named planes, all admitted in everyone's view.
func (w *world) cluster(c *replica, names ...string) []*plane {
	w.t.Helper()
	var planes []*plane
	for _, n := range names {
		p := w.plane(n)
		p.join(c)
		w.until(n+" is admitted", func() bool { return p.sees(n) == admitted })
		planes = append(planes, p)
	}
	w.until("everyone sees everyone", func() bool {
		for _, p := range planes {
			for _, n := range names {
				if p.sees(n) != admitted {
					return false
				}
			}
		}
		return true
	})
	return planes
}
