// Package course is a race course for one real worker: a service with fifty servers, any number of established FullNAT
// sessions, and traffic that circles through rings past the worker.
//
//	feed ──> ring 0..14 ──> worker.Turn ──> ring 15 ──> feed ...
//
// Feed makes each packet that came out the next one of a long random order over the sessions, half of them client's
// and half of them server's, by copying 64 bytes over it. It runs between the turns and its time does not count. Over 13
// thousand packets are under way, so what the worker receives has left the first caches, as with a device's rings; Leave can
// take it out of all of them.
package course

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/localport"
	"github.com/holdfast-lb/holdfast/dpd/internal/neigh"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/ring"
	"github.com/holdfast-lb/holdfast/dpd/internal/sched"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
	"github.com/holdfast-lb/holdfast/dpd/internal/steer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
)

const (
	// Queues that the port of a course must have, each leading back to itself.
	Queues = inputs + 1
	inputs = 15
	// Lap is the number of packets that pass in one Lap: those of one ring.
	Lap = laps * port.BurstMax
	// laps is the number of bursts that wait in each ring.
	laps = 14
	// Packets that the pool of a course must have at least.
	Packets = Lap*Queues + 1024
	frame   = 64 // bytes of each packet
	// servers is less than the neighbours that the host part learns in a second.
	servers = 50
)

var (
	self  = flow.Node{ID: 1, Inc: 1}
	vip   = netip.MustParseAddrPort("198.51.100.1:80")
	peers = [6]byte{2, 0, 0, 0, 9, 9} // MAC of every neighbour

	outside = netip.MustParsePrefix("10.0.0.10/24")
	gateway = netip.MustParseAddr("10.0.0.1") // to the clients
	inside  = netip.MustParsePrefix("192.168.0.254/24")
)

// Config of a course.
type Config struct {
	Sessions int // established ones that are in the table from the start
	// Order is the length of the random order over tuples that the traffic repeats.
	Order int
	// Room for sessions that the traffic opens. None of them is answered, and such may take a quarter of the table.
	Room int
	Port port.Port
	Pool port.Pool
	Seed uint64
}

// Course is a worker with its traffic. One thread.
type Course struct {
	cfg    Config
	Worker *worker.Worker
	// Leave, if not nil, gets what Feed wrote before it goes in.
	Leave   func(*port.Batch)
	valve   valve
	table   *conntrack.Table
	ports   *localport.Pool
	queues  [inputs][]int // of one ring each, for SetRx
	level   [inputs]int   // packets in each ring
	last    int           // ring that had its turn
	interp  *steer.Interpreter
	mac     [6]byte
	start   time.Time
	feed    func(data []byte)
	order   []byte // frames, one after the other
	next    int    // offset into order
	fresh   uint32 // clients that began so far
	rnd     *rand.Rand
	servers []sched.ServerConfig
	stray   port.Batch
	warm    [2]uint64  // empty turns, and turns, before what is measured
	in, out port.Batch // of Feed and Straight; on the stack they would escape through the port's interface
}

// New builds the worker and inserts the sessions.
func New(cfg Config) (_ *Course, err error) {
	c := &Course{cfg: cfg, mac: [6]byte{2, 0, 0, 0, 0, 1}, start: time.Now(), rnd: rand.New(rand.NewPCG(cfg.Seed, 1)), ports: localport.New(0)}
	c.valve.Port = cfg.Port
	for q := range c.queues {
		c.queues[q] = []int{q}
	}
	if c.table, err = conntrack.New(conntrack.Config{CapacityV4: cfg.Sessions + 4*cfg.Room + 1024, CapacityV6: 1}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if err := c.table.SetSelf(self); err != nil {
		return nil, err
	}
	if err := c.build(); err != nil {
		return nil, err
	}
	if err := c.configure(); err != nil {
		return nil, err
	}
	if cfg.Sessions > 0 {
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Close gives the memory of the table and the traffic back; packets are the port's.
func (c *Course) Close() error {
	err := c.table.Close()
	if c.order != nil {
		err = errors.Join(err, unix.Munmap(c.order))
		c.order = nil
	}
	return err
}

func (c *Course) clock() (tick uint32, wall int64) {
	ms := time.Since(c.start).Milliseconds()
	return 5000 + uint32(ms), 1_700_000_000_000 + ms
}

// build makes the worker with its host part, as a node does.
func (c *Course) build() error {
	m, err := steer.NewMap(1)
	if err != nil {
		return err
	}
	pub := &neigh.Publisher{}
	tick, _ := c.clock()
	host, err := neigh.New(tick, neigh.Config{
		Ports: []neigh.Port{{
			MAC: c.mac, MTU: 1500, Addresses: []netip.Prefix{outside, inside},
			Routes: []neigh.Route{{To: netip.MustParsePrefix("0.0.0.0/0"), Via: gateway}},
		}},
		Pool: c.cfg.Pool, Publisher: pub, Send: func(dev int, p port.Packet) { c.Worker.SendFromHost(dev, p) },
	})
	if err != nil {
		return err
	}
	c.Worker = worker.New(worker.Config{
		Map: &m, Queues: []worker.Queue{{Port: &c.valve, Tx: inputs, MAC: packet.MACWord(c.mac)}}, Pool: c.cfg.Pool, Table: c.table,
		Ports: c.ports, Host: host, Routes: pub, Clock: c.clock,
		Shard: syncer.New(syncer.Config{Self: self, Owns: func(flow.Bucket) bool { return true }}, c.table, c.ports),
		Links: worker.Links{
			HandTo: make([]*ring.SPSC[worker.Handed], 1), HandFrom: make([]*ring.SPSC[worker.Handed], 1), Sync: ring.New[port.Packet](64),
			Inbox: ring.New[syncer.Delivery](64), Outbox: ring.New[syncer.Action](1024),
		},
	})
	return nil
}

// configure gives the worker its service, addresses and steering.
func (c *Course) configure() error {
	svc := sched.ServiceConfig{ID: 1, VIP: vip, Proto: flow.ProtoTCP, Mode: flow.FullNAT, Algorithm: sched.RR}
	for i := range servers {
		svc.Servers = append(svc.Servers, sched.ServerConfig{
			ID: uint32(i + 1), Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, 0, byte(i + 1)}), 8080), Weight: 1, State: sched.Up,
		})
	}
	c.servers = svc.Servers
	snap, err := sched.Compile(&sched.Config{Services: []sched.ServiceConfig{svc}}, nil)
	if err != nil {
		return err
	}
	sc := steer.Config{SyncQueue: 1, SyncPort: 7000, Sips: []netip.Addr{netip.MustParseAddr("10.3.0.1")}, VIPs: []netip.Prefix{netip.PrefixFrom(vip.Addr(), 32)}}
	var laddrs []netip.Addr
	for i := range 8 {
		a := netip.AddrFrom4([4]byte{10, 1, 0, byte(i + 1)})
		laddrs = append(laddrs, a)
		sc.Laddrs = append(sc.Laddrs, netip.PrefixFrom(a, 32))
	}
	for i := range sc.Key {
		sc.Key[i] = byte(c.rnd.Uint32())
	}
	rules, err := steer.Rules(&sc)
	if err != nil {
		return err
	}
	if c.interp, err = steer.NewInterpreter(steer.NewHasher(sc.Key), rules); err != nil {
		return err
	}
	if err := c.ask(func(ctx context.Context) error {
		return errors.Join(c.Worker.SetBlocks(ctx, laddrs),
			c.Worker.SetView(ctx, worker.View{Steer: c.interp, Schedule: snap, Allocate: true}))
	}); err != nil {
		return err
	}
	return c.introduce()
}

// ask turns the worker while another goroutine has requests for it.
func (c *Course) ask(f func(context.Context) error) error {
	done := make(chan error, 1)
	go func() { done <- f(context.Background()) }()
	for {
		select {
		case err := <-done:
			return err
		default:
			c.Worker.SetRx(0, nil)
			c.Worker.Turn()
		}
	}
}

// errNoPort: the sessions asked for don't fit the local ports of a course.
var errNoPort = errors.New("course: no local port left")

// client is the source of the n-th client, n below 2^24: an address of its own in the upper half, the port in the lower. The
// addresses are spread, so that nothing that goes by the client's address meets it twice in a row.
func client(n uint32) uint64 {
	return uint64(0x0b000000|n*0x9e3779b1&0xffffff)<<32 | uint64(1024+n*0x85ebca6b>>17)
}

// fill inserts the sessions and writes the traffic over them.
func (c *Course) fill() error {
	n := c.cfg.Sessions
	reply := make([]flow.Key, n)
	var s flow.Session
	dst := uint64(0xc6336401)
	for i := range n {
		src := client(uint32(i))
		s = flow.Session{
			Orig:  flow.Key{Addr: [4]uint64{src&^0xffffffff | dst}, Meta: src<<48 | 80<<32 | flow.ProtoTCP<<8 | flow.IPv4},
			Birth: flow.Birth(i + 1), Owner: self, Term: 1, Ver: 2, Service: 1, Mode: flow.FullNAT, State: flow.TCPEstablished,
			Seq: [2]flow.SeqHint{{Next: 1000, Ack: 5000, Window: 512, Seen: true}, {Next: 5000, Ack: 1000, Window: 512, Seen: true}},
		}
		srv := &c.servers[i%len(c.servers)]
		s.Server, s.Bucket = srv.ID, flow.Bucket(c.interp.Bucket(s.Orig.Addr, s.Orig.Meta))
		var ok bool
		if s.Reply, ok = c.ports.Take(s.Bucket, localport.EndpointOf(flow.ProtoTCP, srv.Addr)); !ok {
			return fmt.Errorf("%w: session %d", errNoPort, i)
		}
		if _, err := c.table.Insert(&s); err != nil {
			return fmt.Errorf("course: session %d: %w", i, err)
		}
		reply[i] = s.Reply
	}
	c.fresh = uint32(n)
	order, err := mapped(c.cfg.Order * frame)
	if err != nil {
		return err
	}
	c.order = order
	for i := range c.cfg.Order {
		j := c.rnd.IntN(n)
		src := client(uint32(j))
		k := flow.Key{Addr: [4]uint64{src&^0xffffffff | dst}, Meta: src<<48 | 80<<32 | flow.ProtoTCP<<8 | flow.IPv4}
		seq, ack := uint32(990), uint32(5000) // ten bytes that reach as far as the session has seen
		if i&1 == 1 {
			k, seq, ack = reply[j], 4990, 1000
		}
		c.write(order[i*frame:][:frame], &k, seq, ack, packet.ACK)
	}
	return nil
}

// Counter is a count of the worker, as of its last publication.
func (c *Course) Counter(n stat.Counter) uint64 {
	counts, _ := c.Worker.Counters()
	return counts.Load(int(n))
}

// Publish turns the worker until it has published what it counted so far.
func (c *Course) Publish() {
	for before := c.Counter(stat.Turns); c.Counter(stat.Turns) == before; {
		c.Worker.SetRx(0, nil)
		c.Worker.Turn()
	}
}

// Empty is the share of the worker's turns since Warm that found nothing to do.
func (c *Course) Empty() float64 {
	empty, all := c.Counter(stat.EmptyTurns)-c.warm[0], c.Counter(stat.Turns)-c.warm[1]
	return float64(empty) / float64(max(all, 1))
}
