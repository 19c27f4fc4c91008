package neigh

import (
	"fmt"
	"net/netip"

	"github.com/gaissmai/bart"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

// Bounds of one call and of one second.
const (
	scanPerTick     = 64 // neighbours whose timers are looked at
	publishMS       = 10 // shortest distance of two snapshots of a large table
	smallTable      = 64 // up to here a change is published at once
	echoPerSecond   = 1000
	learnPerSecond  = 64
	waitPerNeighbor = 3
)

// owned is the value of the address table.
type owned struct {
	port   int // -1: on every port
	answer bool
	// override: the advertisement replaces what the neighbour holds. Not for service addresses, which several nodes may
	// have at a time.
	override bool
}

// Machine is the host. One thread drives it; see the package.
type Machine struct {
	ports      []Port
	pool       port.Pool
	send       func(int, port.Packet)
	pub        *Publisher
	maxEntries int
	maxWaiting int
	probeMS    uint32

	owned  *bart.Table[owned]
	routes *bart.Table[way]

	list    []*neighbor // in no order; index finds by address
	index   map[nextKey]*neighbor
	cursor  int
	waiting int
	asking  int // neighbours in state Incomplete

	gateways  []gateway
	nextProbe uint32
	echoSeq   uint16
	proof     proof

	announcements []announcement
	defended      map[netip.Addr]uint32 // tick of the last time, of addresses of ours alone
	groups        []membership          // of every address that is answered for
	groupCursor   int
	nextReport    uint32

	second    uint32 // start of the second that the two limits count in
	echoes    int
	learned   int
	dirty     bool
	published uint32
	scratch   port.Batch
	service   []Owned // in the order of the configuration, so that what is sent does not depend on a map's
	answered  map[netip.Prefix]bool
}

// New makes a machine that owns the ports' addresses, and publishes its first snapshot. It sends nothing before the
// first Tick, so the thread that will drive it need not run yet.
func New(now uint32, c Config) (*Machine, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	m := &Machine{
		ports: append([]Port(nil), c.Ports...), pool: c.Pool, send: c.Send, pub: c.Publisher,
		maxEntries: c.MaxNeighbors, maxWaiting: c.MaxWaiting, probeMS: c.ProbeMS,
		routes: &bart.Table[way]{}, index: map[nextKey]*neighbor{},
		nextProbe: now, second: now, published: now, nextReport: now,
	}
	if m.maxEntries <= 0 {
		m.maxEntries = 1024
	}
	if m.maxWaiting <= 0 {
		m.maxWaiting = 128
	}
	if m.pub == nil {
		m.pub = &Publisher{}
	}
	for i := range m.ports {
		p := &m.ports[i]
		for _, a := range p.Addresses {
			m.routes.Insert(a.Masked(), way{port: i})
		}
		for _, r := range p.Routes {
			m.routes.Insert(r.To.Masked(), way{port: i, via: r.Via})
			m.addGateway(i, r.Via)
		}
	}
	m.pub.echo.Store(now)
	m.pub.asked.Store(m.probeMS > 0 && len(m.gateways) > 0)
	if err := m.SetAddresses(nil); err != nil {
		return nil, err
	}
	m.publish(now)
	return m, nil
}

// Publisher is where the machine's snapshots and counters are.
func (m *Machine) Publisher() *Publisher { return m.pub }

// SetAddresses replaces the service addresses. New single ones with Answer are announced from the next Tick on.
func (m *Machine) SetAddresses(list []Owned) error {
	if len(list) > maxAddresses {
		return fmt.Errorf("neigh: %d addresses: %w", len(list), ErrTooMany)
	}
	t, answered := &bart.Table[owned]{}, make(map[netip.Prefix]bool, len(list))
	for _, o := range list {
		if !o.Prefix.IsValid() || !unicast(o.Prefix.Addr()) || o.Prefix.Addr().Is4In6() {
			return fmt.Errorf("neigh: service address %v: %w", o.Prefix, ErrAddress)
		}
		answered[o.Prefix.Masked()] = o.Answer
		t.Insert(o.Prefix.Masked(), owned{port: -1, answer: o.Answer})
	}
	first := m.owned == nil
	for i := range m.ports {
		p := &m.ports[i]
		own := owned{port: i, answer: true, override: true}
		for _, a := range append(p.Addresses[:len(p.Addresses):len(p.Addresses)], netip.PrefixFrom(linkLocal(p.MAC), 128)) {
			t.Insert(netip.PrefixFrom(a.Addr(), a.Addr().BitLen()), own)
			if first {
				m.announce(i, a.Addr())
			}
		}
	}
	for _, o := range list {
		if o.Answer && o.Prefix.IsSingleIP() && !m.answered[o.Prefix] {
			m.announceService(o.Prefix.Addr())
		}
	}
	m.owned, m.service, m.answered = t, append([]Owned(nil), list...), answered
	m.collectGroups()
	return nil
}

// Owns says whether a is an address of this host.
func (m *Machine) Owns(a netip.Addr) bool {
	_, ok := m.owned.Lookup(a)
	return ok
}

// answers says whether questions for a on this port are ours to answer.
func (m *Machine) answers(port int, a netip.Addr) (owned, bool) {
	o, ok := m.owned.Lookup(a)
	return o, ok && o.answer && (o.port < 0 || o.port == port)
}

// Input takes over a packet that came in by a port and that is for the host: ARP, neighbour discovery or echo.
func (m *Machine) Input(now uint32, in int, info *packet.Info, p port.Packet) {
	m.limits(now)
	if in < 0 || in >= len(m.ports) {
		m.drop(p, WrongLink)
		return
	}
	pt := &m.ports[in]
	if info.VLAN != pt.VLAN || !info.ForMAC(packet.MACWord(pt.MAC)) {
		m.drop(p, WrongLink)
		return
	}
	switch info.Class {
	case packet.ClassARP:
		m.arp(now, in, info, p)
	case packet.ClassND:
		m.discovery(now, in, info, p)
	case packet.ClassEcho:
		m.echo(now, in, info, p)
	default:
		m.drop(p, NotHandled)
	}
}

// Tick runs the timers and publishes what changed. Call it at every turn: the work of one call is bounded.
func (m *Machine) Tick(now uint32) {
	m.limits(now)
	for n := min(scanPerTick, len(m.list)); n > 0 && len(m.list) > 0; n-- {
		if m.cursor >= len(m.list) {
			m.cursor = 0
		}
		e := m.list[m.cursor]
		if due(now, e.due) && !m.timeout(now, e) {
			continue // removed: another one stands at the cursor now
		}
		m.cursor++
	}
	m.probeGateways(now)
	m.proveSome(now)
	m.announceSome(now)
	m.reportGroups(now)
	if m.dirty && (len(m.list) <= smallTable || due(now, m.published+publishMS)) {
		m.publish(now)
	}
}

func (m *Machine) publish(now uint32) {
	s := &Snapshot{routes: m.routes, hops: make(map[nextKey]*Hop, len(m.list))}
	for _, e := range m.list {
		if e.hop != nil {
			s.hops[makeNextKey(e.port, e.addr)] = e.hop
		}
	}
	s.short4, s.short6 = short4(s.shortRoutes(flow.IPv4)), s.shortRoutes(flow.IPv6)
	m.pub.snapshot.Store(s)
	m.dirty, m.published = false, now
}

// limits starts the limits' second anew.
func (m *Machine) limits(now uint32) {
	if now-m.second >= 1000 {
		m.second, m.echoes, m.learned = now, 0, 0
	}
}

func (m *Machine) count(c Count) { m.pub.counts[c].Add(1) }

func (m *Machine) drop(p port.Packet, why Count) {
	m.count(why)
	m.free(p)
}

func (m *Machine) free(p port.Packet) {
	m.scratch.Push(p)
	m.pool.Free(&m.scratch)
}

// frame allocates a frame of n zeroed bytes, and of the least that Ethernet sends.
func (m *Machine) frame(n int) (port.Packet, bool) {
	p, ok := m.pool.Alloc(max(n, minFrame))
	if !ok {
		m.count(PoolEmpty)
		return p, false
	}
	clear(p.Data)
	return p, true
}

const minFrame = 60

func due(now, at uint32) bool { return int32(now-at) >= 0 }
