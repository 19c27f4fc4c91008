package sim

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncseal"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// node is one data plane: the real Sync, and for each worker the real Shard over the real table.
type node struct {
	w          *world
	id         uint32
	inc        uint64
	skew       int64
	shardCount int
	alive      bool
	admitted   bool
	paused     bool // stopped by a signal: it neither runs nor knows
	blind      bool // views do not reach it
	zombie     bool // it went on after the view had removed it
	backlog    []arrived
	block      int // leased block of local addresses; 0: none
	life       int // distinguishes ticks of former lives
	sync       *syncer.Sync
	shards     []*shard
	ports      ports
}

// arrived is a datagram and the node whose address it came from.
type arrived struct {
	from uint32
	b    []byte
}

// sip is a node's sync address, which stays with its id over all lives.
func sip(id uint32) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 3, byte(id >> 8), byte(id)}), 7946)
}

// shard is one worker.
type shard struct {
	*syncer.Shard
	n       *node
	i       int
	table   *conntrack.Table
	inbox   []syncer.Delivery
	waiting []waiting
}

type waiting struct {
	p     packet
	until int64
}

func (n *node) node() flow.Node { return flow.Node{Inc: n.inc, ID: n.id} }
func (n *node) now() int64      { return n.w.now + n.skew }

func (n *node) shardOf(b flow.Bucket) int { return int(b) % n.shardCount }

// start boots a new incarnation with empty tables.
func (n *node) start(inc uint64, block int) {
	w := n.w
	n.inc, n.alive, n.admitted, n.block = inc, true, false, block
	n.paused, n.zombie, n.backlog = false, false, nil
	n.life++
	n.ports = ports{n: n, taken: map[flow.Key]bool{}, freed: map[flow.Key]int64{}}
	n.shards = nil
	var err error
	n.sync, err = syncer.NewSync(n.now(), syncer.SyncConfig{
		Self: n.node(), Shards: n.shardCount, ShardOf: n.shardOf, MTU: 1400, Off: w.opt.off,
		Random: func(b []byte) {
			for len(b) > 0 {
				var x [8]byte
				binary.LittleEndian.PutUint64(x[:], w.rng.Uint64())
				b = b[copy(b, x[:]):]
			}
		},
	}, n)
	if err != nil {
		panic(err)
	}
	if err := n.sync.SetKeys(7, syncseal.Key{ID: 7, Secret: [32]byte{1, 2, 3}}); err != nil {
		panic(err)
	}
	times := conntrack.DefaultTimeouts()
	times[flow.TCPEstablished], times[flow.UDPNormal], times[flow.UDPOneWay], times[flow.UDPNone] = w.opt.est, w.opt.est, w.opt.est, w.opt.est
	if w.opt.half != 0 {
		times[flow.TCPFinWait], times[flow.TCPCloseWait] = w.opt.half, w.opt.half
	}
	for i := range n.shardCount {
		table, err := conntrack.New(conntrack.Config{CapacityV4: 256, CapacityV6: 256, Timeouts: &times})
		if err != nil {
			panic(err)
		}
		if err := table.SetSelf(n.node()); err != nil {
			panic(err)
		}
		s := &shard{n: n, i: i, table: table}
		table.Advance(expiry.Tick(uint32(n.now())))
		s.Shard = syncer.New(syncer.Config{
			Self: n.node(), DigestKey: [16]byte{9, 8, 7, 8: 6, 5, 4}, Off: w.opt.off,
			Owns: func(b flow.Bucket) bool { return n.shardOf(b) == i },
		}, table, &n.ports)
		n.shards = append(n.shards, s)
	}
	life := n.life
	var tick func()
	tick = func() {
		if n.life != life || !n.alive {
			return
		}
		if !n.paused {
			n.tick()
		}
		w.after(5, tick)
	}
	w.after(w.rng.Int64N(5)+1, tick)
}

// stop ends a life.
func (n *node) stop() {
	if !n.alive {
		return
	}
	n.alive, n.admitted = false, false
	n.life++
	for _, s := range n.shards {
		if err := s.table.Close(); err != nil {
			panic(err)
		}
	}
}

// Send is syncer.Outlet.
func (n *node) Send(to flow.Node, _ netip.AddrPort, b []byte) { n.w.send(n, to, b) }

// Deliver is syncer.Outlet.
func (n *node) Deliver(i int, d *syncer.Delivery) bool {
	n.shards[i].inbox = append(n.shards[i].inbox, *d)
	return true
}

func (n *node) datagram(d arrived) {
	if n.paused {
		if len(n.backlog) < 500 {
			n.backlog = append(n.backlog, d)
		}
		return
	}
	before := n.w.mapped(n)
	n.sync.Datagram(n.now(), sip(d.from), d.b)
	n.drain()
	n.w.checkMapped(n, before)
}

func (n *node) setView(v *syncer.View) {
	if n.blind {
		return
	}
	v = &syncer.View{Epoch: v.Epoch, Self: v.Self, Members: slices.Clone(v.Members)}
	for i := range v.Members {
		v.Members[i].Sync[0] = sip(v.Members[i].Node.ID)
	}
	for _, s := range n.shards {
		s.SetView(n.now(), v)
	}
	n.sync.SetView(n.now(), v)
	n.drain()
}

// drain moves deliveries to shards and their actions to the sync machine until both are empty, then flushes.
func (n *node) drain() {
	for again := true; again; {
		again = false
		for _, s := range n.shards {
			s.table.Advance(expiry.Tick(uint32(n.now())))
			for i := 0; i < len(s.inbox); i++ {
				d := s.inbox[i]
				s.Deliver(n.now(), &d)
			}
			s.inbox = s.inbox[:0]
			acts := append([]syncer.Action(nil), s.Actions()...)
			s.Done()
			for i := range acts {
				again = true
				s.act(&acts[i])
			}
		}
	}
	n.sync.Flush(n.now())
}

func (s *shard) act(a *syncer.Action) {
	w := s.n.w
	if w.spy != nil && a.Kind == syncer.ActSend {
		w.spy(s.n, a)
	}
	s.n.sync.Queue(s.n.now(), s.i, a)
	switch a.Kind {
	case syncer.ActInstalled, syncer.ActMissed:
		s.wake(a)
	case syncer.ActTakenOver, syncer.ActAdopted, syncer.ActRefuted, syncer.ActAged, syncer.ActClosed, syncer.ActReborn, syncer.ActRemoved:
		w.logf("node %d: %v %s", s.n.id, eventName[a.Kind], recName(&a.Msg.Rec))
		if a.Kind == syncer.ActClosed && !s.n.zombie {
			w.closed[life{flow.Birth(a.Msg.Rec.Birth), flow.Key(a.Msg.Rec.Orig), flow.Key(a.Msg.Rec.Reply)}] = true
		}
		if a.Kind == syncer.ActAged {
			w.total.aged++
		}
		if a.Kind == syncer.ActTakenOver {
			w.total.takenOver++
		}
	}
}

var eventName = map[syncer.ActionKind]string{
	syncer.ActTakenOver: "takes over", syncer.ActAdopted: "adopts", syncer.ActRefuted: "refutes", syncer.ActAged: "aged",
	syncer.ActClosed: "closed", syncer.ActReborn: "reborn", syncer.ActRemoved: "removed",
}

func recName(r *syncwire.Record) string {
	return short(flow.Key(r.Orig), flow.Key(r.Reply)) + " " + version(flow.Birth(r.Birth), r.Term, flow.Node{Inc: r.OwnerInc, ID: r.OwnerID}, r.Ver, flow.Flags(r.Flags))
}

func (n *node) tick() {
	for _, s := range n.shards {
		now := n.now()
		var due [64]flow.Handle
		k := s.table.Sweep(expiry.Tick(uint32(now)), 64, len(due), due[:])
		for _, h := range due[:k] {
			if keep := s.Expired(now, h); keep > 0 {
				s.table.Rearm(h, expiry.Tick(uint32(now)).Add(uint32(keep)))
			}
		}
		s.Tick(now, 64)
		s.expireWaiting()
	}
	n.drain()
	n.sync.Tick(n.now())
	n.drain()
	if n.sync.Fenced() {
		n.w.coord.fencedOut(n)
	}
}

// ports is the pool of a node, of few ports, so that they are used again soon.
type ports struct {
	n     *node
	taken map[flow.Key]bool
	freed map[flow.Key]int64
	kept  []flow.Key // by what Quarantine named it, less 1
}

const portsPerBucket = 3

func laddr(block int) netip.Addr { return netip.AddrFrom4([4]byte{10, 9, byte(block), 1}) }

func (p *ports) Mark(k flow.Key) { p.taken[k] = true }

func (p *ports) Release(k flow.Key) {
	delete(p.taken, k)
	p.freed[k] = p.n.w.now
}

// Quarantine names a port by its place in a list.
func (p *ports) Quarantine(k *flow.Key, own bool) uint32 {
	if !p.Holds(k) || !own && p.taken[*k] {
		return 0
	}
	p.taken[*k] = true
	p.kept = append(p.kept, *k)
	return uint32(len(p.kept))
}

func (p *ports) Free(ref uint32, port uint16) {
	if ref != 0 {
		p.Release(p.kept[ref-1])
	}
}

func (p *ports) Holds(k *flow.Key) bool {
	return p.n.block != 0 && k.Dst().Addr() == laddr(p.n.block)
}

// take finds the port that was free longest.
func (p *ports) take(proto uint8, server netip.AddrPort, b flow.Bucket) (flow.Key, bool) {
	var best flow.Key
	found := false
	if p.n.block == 0 {
		return best, false
	}
	for i := range portsPerBucket {
		k := portKey(proto, server.Addr(), p.n.block, i, b)
		if !p.taken[k] && (!found || p.freed[k] < p.freed[best]) {
			best, found = k, true
		}
	}
	if found {
		p.taken[best] = true
	}
	return best, found
}

func portKey(proto uint8, server netip.Addr, block, i int, b flow.Bucket) flow.Key {
	k, err := flow.MakeKey(proto, netip.AddrPortFrom(server, 80), netip.AddrPortFrom(laddr(block), uint16(1024+256*i)+uint16(b)))
	if err != nil {
		panic(err)
	}
	return k
}
