package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/localport"
	"github.com/holdfast-lb/holdfast/dpd/internal/sched"
)

// goalP4 are nanoseconds of a look-up with update, by sessions.
var goalP4 = map[int]float64{1_000_000: 20, 10_000_000: 22, 20_000_000: 24}

// knownP4 are the nanoseconds that the baseline took on the machine that the goals were set on. Machines differ in memory by
// a factor of three from day to day, so a goal in nanoseconds is held against our share of the baseline of the same run, at
// the speed that the baseline had there; both figures are printed.
var knownP4 = map[int]float64{1_000_000: 20.5, 10_000_000: 27.6, 20_000_000: 31.1}

// faster is how much faster than the baseline P4 asks us to be.
const faster = 1.2

// lookups measures P4 at n sessions: against the baseline, one at a time as control, and IPv6 against IPv4.
func (r *report) lookups(o options, n int, binary string) (ns float64, err error) {
	v4, err := filled(n, false)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, v4.Close()) }()
	ours := func(seed uint64) (float64, error) { return lookups(v4, n, false, false, seed, o.count) }
	base, err := startBaseline(binary, n)
	if err != nil {
		return 0, err
	}
	p, err := turns(o.pairs, ours, func(seed uint64) (float64, error) { return base.measure(seed, o.count) })
	if err = errors.Join(err, base.stop()); err != nil {
		return 0, err
	}
	x := p.result("P4", "look-up + update, "+short(n)+" IPv4 sessions", "ns", "baseline: rte_hash_lookup_bulk_data; must be 1.2x as fast too")
	if goal, ok := goalP4[n]; ok {
		there := x.Ratio * knownP4[n]
		holds := min(x.Ours, there) <= goal && x.Ratio <= 1/faster && o.pairs >= 7
		x.Note += fmt.Sprintf("; %.1f ns where the baseline takes %.1f", there, knownP4[n])
		x.Goal, x.Holds = &goal, &holds
	}
	r.add(x)
	one, err := turns(max(o.pairs/2, 1), ours, func(seed uint64) (float64, error) { return lookups(v4, n, false, true, seed, o.count/4) })
	if err != nil {
		return 0, err
	}
	r.add(one.result("P4", "look-up + update, "+short(n)+" IPv4 sessions, control", "ns", "baseline: the same table one key at a time"))
	v6, err := filled(n, true)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, v6.Close()) }()
	six, err := turns(o.pairs, func(seed uint64) (float64, error) { return lookups(v6, n, true, false, seed, o.count) }, ours)
	if err != nil {
		return 0, err
	}
	y := six.result("P4", "look-up + update, "+short(n)+" IPv6 sessions", "ns", "baseline: IPv4; the goal is the ratio")
	goal, holds := 1.3, y.Ratio <= 1.3 && o.pairs >= 7
	y.Goal, y.Holds = &goal, &holds
	r.add(y)
	return x.Ours, nil
}

// memory measures P6: what the kernel says the process grew by for n sessions.
func (r *report) memory(n int, six bool) error {
	before, err := resident()
	if err != nil {
		return err
	}
	t, err := filled(n, six)
	if err != nil {
		return err
	}
	after, err := resident()
	if err != nil {
		return err
	}
	name, goal := "IPv4", 128.0
	if six {
		name, goal = "IPv6", 176
	}
	r.atMost("P6", "resident memory a session, "+short(n)+" "+name, "B", float64(after-before)/float64(n), 640, goal)
	return t.Close()
}

// resident is VmRSS in bytes.
func resident() (int64, error) {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(data))
	if len(f) < 2 {
		return 0, fmt.Errorf("statm: %q", data)
	}
	pages, err := strconv.ParseInt(f[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// world is what a new session goes through: a service of 100 servers, 8 laddrs.
type world struct {
	table *conntrack.Table
	pool  *localport.Pool
	state *sched.State
}

func newWorld(sessions int) (*world, error) {
	c := sched.ServiceConfig{ID: 1, VIP: netip.MustParseAddrPort("198.51.100.1:80"), Proto: flow.ProtoTCP, Mode: flow.FullNAT, Algorithm: sched.WRR}
	for i := range 100 {
		c.Servers = append(c.Servers, sched.ServerConfig{
			ID: uint32(i + 1), Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, 0, byte(i + 1)}), 8080), Weight: uint32(1 + i%5), State: sched.Up,
		})
	}
	snap, err := sched.Compile(&sched.Config{Services: []sched.ServiceConfig{c}}, nil)
	if err != nil {
		return nil, err
	}
	w := &world{pool: localport.New(0), state: sched.NewState(0, 1)}
	w.state.Use(snap)
	var laddrs []netip.Addr
	for i := range 8 {
		laddrs = append(laddrs, netip.AddrFrom4([4]byte{10, 1, 0, byte(i + 1)}))
	}
	w.pool.SetBlocks(laddrs)
	w.table, err = newTable(sessions, 0)
	return w, err
}

var errNoServer = errors.New("no server, or no port")

// open does for session i what the first packet of a flow needs, after its look-up missed.
func (w *world) open(i uint32, flags flow.Flags, state flow.State) (flow.Handle, error) {
	var s flow.Session
	k := flow.Key{Addr: [4]uint64{uint64(0x0a000000+i/60000)<<32 | 0xc6336401}, Meta: uint64(1024+i%60000)<<48 | 80<<32 | flow.ProtoTCP<<8 | flow.IPv4}
	svc := w.state.Snapshot().Lookup(&k)
	if svc == nil {
		return 0, errNoServer
	}
	server, ok := w.state.Pick(svc)
	if !ok {
		return 0, errNoServer
	}
	bucket := flow.Bucket(i * 0x9e3779b1 >> 24)
	reply, ok := w.pool.Take(bucket, localport.Endpoint{Addr: server.Addr, Port: server.Port, Proto: server.Proto, Family: server.Family})
	if !ok {
		return 0, errNoServer
	}
	s.Orig, s.Reply, s.Birth, s.Owner, s.Term, s.Ver = k, reply, flow.Birth(i), me, 1, 1
	s.Service, s.Server, s.Mode, s.Flags, s.State, s.Bucket = svc.ID, server.ID, svc.Mode, flags, state, bucket
	h, err := w.table.Insert(&s)
	if err == nil {
		w.state.Opened(server)
	}
	return h, err
}

// newSessions measures P7: schedule, take a port, insert.
func (r *report) newSessions(o options) error {
	const n = 1 << 20
	var rates []float64
	for range o.pairs {
		w, err := newWorld(n)
		if err != nil {
			return err
		}
		start, err := threadTime()
		if err != nil {
			return err
		}
		for i := range uint32(n) {
			if _, err := w.open(i, flow.Embryonic, flow.TCPNone); err != nil {
				return errors.Join(err, w.table.Close())
			}
		}
		end, err := threadTime()
		if err = errors.Join(err, w.table.Close()); err != nil {
			return err
		}
		rates = append(rates, n/(end-start).Seconds()/1e6)
	}
	r.atLeast("P7", "new sessions: schedule, port, insert, of 1 M", rates, 3, o.pairs)
	return nil
}

// lives measures P8: SYN to expiry, with 100 k sessions standing at any time.
func (r *report) lives(o options) error {
	const n, standing = 1 << 19, 100_000
	var rates []float64
	for range o.pairs {
		w, err := newWorld(2 * standing)
		if err != nil {
			return err
		}
		d, err := w.live(n, standing)
		if err = errors.Join(err, w.table.Close()); err != nil {
			return err
		}
		rates = append(rates, n/d.Seconds()/1e6)
	}
	r.atLeast("P8", "TCP lives: SYN to expiry, 10 packets, 100 k standing", rates, 0.8, o.pairs)
	return nil
}

// live lets n connections begin, and each end once standing others began after it.
func (w *world) live(n, standing int) (time.Duration, error) {
	handles := make([]flow.Handle, n)
	due := make([]flow.Handle, 64)
	ended, now := 0, expiry.Tick(0)
	start, err := threadTime()
	if err != nil {
		return 0, err
	}
	for i := 0; ended < n; i++ {
		if i%64 == 0 { // a turn of the worker
			now += 40 // so that CLOSE and TIME_WAIT pass while the others stand
			w.table.Advance(now)
			for _, h := range due[:w.table.Sweep(now, 16384, len(due), due)] {
				w.end(h)
				ended++
			}
		}
		if i < n {
			if handles[i], err = w.open(uint32(i), flow.Embryonic, flow.TCPNone); err != nil {
				return 0, err
			}
			w.play(handles[i], opening, now)
		}
		if j := i - standing; j >= 0 && j < n {
			w.play(handles[j], closing, now)
		}
		if i > 100*n {
			return 0, fmt.Errorf("%d of %d connections ended", ended, n)
		}
	}
	end, err := threadTime()
	return end - start, err
}

type packet struct {
	dir flow.Direction
	seg conntrack.Segment
}

var opening = []packet{
	{flow.In, conntrack.Segment{Flags: conntrack.SYN, Seq: 100}},
	{flow.Out, conntrack.Segment{Flags: conntrack.SYN | conntrack.ACK, Seq: 500, Ack: 101}},
	{flow.In, conntrack.Segment{Flags: conntrack.ACK, Seq: 101, Ack: 501}},
	{flow.In, conntrack.Segment{Flags: conntrack.ACK, Seq: 101, Ack: 501, Payload: 80}},
	{flow.Out, conntrack.Segment{Flags: conntrack.ACK, Seq: 501, Ack: 181, Payload: 1000}},
	{flow.In, conntrack.Segment{Flags: conntrack.ACK, Seq: 181, Ack: 1501}},
}

var closing = []packet{
	{flow.In, conntrack.Segment{Flags: conntrack.FIN | conntrack.ACK, Seq: 181, Ack: 1501}},
	{flow.Out, conntrack.Segment{Flags: conntrack.ACK, Seq: 1501, Ack: 182}},
	{flow.Out, conntrack.Segment{Flags: conntrack.FIN | conntrack.ACK, Seq: 1501, Ack: 182}},
	{flow.In, conntrack.Segment{Flags: conntrack.ACK, Seq: 182, Ack: 1502}},
}

// play passes packets through look-up and update, one at a time.
func (w *world) play(h flow.Handle, packets []packet, now expiry.Tick) {
	var k flow.Key
	for i := range packets {
		p := &packets[i]
		w.table.Outgoing(h, p.dir^1, &k)
		k = k.Reverse()
		if g, d, ok := w.table.Find(&k); ok {
			w.table.Touch(g, d, &p.seg, now)
		}
	}
}

func (w *world) end(h flow.Handle) {
	var s flow.Session
	w.table.Load(h, &s)
	w.pool.Release(s.Reply)
	w.state.Closed(s.Server)
	w.table.Remove(h)
}

// comparison is what turns measured: ours, the baseline, and their ratios pair by pair.
type comparison struct{ a, b, ratios []float64 }

// turns measures a and b by turns, A B B A.
func turns(pairs int, a, b func(seed uint64) (float64, error)) (c comparison, err error) {
	for i := range pairs {
		var v [2]float64
		for j := range 2 {
			which := j ^ i&1
			f := a
			if which == 1 {
				f = b
			}
			if v[which], err = f(uint64(i + 1)); err != nil {
				return c, err
			}
		}
		c.a, c.b, c.ratios = append(c.a, v[0]), append(c.b, v[1]), append(c.ratios, v[0]/v[1])
	}
	return c, nil
}

func (c *comparison) result(id, metric, unit, note string) result {
	return result{
		ID: id, Metric: metric, Unit: unit, Ours: median(c.a), Baseline: median(c.b), Ratio: median(c.ratios),
		Spread: [2]float64{slices.Min(c.ratios), slices.Max(c.ratios)}, Note: note,
	}
}
