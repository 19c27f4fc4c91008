package mesh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/localport"
	"github.com/holdfast-lb/holdfast/dpd/internal/neigh"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/ring"
	"github.com/holdfast-lb/holdfast/dpd/internal/steer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncloop"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
)

// Sizes of the rings between threads and of receive queues, as dpd/node has them.
const (
	handRing  = 1024
	softRing  = 1024
	inboxRing = 8192
	hostRing  = 512
	depth     = 1024
	packets   = 16384
)

// Node is the packet threads of one data plane.
type Node struct {
	Workers []*worker.Worker
	Tables  []*conntrack.Table
	Loop    *syncloop.Loop

	mesh    *Mesh
	index   int // from 0; the node's id is one more
	life    flow.Node
	pool    *pool
	dev     *device
	buckets steer.Map
	host    *neigh.Machine
	inbox   []*ring.SPSC[syncer.Delivery]
	outbox  []*ring.SPSC[syncer.Action]
	view    worker.View

	// RefuseInbox and RefuseOutbox keep the rings of worker 0 full for as long as they are set.
	RefuseInbox, RefuseOutbox bool

	// Still are the threads that do not turn, by worker; the last one is the sync thread.
	Still []bool
	// Stood is for how long, in milliseconds, the node's monotonic clock stood still, or how far it is behind.
	Stood int64
	toDo  [][]func() // by thread, as Still
}

func (m *Mesh) newNode(i int) (_ *Node, err error) {
	c := &m.cfg
	n := &Node{mesh: m, index: i, life: life(i), Still: make([]bool, c.Workers+1), toDo: make([][]func(), c.Workers+1)}
	rings := cmp.Or(c.Rings, inboxRing)
	if n.buckets, err = steer.NewMap(c.Workers); err != nil {
		return nil, err
	}
	if n.pool, err = newPool(packets, c.MTU+64); err != nil {
		return nil, err
	}
	n.dev = newDevice(n.pool, macOf(i), c.Workers+1, depth)
	n.dev.route = func(frame []byte) { m.route(n, frame) }
	pub := &neigh.Publisher{}
	n.host, err = neigh.New(m.tick, neigh.Config{
		Ports: []neigh.Port{{
			MAC: n.dev.mac, MTU: c.MTU, Addresses: []netip.Prefix{netip.PrefixFrom(addr4(10, 0, 0, byte(10+i)), 24)},
			Routes: []neigh.Route{{To: netip.MustParsePrefix("0.0.0.0/0"), Via: gateway}},
		}},
		Pool: n.pool, Publisher: pub, Send: func(dev int, p port.Packet) { n.Workers[0].SendFromHost(dev, p) },
	})
	if err != nil {
		return nil, err
	}
	hand := make([][]*ring.SPSC[worker.Handed], c.Workers) // [from][to]
	for i := range hand {
		hand[i] = make([]*ring.SPSC[worker.Handed], c.Workers)
		for j := range hand[i] {
			if i != j {
				hand[i][j] = ring.New[worker.Handed](handRing)
			}
		}
	}
	host := make([]*ring.SPSC[worker.Handed], c.Workers+1) // the last one is the sync thread's
	for i := range host {
		host[i] = ring.New[worker.Handed](hostRing)
	}
	lc := syncloop.Config{
		Queues: n.queues(c.Workers, c.Workers), Pool: n.pool, Routes: pub, Host: host[c.Workers], Clock: n.clock,
	}
	for w := range c.Workers {
		l := worker.Links{
			HandTo: hand[w], Sync: ring.New[port.Packet](softRing), Inbox: ring.New[syncer.Delivery](rings),
			Outbox: ring.New[syncer.Action](rings),
		}
		for from := range hand {
			l.HandFrom = append(l.HandFrom, hand[from][w])
		}
		if w == 0 {
			l.HostFrom = host[1:]
		} else {
			l.Host = host[w]
		}
		if err := n.worker(w, pub, l); err != nil {
			return nil, err
		}
		n.inbox, n.outbox = append(n.inbox, l.Inbox), append(n.outbox, l.Outbox)
		lc.Soft = append(lc.Soft, l.Sync)
	}
	lc.Inbox, lc.Outbox = n.inbox, n.outbox
	n.Loop = syncloop.New(lc)
	return n, nil
}

func (n *Node) worker(i int, pub *neigh.Publisher, l worker.Links) error {
	c := &n.mesh.cfg
	var w *worker.Worker
	random := func(b []byte) { _, _ = n.mesh.rnd.Read(b) }
	table, err := conntrack.New(conntrack.Config{CapacityV4: c.Room / c.Workers, CapacityV6: 1, Random: random,
		OnFull:  func(six bool) bool { return w.Shard().GiveUpTombstone(six) },
		OnEvict: func(_ flow.Handle, s *flow.Session) { w.Evicted(s) }, OnUncount: func(id uint32) { w.Uncounted(id) }})
	if err != nil {
		return fmt.Errorf("session table: %w", err)
	}
	n.Tables = append(n.Tables, table)
	ports := localport.NewRandom(c.Ports, random)
	var kept syncer.Ports = ports
	if c.Wrap != nil {
		kept = c.Wrap(ports)
	}
	owns := func(b flow.Bucket) bool { return n.buckets.Worker(uint8(b)) == i }
	wc := worker.Config{
		Index: i, Map: &n.buckets, Queues: n.queues(i, i), Pool: n.pool, Table: table, Ports: ports, Routes: pub, Links: l,
		Clock: n.clock, MailboxSize: 256,
		Shard: syncer.New(syncer.Config{Owns: owns, Ended: c.Ended / c.Workers, Off: c.Off}, table, kept),
	}
	if i == 0 {
		wc.Host = n.host
	}
	w = worker.New(wc)
	n.Workers = append(n.Workers, w)
	return nil
}

func (n *Node) queues(rx, tx int) []worker.Queue {
	return []worker.Queue{{Port: n.dev, Rx: []int{rx}, Depth: depth, Tx: tx, MAC: packet.MACWord(n.dev.mac)}}
}

// Life is the node's id and incarnation.
func (n *Node) Life() flow.Node { return n.life }

// each runs f on every worker between two turns.
func (n *Node) each(f func(*worker.Worker) error) error {
	return n.mesh.apply(func(ctx context.Context) (err error) {
		for _, w := range n.Workers {
			var why error
			err = errors.Join(err, w.Do(ctx, func(w *worker.Worker) { why = f(w) }))
			err = errors.Join(err, why)
		}
		return err
	})
}

func (n *Node) close() error {
	err := n.pool.close()
	for _, t := range n.Tables {
		err = errors.Join(err, t.Close())
	}
	return err
}
