package sim

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/localport"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
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
	kept       bool // while it is paused: no view removes it
	zombie     bool // it went on after the view had removed it
	backlog    []arrived
	block      int // leased block of local addresses; 0: none
	life       int // distinguishes ticks of former lives
	sync       *syncer.Sync
	shards     []*shard
	stuck      bool // the sync thread stands still
	keys       int  // which of the coordinator's sets of keys is in force
	clocks     watcher
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
	ports   *localport.Pool
	marked  int // ports that are in use from the start, so that the rest are used again soon
	inbox   []syncer.Delivery
	outbox  []syncer.Action
	owed    []syncer.Action // ends of bulks that wait for room
	stuck   bool            // the worker stands still
	waiting []waiting
}

type waiting struct {
	p     packet
	until int64
}

func (n *node) node() flow.Node { return flow.Node{Inc: n.inc, ID: n.id} }
func (n *node) now() int64      { return n.w.now + n.skew - n.clocks.lag }

func (n *node) shardOf(b flow.Bucket) int { return int(b) % n.shardCount }

// start boots a new incarnation with empty tables.
func (n *node) start(inc uint64, block int) {
	w := n.w
	n.inc, n.alive, n.admitted, n.block = inc, true, false, block
	n.paused, n.kept, n.zombie, n.stuck, n.backlog, n.clocks = false, false, false, false, nil, watcher{}
	n.life++
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
	n.setKeys(w.coord.keys)
	times := conntrack.DefaultTimeouts()
	times[flow.TCPEstablished], times[flow.UDPNormal], times[flow.UDPOneWay], times[flow.UDPNone] = w.opt.est, w.opt.est, w.opt.est, w.opt.est
	if w.opt.half != 0 {
		times[flow.TCPFinWait], times[flow.TCPCloseWait] = w.opt.half, w.opt.half
	}
	for i := range n.shardCount {
		s := &shard{n: n, i: i, ports: localport.New(1 << 10)}
		s.setBlock()
		capacity := 256
		if w.opt.capacity > 0 {
			capacity = w.opt.capacity
		}
		table, err := conntrack.New(conntrack.Config{CapacityV4: capacity, CapacityV6: capacity, Timeouts: &times, OnEvict: s.evicted, OnFull: s.full})
		if err != nil {
			panic(err)
		}
		if err := table.SetSelf(n.node()); err != nil {
			panic(err)
		}
		s.table = table
		table.Advance(expiry.Tick(uint32(n.now())))
		s.Shard = syncer.New(syncer.Config{
			Self: n.node(), DigestKey: [16]byte{9, 8, 7, 8: 6, 5, 4}, Off: w.opt.off,
			Owns: func(b flow.Bucket) bool { return n.shardOf(b) == i },
		}, table, s.ports)
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
	s := n.shards[i]
	if len(s.inbox) >= n.w.ring() {
		n.w.total.full++
		return false
	}
	s.inbox = append(s.inbox, *d)
	return true
}

func (n *node) datagram(d arrived) {
	if n.paused {
		if len(n.backlog) < 500 {
			n.backlog = append(n.backlog, d)
		}
		return
	}
	if n.stuck {
		return // its socket is full
	}
	n.watch(func() {
		n.sync.Datagram(n.now(), sip(d.from), d.b)
		n.drain()
	})
}

// watch looks at what an event of a node does to the mappings that packets use there.
func (n *node) watch(do func()) {
	before, evicted := n.w.mapped(n), n.w.total.evicted
	do()
	if n.w.total.evicted == evicted { // a full table may give up a handshake that is over elsewhere by now
		n.w.checkMapped(n, before)
	}
}

func (n *node) setView(v *syncer.View) {
	if n.blind {
		return
	}
	v = &syncer.View{Epoch: v.Epoch, Self: v.Self, Members: slices.Clone(v.Members)}
	for i := range v.Members {
		v.Members[i].Sync[0] = sip(v.Members[i].Node.ID)
	}
	n.watch(func() {
		for _, s := range n.shards {
			s.SetView(n.now(), v)
		}
		n.sync.SetView(n.now(), v)
		n.drain()
	})
}

// drain moves deliveries to shards and their actions to the sync machine until both are empty, then flushes. A thread that stands
// still takes nothing, and what is for it waits in its ring.
func (n *node) drain() {
	for again := true; again; {
		again = false
		for _, s := range n.shards {
			again = !s.stuck && s.turn() || again
		}
		if n.stuck {
			continue
		}
		for _, s := range n.shards {
			for i := range s.outbox {
				again = true
				n.sync.Queue(n.now(), s.i, &s.outbox[i])
			}
			s.outbox = s.outbox[:0]
		}
	}
	if !n.stuck {
		n.sync.Flush(n.now())
	}
}

// turn takes what is in the inbox and puts out what follows, as a worker does; false when there was nothing.
func (s *shard) turn() (busy bool) {
	now := s.n.now()
	s.table.Advance(expiry.Tick(uint32(now)))
	for i := 0; i < len(s.inbox); i++ {
		d := s.inbox[i]
		s.Deliver(now, &d)
	}
	s.inbox = s.inbox[:0]
	for len(s.owed) > 0 && s.put(&s.owed[0]) {
		s.owed, busy = s.owed[1:], true
	}
	acts := append([]syncer.Action(nil), s.Actions()...)
	s.Done()
	for i := range acts {
		s.act(&acts[i])
	}
	return busy || len(acts) > 0
}

// send puts an action into the ring, as a worker does: the ends of a bulk wait for room, what tombstones wait for comes again, and
// of the rest the shard hears that it is lost.
func (s *shard) send(a *syncer.Action) {
	ends := a.Kind == syncer.ActBulkBegin || a.Kind == syncer.ActBulkEnd
	switch {
	case (!ends || len(s.owed) == 0) && s.put(a):
		return
	case ends:
		if a.Kind == syncer.ActBulkBegin {
			s.owed = slices.DeleteFunc(s.owed, func(o syncer.Action) bool { return o.To == a.To })
		}
		s.owed = append(s.owed, *a)
	case a.Kind != syncer.ActTombs:
		s.Dropped(s.n.now(), a.To)
	}
	s.n.w.total.full++
}

// put puts an action into the ring to the sync thread; false when that is full.
func (s *shard) put(a *syncer.Action) bool {
	if len(s.outbox) >= s.n.w.ring() {
		return false
	}
	s.outbox = append(s.outbox, *a)
	return true
}

// act carries out an action.
func (s *shard) act(a *syncer.Action) {
	w := s.n.w
	if w.spy != nil && a.Kind == syncer.ActSend {
		w.spy(s.n, a)
	}
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
	default:
		s.send(a)
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
	n.watch(n.ticks)
	if n.sync.Fenced() {
		n.w.coord.fencedOut(n)
	}
}

func (n *node) ticks() {
	for _, s := range n.shards {
		if s.stuck {
			continue
		}
		now := n.now()
		var due [64]flow.Handle
		k := s.table.Sweep(expiry.Tick(uint32(now)), 64, len(due), due[:])
		for _, h := range due[:k] {
			if keep := s.Expired(now, h); keep > 0 {
				s.table.Rearm(h, expiry.Tick(uint32(now)).Add(uint32(keep)))
			}
		}
		budget := 64
		if len(s.outbox) > n.w.ring()/2 {
			budget = 0
		}
		s.Tick(now, budget)
		s.expireWaiting()
	}
	n.drain()
	if !n.stuck {
		n.sync.Tick(n.now())
	}
	n.watchClocks()
	n.drain()
}
