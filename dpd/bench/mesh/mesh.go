package mesh

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/localport"
	"github.com/holdfast-lb/holdfast/dpd/internal/sched"
	"github.com/holdfast-lb/holdfast/dpd/internal/steer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncseal"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
)

// Config of a Mesh.
type Config struct {
	Nodes   int // at most MaxNodes
	Workers int // of each node; 0 means 1
	Room    int // sessions that a node's tables hold
	Ended   int // closed ones that it remembers; 0 means 1 Mi
	MTU     int // of the links, IP packets; 0 means 1500
	// Rounds of each millisecond. An idle thread of a real node has hundreds of turns in a
	// millisecond, a loaded one some dozens; what is bounded by the turn needs enough of them.
	Rounds  int
	Servers int // of each service; 0 means 16
	Laddrs  int // of each node; 0 means 8
	Seed    uint64

	// What follows is for runs in which nodes come and go.

	Bare  bool // no node is there before Start
	Rings int  // slots of the rings between workers and sync thread, a power of two; 0 means 8192
	Ports int  // local addresses by server and bucket that a worker's pool knows; 0 means 1 Mi
	Lasts int  // seconds of idleness that an established connection of TCP may last; 0 means the table's default
	Off   syncer.Rules
	// Wrap may stand between each shard and its pool of ports.
	Wrap func(*localport.Pool) syncer.Ports
}

// MaxNodes bounds a mesh: the addresses of a node hold its number in one byte.
const MaxNodes = 16

// Mesh is nodes on a router, under one clock. One thread.
type Mesh struct {
	Nodes   []*Node
	Traffic *Traffic // nil: none
	// Drop says whether a sync datagram is lost on its way; nil: none is.
	Drop func(from, to int) bool
	// Carry takes a sync datagram to bring it to its node later or never; nil, or false: it arrives at once. The frame is lent.
	Carry func(from, to int, frame []byte) bool
	// Arrived takes what a node sends to clients and servers where there is no Traffic. The frame is lent.
	Arrived func(from *Node, frame []byte)
	// Around, if not nil, is called with the work of each thread and has to do it: a benchmark
	// measures it there.
	Around func(n *Node, sync bool, turn func() bool)

	cfg      Config
	now      int64 // milliseconds since the start
	tick     uint32
	epoch    uint64
	schedule *sched.Snapshot
	rnd      *rand.ChaCha8
	rounds   uint32 // since the start
}

// Where the clocks begin.
const (
	firstTick = 5_000
	firstWall = 1_700_000_000_000
)

// New makes the nodes; they know each other from the first View on.
func New(c Config) (_ *Mesh, err error) {
	for p, v := range map[*int]int{&c.Workers: 1, &c.MTU: 1500, &c.Rounds: 1, &c.Servers: 16, &c.Laddrs: 8} {
		if *p == 0 {
			*p = v
		}
	}
	if c.Nodes < 1 || c.Nodes > MaxNodes || c.Laddrs > 250 || c.Servers > 250 {
		return nil, fmt.Errorf("mesh: bad config %+v", c)
	}
	m := &Mesh{cfg: c, tick: firstTick}
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], c.Seed)
	m.rnd = rand.NewChaCha8(seed)
	if m.schedule, err = sched.Compile(services(&c), nil); err != nil {
		return nil, err
	}
	if c.Bare {
		m.Nodes = make([]*Node, c.Nodes)
		return m, nil
	}
	for i := range c.Nodes {
		n, err := m.newNode(i)
		if err != nil {
			return nil, errors.Join(err, m.Close())
		}
		m.Nodes = append(m.Nodes, n)
	}
	for _, n := range m.Nodes {
		if err := m.configure(n); err != nil {
			return nil, errors.Join(err, m.Close())
		}
	}
	return m, nil
}

// Close gives all memory back.
func (m *Mesh) Close() (err error) {
	for _, n := range m.Nodes {
		if n != nil {
			err = errors.Join(err, n.close())
		}
	}
	return err
}

// Now is the time since the start in milliseconds.
func (m *Mesh) Now() int64 { return m.now }

// Wall is the same as nodes see it.
func (m *Mesh) Wall() int64 { return firstWall + m.now }

func (m *Mesh) clock() (uint32, int64) { return m.tick, firstWall + m.now }

// Step lets a millisecond pass.
func (m *Mesh) Step() {
	m.now++
	m.tick++
	for r := range m.cfg.Rounds {
		m.rounds++
		if m.Traffic != nil {
			m.Traffic.step(r, m.cfg.Rounds)
		}
		m.turn()
	}
}

// Rest lets so many milliseconds pass in steps of five, for times in which little happens. Traffic
// stands still meanwhile.
func (m *Mesh) Rest(ms int64) {
	for ; ms > 0; ms -= restStep {
		m.now += restStep
		m.tick += restStep
		for range 2 * m.cfg.Rounds {
			m.turn()
		}
	}
}

const restStep = 5

// turn lets each thread turn once.
func (m *Mesh) turn() {
	for _, n := range m.Nodes {
		if n != nil {
			n.turnWorkers()
		}
	}
	for _, n := range m.Nodes {
		if n != nil {
			n.turnSync()
		}
	}
}

func (m *Mesh) do(n *Node, sync bool, turn func() bool) {
	if m.Around != nil {
		m.Around(n, sync, turn)
		return
	}
	turn()
}

// apply runs what talks to threads and waits for them, while they are turned here without time
// passing.
func (m *Mesh) apply(f func(context.Context) error) error {
	done := make(chan error, 1)
	go func() { done <- f(context.Background()) }()
	for {
		select {
		case err := <-done:
			return err
		default:
			m.turn()
			runtime.Gosched()
		}
	}
}

// configure gives a node services, addresses and steering.
func (m *Mesh) configure(n *Node) error {
	sc := steer.Config{
		Map: n.buckets, SyncQueue: uint16(m.cfg.Workers), SyncPort: syncPort, Sips: []netip.Addr{sip(n.index)},
		VIPs: []netip.Prefix{netip.PrefixFrom(vip, 32)},
	}
	for i := range sc.Key {
		sc.Key[i] = byte(i*37 + 11)
	}
	for i := range m.cfg.blocks() {
		for l := range m.cfg.Laddrs {
			sc.Laddrs = append(sc.Laddrs, netip.PrefixFrom(laddr(i, l), 32))
		}
	}
	rules, err := steer.Rules(&sc)
	if err != nil {
		return err
	}
	interp, err := steer.NewInterpreter(steer.NewHasher(sc.Key), rules)
	if err != nil {
		return err
	}
	n.view = worker.View{Steer: interp, Schedule: m.schedule, Ask: true}
	if m.cfg.Bare {
		return nil
	}
	var blocks []netip.Addr
	for l := range m.cfg.Laddrs {
		blocks = append(blocks, laddr(n.index, l))
	}
	return m.apply(func(ctx context.Context) (err error) {
		for _, w := range n.Workers {
			err = errors.Join(err, w.SetBlocks(ctx, blocks), w.SetView(ctx, n.view))
		}
		return err
	})
}

// services are one of TCP and one of UDP.
func services(cfg *Config) *sched.Config {
	c := &sched.Config{}
	for id, p := range []struct {
		proto uint8
		port  uint16
	}{{flow.ProtoTCP, tcpPort}, {flow.ProtoUDP, udpPort}} {
		svc := sched.ServiceConfig{
			ID: uint32(id + 1), VIP: netip.AddrPortFrom(vip, p.port), Proto: p.proto, Mode: flow.FullNAT, Algorithm: sched.RR,
		}
		if p.proto == flow.ProtoUDP {
			for _, s := range []flow.State{flow.UDPNone, flow.UDPOneWay, flow.UDPNormal} {
				svc.Timeouts[s] = udpTimeout
			}
		} else if t := uint32(cfg.Lasts); t != 0 {
			svc.Timeouts[flow.TCPEstablished] = t
			svc.Timeouts[flow.TCPFinWait], svc.Timeouts[flow.TCPCloseWait] = t, t
		}
		for i := range cfg.Servers {
			svc.Servers = append(svc.Servers, sched.ServerConfig{
				ID: uint32(1000*id + i + 1), Addr: netip.AddrPortFrom(server(i), p.port+8000), Weight: 1,
				State: sched.Up,
			})
		}
		c.Services = append(c.Services, svc)
	}
	return c
}

// keys are the cluster's.
func keys() syncseal.Key {
	k := syncseal.Key{ID: 1}
	for i := range k.Secret {
		k.Secret[i] = 7
	}
	return k
}
