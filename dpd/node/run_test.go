package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/apiform"
	"github.com/holdfast-lb/holdfast/dpd/internal/config"
	"github.com/holdfast-lb/holdfast/dpd/internal/control"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
)

// coordinator is as much of the sync coordinator as two nodes need: it gives lives, and tells views when the test says so.
type coordinator struct {
	syncv1.UnimplementedCoordinatorServiceServer
	t *testing.T

	mu      sync.Mutex
	view    uint64
	lives   []flow.Node // by node, in the order of joining
	names   []string
	states  []dpdv1.MemberState
	joins   int
	gone    []bool
	left    []flow.Node
	early   []error // answers to a view that was told before the answer to Join
	refused map[string]bool
}

// membership is the present view as node i is told of it. c.mu is held.
func (c *coordinator) membership(i int) *dpdv1.Membership {
	m := &dpdv1.Membership{View: c.view}
	for k, l := range c.lives {
		if k == i {
			m.Self = &dpdv1.SelfAssignment{Life: apiform.Life(l), SipV4: fmt.Sprintf("10.0.0.9%d", k+1), SipV6: fmt.Sprintf("fd00::9%d", k+1), SyncPort: 7946, State: c.states[k]}
		}
		m.LaddrBlocks = append(m.LaddrBlocks, &dpdv1.LaddrBlock{
			Id: uint32(k + 1), Addresses: []string{fmt.Sprintf("10.8.0.%d", k+1), fmt.Sprintf("fd08::%d", k+1)}, Holder: apiform.Life(l), Epoch: 1, Allocatable: true,
		})
		if c.gone[k] {
			m.Fenced = append(m.Fenced, apiform.Life(l))
			continue
		}
		m.Members = append(m.Members, &dpdv1.Member{Life: apiform.Life(l), Name: c.names[k], SipV4: fmt.Sprintf("10.0.0.9%d", k+1), SipV6: fmt.Sprintf("fd00::9%d", k+1), SyncPort: 7946, State: c.states[k]})
	}
	return m
}

func (c *coordinator) Join(ctx context.Context, q *syncv1.JoinRequest) (*syncv1.JoinResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.refused[q.GetNodeName()] {
		c.refused[q.GetNodeName()] = true
		return nil, status.Error(codes.Unavailable, "no leader yet")
	}
	i := slices.Index(c.names, q.GetNodeName())
	if i < 0 {
		i = len(c.lives)
		c.lives, c.names = append(c.lives, flow.Node{ID: uint32(i + 1)}), append(c.names, q.GetNodeName())
		c.states, c.gone = append(c.states, 0), append(c.gone, false)
	} else if apiform.NodeOf(q.GetFencedLife()) != c.lives[i] {
		return nil, status.Errorf(codes.InvalidArgument, "%v joins again, and says that %v is over", c.lives[i], q.GetFencedLife())
	}
	c.lives[i].Inc = q.GetStoredIncarnation() + 1
	c.states[i], c.gone[i] = dpdv1.MemberState_MEMBER_STATE_JOINING, false
	c.joins++
	c.view++
	m := c.membership(i)
	// The view may reach the node before this answer does; it must not take a life from a call.
	conn, err := grpc.NewClient(q.GetControlAddress(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_, err = dpdv1.NewDataplaneServiceClient(conn).ApplyMembership(ctx, &dpdv1.ApplyMembershipRequest{Membership: m})
	c.early = append(c.early, err)
	k := clusterKeys()
	return &syncv1.JoinResponse{Life: m.GetSelf().GetLife(), Membership: m, Keys: &dpdv1.KeySet{
		Generation: 1, Keys: []*dpdv1.ClusterKey{{Id: 1, Secret: bytes.Repeat([]byte{7}, 32)}}, ActiveKeyId: 1, RssKey: k.RSS, DigestKey: k.Digest,
	}}, nil
}

func (c *coordinator) Leave(_ context.Context, q *syncv1.LeaveRequest) (*syncv1.LeaveResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = append(c.left, apiform.NodeOf(q.GetLife()))
	return &syncv1.LeaveResponse{}, nil
}

// show tells every member the view.
func (c *coordinator) show(ctx context.Context, nodes []dpdv1.DataplaneServiceClient) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.view++
	for i := range c.lives {
		if c.gone[i] {
			continue
		}
		if _, err := nodes[i].ApplyMembership(ctx, &dpdv1.ApplyMembershipRequest{Membership: c.membership(i)}); err != nil {
			c.t.Fatalf("view %d at node %d: %v", c.view, i, err)
		}
	}
}

func (c *coordinator) joined() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.joins
}

// wait works off what frames came for the hosts until f holds.
func wait(t *testing.T, what string, hosts []*dpdtest.Host, f func() bool) {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !f() {
		<-tick.C
		now := time.Since(began)
		if now > 30*time.Second {
			t.Fatalf("in vain: %s", what)
		}
		for _, h := range hosts {
			h.Step(time.Now().UnixMilli())
		}
	}
}

// reach is how the control plane talks to a node that runs.
func reach(t *testing.T, n *Node) dpdv1.DataplaneServiceClient {
	t.Helper()
	conn, err := grpc.NewClient(n.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return dpdv1.NewDataplaneServiceClient(conn)
}

func runServices(revision uint64) *dpdv1.ApplyConfigRequest {
	q := &dpdv1.ApplyConfigRequest{Revision: revision}
	for i, s := range [][2]string{{"192.0.2.1", rs4}, {"2001:db8:f::1", rs6}} {
		q.Services = append(q.Services, &dpdv1.Service{
			Id: uint32(i + 1), Name: fmt.Sprint("s", i), Vip: s[0], Port: 80, Protocol: dpdv1.Protocol_PROTOCOL_TCP,
			Mode: dpdv1.ForwardingMode_FORWARDING_MODE_FULLNAT, Algorithm: dpdv1.Algorithm_ALGORITHM_WLC,
			Servers: []*dpdv1.Server{{Id: uint32(i + 1), Name: "a", Address: s[1], Port: 8080, Weight: uint32(revision)}},
		})
	}
	return q
}

func TestNodesRunJoinServeAndStop(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) }) // last, after every client is closed
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	co := &coordinator{t: t, refused: map[string]bool{}}
	srv := grpc.NewServer()
	syncv1.RegisterCoordinatorServiceServer(srv, co)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	defer func() {
		srv.Stop()
		if err := <-served; err != nil {
			t.Errorf("the coordinator's server ended with %v", err)
		}
	}()

	sw := dpdtest.NewSwitch(3)
	client := dpdtest.NewHost(sw, [6]byte{2, 0, 0, 0, 9, 1}, nodeMAC(0), dpdtest.Addr("10.0.0.2"), dpdtest.Addr("fd00::2"))
	server := dpdtest.NewHost(sw, [6]byte{2, 0, 0, 0, 9, 2}, nodeMAC(0), dpdtest.Addr(rs4), dpdtest.Addr(rs6))
	server.Listen(8080, func(s *dpdtest.Conn) { s.OnData = func(s *dpdtest.Conn, b []byte) { s.Write(b) } })
	hosts := []*dpdtest.Host{client, server}

	type running struct {
		n    *Node
		stop context.CancelFunc
		done chan error
	}
	var nodes []running
	var api []dpdv1.DataplaneServiceClient
	stop := func(r *running) {
		t.Helper()
		r.stop()
		select {
		case err := <-r.done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("Run does not end")
		}
		r.n.dev.(*memory).port.Drain()
		dpdtest.CheckLeaks(t, r.n.dev.(*memory).pool)
	}
	for i := range 2 {
		cfg := config.Default()
		cfg.Node = config.Node{Name: fmt.Sprintf("lb-%d", i+1), DataDir: t.TempDir()}
		cfg.Workers, cfg.Announce, cfg.Poll = 2, config.AnnounceNone, config.PollAdaptive
		cfg.Control.Coordinators = []string{"127.0.0.1:1", l.Addr().String()} // the first is nobody
		cfg.Table = config.Table{SessionsV4: 4096, SessionsV6: 4096}
		cfg.Ports = []config.Port{{Name: "p0", Device: "memory", MTU: 1500, Addresses: []netip.Prefix{
			netip.MustParsePrefix(fmt.Sprintf("10.0.0.1%d/24", i)), netip.MustParsePrefix(fmt.Sprintf("fd00::1%d/64", i)),
		}}}
		pool := dpdtest.NewPool(4096)
		p := dpdtest.NewPort(pool, dpdtest.PortConfig{Name: "memory", MAC: nodeMAC(i), RxQueues: 2, TxQueues: 3, Queue: func(f []byte) int { return len(f) & 1 }})
		sw.Attach(p)
		n, err := New(cfg, Options{Devices: &memory{p, pool}, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		r := running{n, cancel, make(chan error, 1)}
		go func() { r.done <- n.Run(ctx) }()
		nodes, api = append(nodes, r), append(api, reach(t, n))
		wait(t, "join", hosts, func() bool { return co.joined() == i+1 })
	}
	wait(t, "lives", hosts, func() bool { return nodes[1].n.lifeNow() == co.lives[1] })
	for i, err := range co.early {
		if status.Code(err) != codes.FailedPrecondition {
			t.Errorf("node %d took a view before it was anybody: %v", i, err)
		}
	}
	ctx := t.Context()
	for _, c := range api {
		if _, err := c.ApplyConfig(ctx, runServices(1)); err != nil {
			t.Fatal(err)
		}
	}
	co.show(ctx, api)
	stock := func(from, to int) {
		t.Helper()
		if _, err := api[from].StartBulkSync(ctx, &dpdv1.StartBulkSyncRequest{Direction: &dpdv1.StartBulkSyncRequest_To{To: apiform.Life(co.lives[to])}}); err != nil {
			t.Fatal(err)
		}
	}
	stock(0, 1)
	stock(1, 0)
	wait(t, "ready", hosts, func() bool {
		return nodes[0].n.Status().State == control.StateReady && nodes[1].n.Status().State == control.StateReady
	})
	co.states[0], co.states[1] = dpdv1.MemberState_MEMBER_STATE_ADMITTED, dpdv1.MemberState_MEMBER_STATE_ADMITTED
	co.show(ctx, api)
	client.Via = func(i *packet.Info) [6]byte { return nodeMAC(int(i.SrcPort()) % 2) }
	server.Via = func(i *packet.Info) [6]byte { return nodeMAC(int(i.DstPort()>>3) % 2) }

	// Readers and writers of everything beside the traffic.
	busy, quiet := context.WithCancel(ctx)
	var others sync.WaitGroup
	for i, c := range api {
		others.Go(func() {
			for rev := uint64(2); busy.Err() == nil; rev++ {
				_, err := c.ApplyConfig(busy, runServices(rev))
				_, err2 := c.GetStats(busy, &dpdv1.GetStatsRequest{})
				_, err3 := c.GetInfo(busy, &dpdv1.GetInfoRequest{})
				s, err4 := c.ListSessions(busy, &dpdv1.ListSessionsRequest{})
				for err4 == nil {
					_, err4 = s.Recv()
				}
				if errors.Is(err4, io.EOF) {
					err4 = nil
				}
				if err := errors.Join(err, err2, err3, err4); err != nil && busy.Err() == nil {
					t.Errorf("node %d: %v", i, err)
					return
				}
			}
		})
	}
	var conns []*dpdtest.Conn
	for i := range 24 {
		conns = append(conns, client.Dial(clientAddr(i%2 == 1, uint16(4000+i/2)), vipOf(i%2 == 1)))
	}
	wait(t, "establishment", hosts, func() bool {
		for _, k := range conns {
			if !k.Established() {
				return false
			}
		}
		return true
	})
	talk := func(what string, size int) {
		t.Helper()
		var want []int
		for _, k := range conns {
			want = append(want, len(k.Received())+size)
			k.Write(make([]byte, size))
		}
		wait(t, what, hosts, func() bool {
			for i, k := range conns {
				if k.Err() != nil {
					t.Fatalf("%s: connection %d: %v", what, i, k.Err())
				}
				if len(k.Received()) < want[i] {
					return false
				}
			}
			return true
		})
	}
	for range 3 {
		talk("echo", 20_000)
	}
	quiet()
	others.Wait()

	// The second node is removed by mistake: its peer says so, and it comes back as somebody else.
	former := co.lives[1]
	co.mu.Lock()
	co.gone[1] = true
	co.mu.Unlock()
	co.show(ctx, api)
	wait(t, "another life", hosts, func() bool { return co.joined() == 3 && nodes[1].n.lifeNow() != former })
	co.show(ctx, api)
	stock(0, 1)
	wait(t, "ready again", hosts, func() bool { return nodes[1].n.Status().State == control.StateReady })
	co.states[1] = dpdv1.MemberState_MEMBER_STATE_ADMITTED
	co.show(ctx, api)
	talk("echo with a new life", 20_000)

	stop(&nodes[0])
	if len(co.left) != 1 || co.left[0] != co.lives[0] {
		t.Errorf("who left: %v", co.left)
	}
	to1 := func(*packet.Info) [6]byte { return nodeMAC(1) }
	client.Via, server.Via = to1, to1
	co.gone[0] = true
	co.show(ctx, api)
	talk("echo over the survivor", 20_000)
	for _, k := range conns {
		k.Abort()
	}
	stop(&nodes[1])
	for _, n := range nodes {
		if _, err := n.n.ApplyConfig(shortly(t), services()); err == nil {
			t.Error("a node that has ended takes services")
		}
	}
}

// shortly ends before a thread that does not run has answered.
func shortly(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}
