package worker_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/contain"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/localport"
	"github.com/holdfast-lb/holdfast/dpd/internal/neigh"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/ring"
	"github.com/holdfast-lb/holdfast/dpd/internal/sched"
	"github.com/holdfast-lb/holdfast/dpd/internal/steer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
)

// rig is the workers of a node with two devices, device 0 towards clients and device 1 towards servers, in one thread and under a
// clock of the test's.
type rig struct {
	t       testing.TB
	pool    *dpdtest.Pool
	dev     [2]*dpdtest.Port
	workers []*worker.Worker
	tables  []*conntrack.Table
	outbox  []*ring.SPSC[syncer.Action]
	interp  *steer.Interpreter
	tag     uint16 // of device 1
	tick    uint32
	queue   int // that frames come in by
	sent    func(dev int, frame []byte)
	before  func(worker int)    // each turn
	caught  func(contain.Panic) // what the workers contained
}

const rigServers = 4

var (
	rigSelf, rigPeer = flow.Node{ID: 1, Inc: 1}, flow.Node{ID: 2, Inc: 1}
	rigMAC           = [2][6]byte{{2, 0, 0, 0, 0, 0x10}, {2, 0, 0, 0, 0, 0x11}}
	rigNext          = [6]byte{2, 0, 0, 0, 9, 9} // every neighbour
	rigNets          = [2]netip.Prefix{netip.MustParsePrefix("10.0.0.10/24"), netip.MustParsePrefix("192.168.0.254/24")}
	rigGateway       = dpdtest.Addr("10.0.0.1")
	rigVIP           = dpdtest.AP("198.51.100.1:80")
	rigLaddr         = dpdtest.Addr("10.1.0.1")
)

func rigServer(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, 0, byte(i + 1)}), 8080)
}

func newRig(t testing.TB, workers int, tag uint16, room int) *rig {
	return newRigOn(t, workers, tag, room, func(p *dpdtest.Pool) port.Pool { return p })
}

// newRigOn makes a rig whose workers get their packets from a pool that stands for the rig's.
func newRigOn(t testing.TB, workers int, tag uint16, room int, pool func(*dpdtest.Pool) port.Pool) *rig {
	r := &rig{t: t, pool: dpdtest.NewPool(2048), tag: tag, tick: 5000, sent: func(int, []byte) {}, before: func(int) {}}
	for i := range r.dev {
		r.dev[i] = dpdtest.NewPort(r.pool, dpdtest.PortConfig{
			MAC: rigMAC[i], RxQueues: workers, TxQueues: workers, Queue: func([]byte) int { return r.queue },
		})
		r.dev[i].Connect(func(frame []byte) { r.sent(i, frame) })
	}
	t.Cleanup(func() {
		for _, d := range r.dev {
			d.Drain()
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		for _, w := range r.workers {
			w.Run(ctx)
		}
		for _, w := range r.workers {
			w.Empty()
		}
		for _, tab := range r.tables {
			if err := tab.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	m, err := steer.NewMap(workers)
	if err != nil {
		t.Fatal(err)
	}
	pub := &neigh.Publisher{}
	host, err := neigh.New(r.tick, neigh.Config{
		Ports: []neigh.Port{
			{MAC: rigMAC[0], MTU: 1500, Addresses: rigNets[:1], Routes: []neigh.Route{{To: netip.MustParsePrefix("0.0.0.0/0"), Via: rigGateway}}},
			{MAC: rigMAC[1], MTU: 1500, VLAN: tag, Addresses: rigNets[1:]},
		},
		Pool: r.pool, Publisher: pub, Send: func(dev int, p port.Packet) { r.workers[0].SendFromHost(dev, p) },
	})
	if err != nil {
		t.Fatal(err)
	}
	hand := make([][]*ring.SPSC[worker.Handed], workers) // from, to
	var toHost []*ring.SPSC[worker.Handed]
	for i := range hand {
		hand[i] = make([]*ring.SPSC[worker.Handed], workers)
		for j := range hand {
			if i != j {
				hand[i][j] = ring.New[worker.Handed](64)
			}
		}
		if i > 0 {
			toHost = append(toHost, ring.New[worker.Handed](256))
		}
	}
	r.caught = func(p contain.Panic) { t.Errorf("%s: %v\n%s", p.Place, p.Value, p.Stack) }
	for i := range workers {
		l := worker.Links{
			HandTo: hand[i], Sync: ring.New[port.Packet](64), Inbox: ring.New[syncer.Delivery](64), Outbox: ring.New[syncer.Action](1024),
		}
		for from := range hand {
			l.HandFrom = append(l.HandFrom, hand[from][i])
		}
		c := worker.Config{Index: i, Map: &m, Pool: pool(r.pool), Ports: localport.New(4096), Routes: pub, Links: l,
			Panicked: func(p contain.Panic) { r.caught(p) },
			Clock: func() (uint32, int64) {
				r.before(i)
				return r.tick, 1_700_000_000_000 + int64(r.tick)
			}}
		if i == 0 {
			c.Host, c.Links.HostFrom = host, toHost
		} else {
			c.Links.Host = toHost[i-1]
		}
		r.add(c, room)
	}
	r.configure(m)
	return r
}

// add makes a worker of the node.
func (r *rig) add(c worker.Config, room int) {
	var w *worker.Worker
	var err error
	if c.Table, err = conntrack.New(conntrack.Config{CapacityV4: room, CapacityV6: 1,
		OnEvict: func(_ flow.Handle, s *flow.Session) { w.Evicted(s) }, OnUncount: func(id uint32) { w.Uncounted(id) }}); err != nil {
		r.t.Fatal(err)
	}
	if err := c.Table.SetSelf(rigSelf); err != nil {
		r.t.Fatal(err)
	}
	i, m := c.Index, c.Map
	for d, tag := range [2]uint16{0, r.tag} { // received from twice a turn, so that more goes out than one burst
		a := rigNets[d].Addr().As4()
		c.Queues = append(c.Queues, worker.Queue{Port: r.dev[d], Rx: []int{i, i}, Tx: i, MAC: packet.MACWord(rigMAC[d]), VLAN: tag,
			Speak4: uint64(a[0])<<24 | uint64(a[1])<<16 | uint64(a[2])<<8 | uint64(a[3])})
	}
	c.Shard = syncer.New(syncer.Config{Self: rigSelf, Owns: func(b flow.Bucket) bool { return m.Worker(uint8(b)) == i }}, c.Table, c.Ports)
	members := []syncer.Member{{Node: rigSelf, Admitted: true}, {Node: rigPeer, Admitted: true}} // whom misses are asked of; it never answers
	c.Shard.SetView(1_700_000_000_000, &syncer.View{Epoch: 1, Self: rigSelf, Members: members})
	w = worker.New(c)
	r.workers, r.tables, r.outbox = append(r.workers, w), append(r.tables, c.Table), append(r.outbox, c.Links.Outbox)
}

// configure gives the workers services, addresses and steering.
func (r *rig) configure(m steer.Map) {
	var cfg sched.Config
	for id, proto := range []uint8{flow.ProtoTCP, flow.ProtoUDP} {
		svc := sched.ServiceConfig{ID: uint32(id + 1), VIP: rigVIP, Proto: proto, Mode: flow.FullNAT, Algorithm: sched.RR}
		for i := range rigServers {
			svc.Servers = append(svc.Servers, sched.ServerConfig{ID: uint32(10*id + i + 1), Addr: rigServer(i), Weight: 1, State: sched.Up})
		}
		cfg.Services = append(cfg.Services, svc)
	}
	snap, err := sched.Compile(&cfg, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	var key steer.Key
	for rnd, i := rand.New(rand.NewPCG(3, 1)), 0; i < len(key); i++ {
		key[i] = byte(rnd.Uint32())
	}
	sc := steer.Config{Key: key, Map: m, SyncQueue: uint16(len(r.workers)), SyncPort: 7000, Sips: []netip.Addr{dpdtest.Addr("10.3.0.1")},
		Laddrs: []netip.Prefix{netip.PrefixFrom(rigLaddr, 32)}, VIPs: []netip.Prefix{netip.PrefixFrom(rigVIP.Addr(), 32)}}
	rules, err := steer.Rules(&sc)
	if err != nil {
		r.t.Fatal(err)
	}
	if r.interp, err = steer.NewInterpreter(steer.NewHasher(sc.Key), rules); err != nil {
		r.t.Fatal(err)
	}
	for _, w := range r.workers {
		done := make(chan error, 1)
		go func() {
			ctx := context.Background()
			done <- errors.Join(w.SetBlocks(ctx, []netip.Addr{rigLaddr}),
				w.SetView(ctx, worker.View{Steer: r.interp, Schedule: snap, Allocate: true, Ask: true}))
		}()
		for waiting := true; waiting; {
			select {
			case err := <-done:
				if waiting = false; err != nil {
					r.t.Fatal(err)
				}
			default:
				w.Turn()
			}
		}
	}
}
