package sim

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
)

const epochMS = 1_800_000_000_000 // unix milliseconds at which every run begins

// event is something that happens at a virtual millisecond; equal times happen in the order they were made.
type event struct {
	at  int64
	seq uint64
	do  func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	o := *e
	x := o[len(o)-1]
	o[len(o)-1] = event{}
	*e = o[:len(o)-1]
	return x
}

// net is what the network between nodes does to datagrams.
type net struct {
	loss, dup, late float64 // shares
	delay           int64   // greatest ordinary delay
	cut             map[[2]uint32]bool
}

// options of a run.
type options struct {
	nodes    int
	clients  int
	off      syncer.Rules
	est      uint32 // timeout of established sessions in seconds
	half     uint32 // of half-closed ones; 0: the default
	skew     int64  // greatest difference of a node's clock
	capacity int    // of a worker's table, for each family; 0: ample
	rings    int    // entries of a ring between a worker and the sync thread, more than a round of digests takes; 0: ample
	chaos    int64  // milliseconds of trouble
	net      net
	actions  float64 // mean number of troubles a second
	drain    bool    // at the end, let everything end and look for what stayed
	crashes  bool
	cuts     bool
	longCuts bool // of up to half a minute
	pauses   bool
	hostile  bool    // someone without a key listens, replays and forges
	rotates  bool    // keys change
	stalls   bool    // threads stand still
	rough    float64 // share of the ends' packets that are lost, and of those that are late
	renews   bool    // who is fenced goes on with what it holds
	clocks   bool    // realtime jumps, machines stop with all their clocks
	restarts bool
}

// world is one run.
type world struct {
	opt    options
	rng    *rand.Rand
	foe    *rand.Rand // what a stranger does must not change what else happens
	tape   []taped
	now    int64
	seq    uint64
	queue  events
	nodes  []*node // by id-1
	conns  []*conn // that are not over
	net    net
	coord  coordinator
	quiet  bool // no more trouble
	closed map[life]bool
	trace  []string
	spy    func(n *node, a *syncer.Action) // sees what shards send; may be nil
	broken string
	total  struct {
		opened, established, closed, idled, lost, takenOver, refused, astray, aged, evicted, full, hostile, keys int
	}
}

func newWorld(seed uint64, opt options) *world {
	w := &world{opt: opt, rng: rand.New(rand.NewPCG(seed, 0x686f6c64)), foe: rand.New(rand.NewPCG(seed, 0x666f65)), now: epochMS, net: opt.net}
	w.net.cut = map[[2]uint32]bool{}
	w.closed = map[life]bool{}
	w.coord.w = w
	for i := range opt.nodes {
		n := &node{w: w, id: uint32(i + 1), shardCount: 1 + i%3}
		if opt.skew > 0 {
			n.skew = w.rng.Int64N(2*opt.skew) - opt.skew
		}
		w.nodes = append(w.nodes, n)
	}
	w.coord.begin()
	return w
}

func (w *world) close() {
	for _, n := range w.nodes {
		n.stop()
	}
}

func (w *world) after(ms int64, do func()) {
	w.seq++
	heap.Push(&w.queue, event{at: w.now + max(ms, 0), seq: w.seq, do: do})
}

// run lets virtual time pass.
func (w *world) run(ms int64) {
	end := w.now + ms
	for len(w.queue) > 0 && w.queue[0].at <= end && w.broken == "" {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		e.do()
	}
	if w.broken == "" {
		w.now = end
	}
}

func (w *world) logf(format string, a ...any) {
	if len(w.trace) > 40000 {
		w.trace = append(w.trace[:0], w.trace[20000:]...)
	}
	w.trace = append(w.trace, fmt.Sprintf("%8d ", w.now-epochMS)+fmt.Sprintf(format, a...))
}

// violate ends the run.
func (w *world) violate(format string, a ...any) {
	if w.broken == "" {
		w.broken = fmt.Sprintf(format, a...)
		w.logf("VIOLATION %s", w.broken)
	}
}

func (w *world) tail(n int) string {
	t := w.trace
	if len(t) > n {
		t = t[len(t)-n:]
	}
	return strings.Join(t, "\n")
}

func (w *world) ring() int {
	if w.opt.rings > 0 {
		return w.opt.rings
	}
	return 1 << 20
}

func (w *world) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

// send carries a datagram.
func (w *world) send(from *node, to flow.Node, b []byte) {
	d := append([]byte(nil), b...)
	inc := to.Inc
	w.tap(from.id, to.ID, d)
	if w.net.cut[[2]uint32{from.id, to.ID}] || w.chance(w.net.loss) {
		return
	}
	copies := 1
	if w.chance(w.net.dup) {
		copies = 2
	}
	for range copies {
		ms := 1 + w.rng.Int64N(max(w.net.delay, 1))
		if w.chance(w.net.late) {
			ms += w.rng.Int64N(60)
		}
		w.after(ms, func() {
			n := w.nodes[to.ID-1]
			// A sip belongs to one incarnation; one that is paused or stopped hears nothing.
			if n.alive && n.inc == inc {
				n.datagram(arrived{from.id, append([]byte(nil), d...)})
			}
		})
	}
}

// alive nodes, ascending.
func (w *world) living() (list []*node) {
	for _, n := range w.nodes {
		if n.alive {
			list = append(list, n)
		}
	}
	return list
}

// routable are the nodes that the router sends packets to.
func (w *world) routable() (list []*node) {
	for _, n := range w.nodes {
		if n.alive && n.admitted && !n.paused && !n.zombie {
			list = append(list, n)
		}
	}
	return list
}

func (w *world) anyRoute() *node {
	r := w.routable()
	if len(r) == 0 {
		return nil
	}
	return r[w.rng.IntN(len(r))]
}

// trouble makes random things happen until the time of trouble is over.
func (w *world) trouble(until int64) {
	if w.now >= until {
		return
	}
	w.after(int64(w.rng.ExpFloat64()*1000/w.opt.actions)+1, func() { w.trouble(until) })
	switch x := w.rng.Float64(); {
	case x < 0.30:
		w.open()
	case x < 0.60:
		w.movePath()
	case x < 0.70:
		w.idleOne()
	case x < 0.85:
		w.closeOne()
	case x < 0.90 && w.opt.cuts:
		w.cutOne()
	case x < 0.96 && w.opt.crashes:
		w.coord.crashOne()
	case x < 0.98 && w.opt.clocks:
		w.clockOne()
	case x < 1 && w.opt.pauses:
		w.coord.pauseOne()
	}
}

// calm ends all trouble.
func (w *world) calm() {
	w.quiet = true
	w.net.loss, w.net.dup, w.net.late, w.opt.rough = 0, 0, 0, 0
	w.net.cut = map[[2]uint32]bool{}
	w.setClocks()
	w.logf("calm")
}

// cutOne cuts one direction between two nodes for a while.
func (w *world) cutOne() {
	l := w.living()
	if len(l) < 2 || w.quiet {
		return
	}
	a, b := l[w.rng.IntN(len(l))], l[w.rng.IntN(len(l))]
	if a == b {
		return
	}
	k := [2]uint32{a.id, b.id}
	if w.net.cut[k] {
		return
	}
	ms := 200 + w.rng.Int64N(4000)
	if w.opt.longCuts {
		ms += w.rng.Int64N(25_000)
	}
	w.net.cut[k] = true
	w.logf("cut %d->%d for %d ms", a.id, b.id, ms)
	w.after(ms, func() { delete(w.net.cut, k) })
}

// simulate runs trouble, then peace, and checks what must hold then.
func simulate(seed uint64, opt options) *world {
	w := newWorld(seed, opt)
	defer w.close()
	w.run(1500)
	w.trouble(w.now + opt.chaos)
	if opt.hostile {
		w.annoy(w.now + opt.chaos)
	}
	if opt.rotates {
		w.rotate(w.now + opt.chaos)
	}
	if opt.stalls {
		w.stall(w.now + opt.chaos)
	}
	w.run(opt.chaos)
	w.checkBirths()
	w.calm()
	if opt.capacity > 0 { // there must be room for the rest
		for _, c := range slices.Clone(w.conns[min(len(w.conns), opt.capacity/2):]) {
			c.end("too many")
		}
		w.run(20_000)
	}
	w.watchLong()
	w.run(30_000)
	stale := w.stale()
	w.run(10_000)
	w.checkClocks(stale)
	w.checkCalm()
	w.checkMended()
	if opt.drain {
		w.drainAll()
	}
	return w
}

func mustHold(t *testing.T, seed uint64, opt options) *world {
	t.Helper()
	w := simulate(seed, opt)
	if w.broken != "" {
		t.Fatalf("seed %d: %s\n%s", seed, w.broken, w.tail(*tail))
	}
	return w
}
