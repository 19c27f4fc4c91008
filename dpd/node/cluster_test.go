package node

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/config"
	"github.com/holdfast-lb/holdfast/dpd/internal/control"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/steer"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
)

// memory is Devices without DPDK: one port on a switch in memory.
type memory struct {
	port *dpdtest.Port
	pool *dpdtest.Pool
}

func (m *memory) Ports() []port.Port { return []port.Port{m.port} }
func (m *memory) Pool() port.Pool    { return m.pool }
func (m *memory) Enter() error       { return nil }
func (m *memory) Leave()             {}
func (m *memory) Version() string    { return "" }
func (m *memory) Close() error       { return nil }
func (m *memory) Filter(_ int, rules []steer.Rule) (out []RuleResult) {
	for _, r := range rules {
		out = append(out, RuleResult{Rule: r, Reason: "in memory"})
	}
	return out
}

// cluster is nodes of the real data plane on one switch, with a client and a server, driven by one thread and a clock of
// its own: no goroutine of a Node runs, the test turns each worker and sync loop in order.
type cluster struct {
	t      *testing.T
	sw     *dpdtest.Switch
	nodes  []*Node
	dead   map[*Node]bool
	out    map[*Node]bool          // not in the view
	paused map[*Node]bool          // turns no more for now; its port still receives
	deaf   map[*Node]bool          // not told of views
	stuck  map[*worker.Worker]bool // a thread that stands still
	client *dpdtest.Host
	server *dpdtest.Host
	// to says which node gets a packet of client (in) or server; the router's choice.
	to     func(in bool, info *packet.Info) int
	view   uint64
	states map[*Node]control.MemberState
	plug   []int                         // port of the switch, by position
	incs   []uint64                      // of each node's life, by position
	holder map[int]int                   // of blocks by position, where it is not the node of that position
	room   int                           // sessions of each family that a node to be made has room for; at least 4096
	asleep map[*Node]bool                // the sync thread stands still
	adjust func(i int, c *config.Config) // of nodes to be made; may be nil
	now    int64
	// meanwhile, if not nil, comes before each turn while something is applied.
	meanwhile func()
}

const (
	vip4, vip6 = "192.0.2.1:80", "[2001:db8:f::1]:80"
	rs4, rs6   = "10.0.0.3", "fd00::3"
)

func nodeMAC(i int) [6]byte { return [6]byte{2, 0, 0, 0, 1, byte(i + 1)} }

// newCluster makes len(workers) nodes with that many workers each; rx is the number of receive queues of each port.
func newCluster(t *testing.T, rx int, workers ...int) *cluster {
	t.Helper()
	c := &cluster{t: t, sw: dpdtest.NewSwitch(7), dead: map[*Node]bool{}, out: map[*Node]bool{}, paused: map[*Node]bool{}, deaf: map[*Node]bool{}, holder: map[int]int{}, asleep: map[*Node]bool{}, stuck: map[*worker.Worker]bool{}, states: map[*Node]control.MemberState{}}
	c.to = func(bool, *packet.Info) int { return 0 }
	cl, sv := [6]byte{2, 0, 0, 0, 9, 1}, [6]byte{2, 0, 0, 0, 9, 2}
	c.client = dpdtest.NewHost(c.sw, cl, [6]byte{}, dpdtest.Addr("10.0.0.2"), dpdtest.Addr("fd00::2"))
	c.server = dpdtest.NewHost(c.sw, sv, [6]byte{}, dpdtest.Addr(rs4), dpdtest.Addr(rs6))
	c.client.Via = func(i *packet.Info) [6]byte { return nodeMAC(c.to(true, i)) }
	c.server.Via = func(i *packet.Info) [6]byte { return nodeMAC(c.to(false, i)) }
	for i, n := range workers {
		c.add(i, n, rx)
	}
	return c
}

// add makes one more node.
func (c *cluster) add(i, workers, rx int) {
	c.t.Helper()
	c.nodes, c.incs, c.plug = append(c.nodes, nil), append(c.incs, 1), append(c.plug, 0)
	c.start(i, workers, rx)
}

// restart begins a new life of a dead node, which remembers nothing.
func (c *cluster) restart(i, workers, rx int) {
	c.t.Helper()
	c.incs[i]++
	c.start(i, workers, rx)
}

func (c *cluster) start(i, workers, rx int) {
	c.t.Helper()
	cfg := config.Default()
	cfg.Node = config.Node{Name: fmt.Sprintf("lb-%d", i+1), DataDir: c.t.TempDir()}
	cfg.Workers, cfg.Announce, cfg.Poll = workers, config.AnnounceNone, config.PollAdaptive
	cfg.Table = config.Table{SessionsV4: max(c.room, 4096), SessionsV6: max(c.room, 4096)}
	cfg.Ports = []config.Port{{Name: "p0", Device: "memory", MTU: 1500, RxDesc: dpdtest.DefaultDepth, Addresses: []netip.Prefix{
		netip.MustParsePrefix(fmt.Sprintf("10.0.0.1%d/24", i)), netip.MustParsePrefix(fmt.Sprintf("fd00::1%d/64", i)),
	}}}
	if c.adjust != nil {
		c.adjust(i, &cfg)
	}
	pool := dpdtest.NewPool(4096)
	p := dpdtest.NewPort(pool, dpdtest.PortConfig{Name: "memory", MAC: nodeMAC(i), RxQueues: rx, TxQueues: workers + 1, Queue: func(f []byte) int {
		from, to := 14+12, 14+24 // addresses and ports
		if len(f) > 14 && f[14]>>4 == 6 {
			from, to = 14+8, 14+44
		}
		sum := 0
		for _, b := range f[min(from, len(f)):min(to, len(f))] {
			sum += int(b)
		}
		return sum % rx // any queue, but one for a flow, as a device does that knows no rules
	}})
	c.plug[i], _ = c.sw.Attach(p)
	n, err := New(cfg, Options{Devices: &memory{p, pool}, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(n.server.grpc.Close)
	c.nodes[i] = n
	c.states[n] = control.Admitted
	n.rewind(func() (uint32, int64) { return firstTick + uint32(c.now), 1_700_000_000_000 + c.now })
	c.t.Cleanup(func() {
		p.Drain()
		dpdtest.CheckLeaks(c.t, pool)
	})
}

// rewind gives every thread of a node that does not run another clock.
func (n *Node) rewind(clock func() (uint32, int64)) {
	n.clock = clock
	n.real = func() int64 { _, now := clock(); return now }
	for _, w := range n.workers {
		w.SetClock(clock)
	}
	n.loop.SetClock(clock)
}

// run lets ms milliseconds pass: each node turns once a millisecond, then the hosts.
func (c *cluster) run(ms int64) {
	dpdtest.Loop(c.sw, ms, func(int64) {
		c.now++
		c.turn()
		c.client.Step(c.now)
		c.server.Step(c.now)
	})
}

// rest lets ms milliseconds pass in steps of 20, for times in which little happens.
func (c *cluster) rest(ms int64) {
	for end := c.now + ms; c.now < end; {
		c.now += 20
		c.sw.Advance(c.sw.Now() + 20)
		c.turn()
		c.client.Step(c.now)
		c.server.Step(c.now)
	}
}

func (c *cluster) turn() {
	for _, n := range c.nodes {
		if c.dead[n] || c.paused[n] {
			continue
		}
		for _, w := range n.workers {
			if !c.stuck[w] {
				w.Turn()
			}
		}
		if !c.asleep[n] {
			n.loop.Turn()
		}
	}
}

// apply runs what talks to the threads of a node while they are turned here, without time passing.
func (c *cluster) apply(f func(ctx context.Context) error) {
	c.t.Helper()
	done := make(chan error, 1)
	go func() { done <- f(context.Background()) }()
	for {
		select {
		case err := <-done:
			if err != nil {
				c.t.Fatal(err)
			}
			return
		default:
			if c.meanwhile != nil {
				c.meanwhile()
			}
			c.turn()
			runtime.Gosched()
		}
	}
}

func (c *cluster) life(i int) flow.Node { return flow.Node{ID: uint32(i + 1), Inc: c.incs[i]} }

// membership is the present view as node i is told of it.
func (c *cluster) membership(i int) (m control.Membership) {
	m.View = c.view
	for k, n := range c.nodes {
		b := control.Block{ID: uint32(k + 1), Addrs: []netip.Addr{dpdtest.Addr(fmt.Sprintf("10.8.0.%d", k+1)), dpdtest.Addr(fmt.Sprintf("fd08::%d", k+1))}, Holder: c.life(k), Epoch: 1, Allocatable: true}
		if h, ok := c.holder[k]; ok {
			b.Holder = c.life(h)
		}
		m.Blocks = append(m.Blocks, b)
		if c.dead[n] || c.out[n] {
			continue
		}
		p := control.Member{
			Life: c.life(k), Name: n.cfg.Node.Name, SIP: [2]netip.Addr{dpdtest.Addr(fmt.Sprintf("10.0.0.9%d", k+1)), dpdtest.Addr(fmt.Sprintf("fd00::9%d", k+1))},
			SyncPort: 7946, State: c.states[n],
		}
		m.Members = append(m.Members, p)
		if k == i {
			m.Self = p
		}
	}
	return m
}

func clusterKeys() control.Keys {
	k := control.Keys{Generation: 1, Keys: []control.Key{{ID: 1, Secret: bytes.Repeat([]byte{7}, 32)}}, Active: 1, RSS: make([]byte, 40), Digest: make([]byte, 16)}
	for i := range k.RSS {
		k.RSS[i] = byte(i*37 + 11)
	}
	return k
}

// show puts a view with all nodes that live in force everywhere: by the coordinator's answer to a join where a life
// begins, else by its call.
func (c *cluster) show() {
	c.t.Helper()
	c.view++
	for i, n := range c.nodes {
		if c.dead[n] || c.deaf[n] || c.out[n] {
			continue
		}
		m := c.membership(i)
		c.apply(func(ctx context.Context) error {
			if n.lifeNow() != m.Self.Life {
				return n.become(ctx, assignment{membership: m, keys: clusterKeys()})
			}
			_, err := n.ApplyMembership(ctx, m)
			return err
		})
		c.configure(n, services())
	}
	c.run(300) // links, neighbours
}

func (c *cluster) configure(n *Node, cfg control.Config) {
	c.t.Helper()
	c.apply(func(ctx context.Context) error { _, err := n.ApplyConfig(ctx, cfg); return err })
}

func services() control.Config {
	svc := func(id uint32, vip, rs string, proto uint8) control.Service {
		return control.Service{
			ID: id, Name: fmt.Sprint("s", id), VIP: dpdtest.AP(vip), Proto: proto, Mode: flow.FullNAT, Algorithm: control.RoundRobin,
			Servers: []control.Server{{ID: id, Name: "a", Addr: netip.AddrPortFrom(dpdtest.Addr(rs), 8080), Weight: 1, State: control.Up}},
		}
	}
	return control.Config{Revision: 1, Services: []control.Service{
		svc(1, vip4, rs4, flow.ProtoTCP), svc(2, vip6, rs6, flow.ProtoTCP), svc(3, vip4, rs4, flow.ProtoUDP), svc(4, vip6, rs6, flow.ProtoUDP),
	}}
}

// echo makes the server send back what it gets, and close when the client does.
func (c *cluster) echo() {
	c.server.Listen(8080, func(s *dpdtest.Conn) {
		s.OnData = func(s *dpdtest.Conn, b []byte) { s.Write(b) }
	})
	c.server.OnUDP = func(_, _ netip.AddrPort, p []byte) []byte { return p }
}

func clientAddr(v6 bool, port uint16) netip.AddrPort {
	if v6 {
		return netip.AddrPortFrom(dpdtest.Addr("fd00::2"), port)
	}
	return netip.AddrPortFrom(dpdtest.Addr("10.0.0.2"), port)
}

func vipOf(v6 bool) netip.AddrPort {
	if v6 {
		return dpdtest.AP(vip6)
	}
	return dpdtest.AP(vip4)
}

// sessions lists a node's records.
func (c *cluster) sessions(n *Node) (out []flow.Session) {
	c.t.Helper()
	c.apply(func(ctx context.Context) error {
		return n.Sessions(ctx, func(*flow.Session) bool { return true }, func(s *flow.Session, _ int) bool { out = append(out, *s); return true })
	})
	return out
}

// sum is a counter over all workers of a node.
func (c *cluster) sum(n *Node, name string) (v uint64) {
	var s control.Stats
	c.run(11) // workers publish every 10 ms
	c.apply(func(context.Context) error { s = n.Stats(); return nil })
	for _, w := range s.Workers {
		for _, x := range append(w.Counters, w.Drops...) {
			if x.Name == name {
				v += x.Value
			}
		}
	}
	return v
}

// forget removes every record of a node's tables behind the back of everyone.
func (c *cluster) forget(n *Node) {
	c.apply(func(ctx context.Context) error {
		return n.each(ctx, func(w *worker.Worker) {
			t := w.Table()
			for cursor := uint32(0); ; {
				cursor = t.Scan(cursor, 1<<20, func(h flow.Handle) { t.Remove(h) })
				if cursor == 0 {
					return
				}
			}
		})
	})
}

func newRand() func() float64 { return rand.New(rand.NewPCG(3, 4)).Float64 }
