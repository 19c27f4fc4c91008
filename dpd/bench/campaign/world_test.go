package campaign

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/bench/mesh"
	"github.com/holdfast-lb/holdfast/dpd/internal/localport"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
)

// options are what a run is made of.
type options struct {
	nodes, workers int
	room           int // sessions of a node's tables
	ports          int // see mesh.Config.Ports
	rings          int
	rate           int   // connections that begin in ten seconds
	chaos          int64 // milliseconds
	// Troubles, each as its mean distance in milliseconds; 0: none.
	kills, stops, threads, cuts, moves, keys, clocks, sick, control, full int64
	net                                                                   lossy
	clients                                                               lossy
}

// lossy is a network: shares of packets that are lost, repeated, late, and by how much at most, in milliseconds.
type lossy struct {
	loss, dup, late float64
	most            int64
}

// mutant switches off what must be noticed.
type mutant struct {
	off      syncer.Rules
	portsNow bool // a port is free when its session ends
	deaf     bool // nodes do not hear that their life is over
}

// world is one run.
type world struct {
	seed   uint64
	opt    options
	mut    mutant
	rng    *rand.Rand
	mesh   *mesh.Mesh
	now    int64
	queue  map[int64][]func()
	nodes  []*node
	coord  coordinator
	conns  []*conn
	open   []*conn
	server map[tuple]*accepted
	cut    map[[2]int]bool
	peace  bool
	broken string
	log    []string
	total  tally
}

// tally is what a run did.
type tally struct {
	begun, ended, refused, guarded, strays                                   int
	kills, stops, threads, cuts, moves, keys, clocks, sick, fenced, admitted int
}

func (w *world) logf(format string, a ...any) {
	w.log = append(w.log, fmt.Sprintf("%7d ", w.now)+fmt.Sprintf(format, a...))
}

func (w *world) violate(format string, a ...any) {
	if w.broken == "" {
		w.broken = fmt.Sprintf("at %d ms: ", w.now) + fmt.Sprintf(format, a...)
		w.logf("VIOLATION %s", fmt.Sprintf(format, a...))
	}
}

func (w *world) after(ms int64, f func()) {
	at := w.now + max(ms, 1)
	w.queue[at] = append(w.queue[at], f)
}

func (w *world) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }
func (w *world) below(n int64) int64   { return w.rng.Int64N(max(n, 1)) }

// each has f done again and again, at random times, until peace.
func (w *world) each(mean int64, f func()) {
	if mean == 0 {
		return
	}
	var next func()
	next = func() {
		if !w.peace {
			f()
			w.after(mean/2+w.below(mean), next)
		}
	}
	w.after(mean/2+w.below(mean), next)
}

func (w *world) step() {
	w.mesh.Step()
	w.now = w.mesh.Now()
	list := w.queue[w.now]
	delete(w.queue, w.now)
	for _, f := range list {
		f()
	}
	w.watch()
}

// quick is the pool of ports of a mutant that frees them at once.
type quick struct{ *localport.Pool }

func (q quick) Quarantine(reply *flowKey, own bool) uint32 {
	if own && q.Holds(reply) {
		q.Release(*reply)
	}
	return 0
}
func (q quick) Free(uint32, uint16) {}

const (
	laddrs = 2
	ended  = 4096
)

func simulate(t testing.TB, seed uint64, opt options, mut mutant) *world {
	w := &world{
		seed: seed, opt: opt, mut: mut, rng: rand.New(rand.NewPCG(seed, 77)), queue: map[int64][]func(){},
		server: map[tuple]*accepted{}, cut: map[[2]int]bool{},
	}
	c := mesh.Config{
		Bare: true, Nodes: opt.nodes, Workers: opt.workers, Room: opt.room, Ended: ended, Rounds: 2, Servers: 3, Laddrs: laddrs,
		Seed: seed, Rings: opt.rings, Ports: opt.ports, Lasts: 30, Off: mut.off,
	}
	if mut.portsNow {
		c.Wrap = func(p *localport.Pool) syncer.Ports { return quick{p} }
	}
	var err error
	if w.mesh, err = mesh.New(c); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.mesh.Close(); err != nil {
			t.Error(err)
		}
	}()
	w.mesh.Carry = w.carry
	w.mesh.Arrived = w.arrived
	w.run()
	return w
}

// run is the whole life of a cluster.
func (w *world) run() {
	w.coord.begin(w)
	for i := range w.opt.nodes {
		n := &node{w: w, i: i}
		w.nodes = append(w.nodes, n)
		n.start()
		for range 200 {
			w.step()
		}
	}
	for range 20_000 {
		if w.healthy() {
			break
		}
		w.step()
	}
	if !w.healthy() {
		w.violate("the cluster does not come up: %s", w.states())
		return
	}
	w.traffic()
	w.trouble()
	for end := w.now + w.opt.chaos; w.now < end && w.broken == ""; {
		w.step()
	}
	w.calm()
	for end := w.now + healWithin; w.now < end && w.broken == "" && !w.healthy(); {
		w.step()
	}
	if !w.healthy() && w.broken == "" {
		w.violate("not healthy %d ms after peace: %s", healWithin, w.states())
	}
	w.proceed()
	for end := w.now + endWithin; w.now < end && w.broken == "" && len(w.open) > 0; {
		w.step()
	}
	for _, c := range w.open {
		w.violate("connection %d does not end: %s", c.id, c)
	}
	for end := w.now + cleanWithin; w.now < end && w.broken == ""; {
		w.step()
		if w.now%1000 == 0 && w.clean() == "" {
			break
		}
	}
	if dirt := w.clean(); w.broken == "" && dirt != "" {
		w.violate("%d ms after the last connection: %s", cleanWithin, dirt)
	}
}

// Bounds after peace, in milliseconds.
const (
	healWithin  = 130_000 // links, joins (who was put aside waits), digests
	endWithin   = 60_000
	cleanWithin = 110_000 // tombstones of owners that are gone, idle half-open sessions, then theirs
)

func (w *world) tail() string {
	from := max(len(w.log)-150, 0)
	return strings.Join(w.log[from:], "\n")
}
