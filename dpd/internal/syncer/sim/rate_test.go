package sim

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncseal"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// rates are nodes at high rates: the real machines over real tables, turns of a millisecond, and no
// packets.
type rates struct {
	t     *testing.T
	rng   *rand.Rand
	now   int64
	nodes []*rateNode
	net   []rateDatagram // on their way, in the order of sending
	was   []rateDatagram
	free  [][]byte
	loss  float64
	late  int64 // up to so many milliseconds more on the way
	life  int   // milliseconds that a session lives
	made  int
	ended int
	live  []rateSession // from the oldest on
	due   float64
	bytes [syncwire.NumLanes]int
}

type rateSession struct {
	s    *rateShard
	h    flow.Handle
	made int
}

type rateDatagram struct {
	at   int64
	from uint32
	to   *rateNode
	b    []byte
}

type rateNode struct {
	*syncer.Sync
	w      *rates
	self   flow.Node
	shards []*rateShard
}

// rateShard is a worker's, with rings of dpd's length.
type rateShard struct {
	*syncer.Shard
	n       *rateNode
	i       int
	table   *conntrack.Table
	inbox   []syncer.Delivery
	jamIn   int // so many deliveries more find the inbox full
	jamOut  int // so many actions more find the outbox full
	dropped int // messages
	budget  int
}

const rateRing = 8192

// newRates makes nodes of 1, 2, 1, … workers that know each other, and waits until nothing is open.
func newRates(t *testing.T, n, capacity int) *rates {
	t.Helper()
	w := &rates{t: t, rng: rand.New(rand.NewPCG(1, uint64(n))), now: epochMS, life: 1_000}
	v := syncer.View{Epoch: 1}
	for i := range n {
		id := uint32(i + 1)
		v.Members = append(v.Members, syncer.Member{Node: flow.Node{ID: id, Inc: 1}, Admitted: true, Sync: [2]netip.AddrPort{sip(id)}})
	}
	for i := range n {
		w.nodes = append(w.nodes, w.newNode(v.Members[i].Node, 1+i%2, capacity))
	}
	for _, o := range w.nodes {
		v := v
		v.Self = o.self
		o.setView(&v)
	}
	w.run(10_500, 0) // beyond the time in which a view change makes UDP ask
	w.peaceful("at the start")
	return w
}

func (w *rates) newNode(self flow.Node, shards, capacity int) *rateNode {
	n := &rateNode{w: w, self: self}
	y, err := syncer.NewSync(w.now, syncer.SyncConfig{
		Self: self, Shards: shards, ShardOf: func(b flow.Bucket) int { return int(b) % shards }, MTU: 1400,
		Random: func(b []byte) {
			for i := range b {
				b[i] = byte(w.rng.Uint32())
			}
		},
	}, n)
	if err != nil {
		w.t.Fatal(err)
	}
	n.Sync = y
	if err := y.SetKeys(1, syncseal.Key{ID: 1, Secret: [32]byte{1}}); err != nil {
		w.t.Fatal(err)
	}
	for i := range shards {
		s := &rateShard{n: n, i: i, budget: 1024}
		if s.table, err = conntrack.New(conntrack.Config{CapacityV4: capacity / shards, CapacityV6: 16}); err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { _ = s.table.Close() })
		if err := s.table.SetSelf(self); err != nil {
			w.t.Fatal(err)
		}
		s.table.Advance(expiry.Tick(uint32(w.now)))
		s.Shard = syncer.New(syncer.Config{
			Self: self, DigestKey: [16]byte{1, 8: 2}, Owns: func(b flow.Bucket) bool { return int(b)%shards == i },
		}, s.table, noPorts{})
		n.shards = append(n.shards, s)
	}
	return n
}

func (n *rateNode) setView(v *syncer.View) {
	for _, s := range n.shards {
		s.SetView(n.w.now, v)
	}
	n.SetView(n.w.now, v)
}

// Send is syncer.Outlet.
func (n *rateNode) Send(to flow.Node, _ netip.AddrPort, b []byte) {
	w := n.w
	w.bytes[b[4]] += len(b)
	if w.loss > 0 && w.rng.Float64() < w.loss {
		return
	}
	var d []byte
	if k := len(w.free); k > 0 {
		d, w.free = w.free[k-1][:0], w.free[:k-1]
	}
	at := w.now + 1
	if w.late > 0 {
		at += w.rng.Int64N(w.late + 1)
	}
	w.net = append(w.net, rateDatagram{at, n.self.ID, w.nodes[to.ID-1], append(d, b...)})
}

// Deliver is syncer.Outlet.
func (n *rateNode) Deliver(i int, d *syncer.Delivery) bool {
	s := n.shards[i]
	if s.jamIn > 0 || len(s.inbox) >= rateRing {
		s.jamIn--
		if k := d.Msg.Kind; d.Kind == syncer.DeliverMessage && (k == syncwire.KindSession || k == syncwire.KindClose) {
			s.dropped++
		}
		return false
	}
	s.inbox = append(s.inbox, *d)
	return true
}

// turn is one of a node.
func (n *rateNode) turn() {
	now := n.w.now
	for _, s := range n.shards {
		for i := range s.inbox {
			s.Deliver(now, &s.inbox[i])
		}
		s.inbox = s.inbox[:0]
		s.Tick(now, s.budget)
		s.act()
	}
	if now%5 == 0 {
		n.Tick(now)
	}
	n.Flush(now)
}

// act passes on what a shard made.
func (s *rateShard) act() {
	acts := s.Actions()
	var lost []uint32 // whom messages were for
	for i := range acts {
		if s.jamOut > 0 {
			s.jamOut--
			lost = append(lost, acts[i].To)
			if k := acts[i].Msg.Kind; k == syncwire.KindSession || k == syncwire.KindClose {
				s.dropped++
			}
			continue
		}
		s.n.Queue(s.n.w.now, s.i, &acts[i])
	}
	s.Done()
	for _, to := range lost {
		s.Dropped(s.n.w.now, to)
	}
}

// step is a millisecond in which changes come to pass: half of them open a session on one of the
// nodes in turn, half close the oldest, once there are enough.
func (w *rates) step(changes float64) {
	w.now++
	w.net, w.was = w.was[:0], w.net // what is sent meanwhile goes behind what is still on its way
	for _, d := range w.was {
		if d.at > w.now {
			w.net = append(w.net, d)
		}
	}
	for _, d := range w.was {
		if d.at <= w.now {
			d.to.Datagram(w.now, sip(d.from), d.b)
			w.free = append(w.free, d.b)
		}
	}
	for _, n := range w.nodes {
		for _, s := range n.shards {
			s.table.Advance(expiry.Tick(uint32(w.now)))
		}
	}
	for w.due += changes; w.due >= 1; w.due-- {
		// As many as are opened in a lifetime are there at a time.
		if len(w.live) > 0 && w.now-w.oldest() >= int64(w.life) && w.ended < w.made {
			w.close()
		} else {
			w.open()
		}
	}
	for _, n := range w.nodes {
		n.turn()
	}
}

func (w *rates) oldest() int64 { return epochMS + int64(w.live[0].made) }

func (w *rates) open() {
	x := benchSession(w.made)
	n := w.nodes[w.made/2%len(w.nodes)] // each node's sessions are of even and odd buckets
	w.made++
	s := n.shards[int(x.Bucket)%len(n.shards)]
	h, err := s.Create(w.now, &x)
	if err != nil {
		w.t.Fatal(err)
	}
	w.live = append(w.live, rateSession{s, h, int(w.now - epochMS)})
	if w.made%64 == 0 {
		s.act()
	}
}

func (w *rates) close() {
	o := w.live[0]
	w.live = w.live[1:]
	w.ended++
	o.s.Delete(w.now, o.h)
}

// run lets time pass at a rate of changes a second.
func (w *rates) run(ms, rate int) {
	for range ms {
		w.step(float64(rate) / 1000)
	}
}

// runCalmly does so, and demands at each millisecond that nothing is under repair and that no UDP
// miss waits.
func (w *rates) runCalmly(ms, rate int) {
	w.t.Helper()
	for i := range ms {
		w.step(float64(rate) / 1000)
		if i%10 == 0 {
			w.peaceful("under way")
		}
	}
}

// open says which node repairs what, or lets a UDP miss wait.
func (w *rates) trouble() (repairing, waits bool) {
	k := udpMiss(w.rng)
	for _, n := range w.nodes {
		for _, s := range n.shards {
			for _, o := range w.nodes {
				repairing = repairing || s.Repairing(o.self)
			}
			waits = waits || s.Miss(w.now, &k, flow.Bucket(s.i)) == syncer.MissWait
		}
	}
	return repairing, waits
}

func udpMiss(r *rand.Rand) flow.Key {
	return flow.Key{Addr: [4]uint64{uint64(0xcb007100)<<32 | 0xc6336401}, Meta: uint64(r.Uint32()&0xffff)<<48 | 53<<32 | flow.ProtoUDP<<8 | flow.IPv4}
}

func (w *rates) peaceful(when string) {
	w.t.Helper()
	if repairing, waits := w.trouble(); repairing || waits {
		w.t.Fatalf("%s, at %d ms: repairing %v, UDP misses wait %v; %v", when, w.now-epochMS, repairing, waits, w.nodes[0].shards[0].Count)
	}
}

func (w *rates) count(c syncer.Counter) (n uint64) {
	for _, o := range w.nodes {
		for _, s := range o.shards {
			n += s.Count[c]
		}
	}
	return n
}

func (w *rates) syncCount(c syncer.SyncCounter) (n uint64) {
	for _, o := range w.nodes {
		n += o.Count[c]
	}
	return n
}

// dropped is the number of messages that full rings cost.
func (w *rates) dropped() (n int) {
	for _, o := range w.nodes {
		for _, s := range o.shards {
			n += s.dropped
		}
	}
	return n
}

// alike demands that all nodes hold the same living sessions: those that are open.
func (w *rates) alike() {
	w.t.Helper()
	var want []flow.Birth
	for i, n := range w.nodes {
		var got []flow.Birth
		for _, s := range n.shards {
			for c := uint32(0); ; {
				c = s.table.Scan(c, 1<<16, func(h flow.Handle) {
					var x flow.Session
					if s.table.Load(h, &x); x.Birth != 0 && x.Flags&flow.Tomb == 0 {
						got = append(got, x.Birth)
					}
				})
				if c == 0 {
					break
				}
			}
		}
		slices.Sort(got)
		if i == 0 {
			want = got
		}
		if len(got) != len(w.live) || !slices.Equal(got, want) {
			w.t.Errorf("node %d holds %d living sessions, node 1 %d; %d are open", n.self.ID, len(got), len(want), len(w.live))
		}
	}
}

// visit is packets of a session on another node than its owner.
type visit struct {
	s     *rateShard
	reply flow.Key
	at    int64
	times int
}

func (w *rates) visit(o rateSession) visit {
	var x flow.Session
	o.s.table.Load(o.h, &x)
	n := w.nodes[(int(o.s.n.self.ID)+w.rng.IntN(len(w.nodes)-1))%len(w.nodes)]
	return visit{s: n.shards[int(x.Bucket)%len(n.shards)], reply: x.Reply, at: w.now + 5}
}

// pass lets the packets of visits pass: enough of them, and over time enough, to take the session
// over.
func (w *rates) pass(list []visit) []visit {
	keep := list[:0]
	for _, v := range list {
		if v.at > w.now {
			keep = append(keep, v)
			continue
		}
		if h, _, ok := v.s.table.Find(&v.reply); ok {
			v.s.Packet(w.now, h, syncer.Packet{Dir: flow.In, Alive: true})
		}
		if v.times++; v.times < 4 {
			v.at += 80
			keep = append(keep, v)
		}
	}
	return keep
}
