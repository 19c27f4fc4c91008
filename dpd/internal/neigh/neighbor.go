package neigh

import (
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

// State of a neighbour.
//
//	            answer                  30 s               5 s
//	Incomplete ────────> Reachable ──────────────> Stale ─────────> Probe
//	   ^  │                  ^ ^                                    │   │
//	   │  │ 3 questions       │ └──────────── answer ───────────────┘   │ 3 questions
//	   │  v                  (doubted: Probe at once)                   v
//	   └─ Failed <──────────────────────────────────────────────────────┘
//	 1 s  (gateways only; others are forgotten)
type State uint8

const (
	Incomplete State = iota // asked, its MAC is not known
	Reachable               // it answered lately
	Stale                   // its MAC is used, to be confirmed soon
	Probe                   // its MAC is used while it is asked
	Failed                  // it does not answer
	numStates
)

var stateNames = [numStates]string{"incomplete", "reachable", "stale", "probe", "failed"}

// String is the state's name for people.
func (s State) String() string {
	if s < numStates {
		return stateNames[s]
	}
	return "unknown"
}

// Times in milliseconds, after RFC 4861 10.
const (
	reachableMS = 30_000
	staleMS     = 5_000
	retryMS     = 1_000
	failedMS    = 1_000
	questions   = 3
)

// neighbor is one line of the table. Invariant: hop is set exactly in Reachable, Stale and Probe.
type neighbor struct {
	addr    netip.Addr
	port    int
	hop     *Hop
	state   State
	asked   uint8 // questions in this state
	doubted bool  // ask everyone: the known MAC may be of a dead station
	pinned  bool  // a gateway
	at      int   // position in the list
	due     uint32
	since   uint32 // when it last gave a sign of life
	wait    [waitPerNeighbor]port.Packet
	waiting int
}

// find is the neighbour with this address on this port, or nil.
func (m *Machine) find(port int, a netip.Addr) *neighbor { return m.index[makeNextKey(port, a)] }

// insert makes room for a neighbour and adds it without a state; nil when the table is full of better ones.
func (m *Machine) insert(now uint32, port int, a netip.Addr) *neighbor {
	if len(m.list) >= m.maxEntries && !m.evict(now) {
		m.count(TableFull)
		return nil
	}
	e := &neighbor{addr: a, port: port, at: len(m.list), since: now}
	for i := range m.gateways {
		e.pinned = e.pinned || m.gateways[i].port == port && m.gateways[i].addr == a
	}
	m.list = append(m.list, e)
	m.index[makeNextKey(port, a)] = e
	m.dirty = true
	return e
}

// evict forgets a failed neighbour, or the stale one that was silent for longest.
func (m *Machine) evict(now uint32) bool {
	var worst *neighbor
	for _, e := range m.list {
		if e.pinned || e.state == Incomplete || e.state == Reachable {
			continue
		}
		if worst == nil || e.state == Failed && worst.state != Failed || (e.state == Failed) == (worst.state == Failed) && now-e.since > now-worst.since {
			worst = e
		}
	}
	if worst == nil {
		return false
	}
	m.remove(worst)
	return true
}

func (m *Machine) remove(e *neighbor) {
	m.dropWaiting(e, Unreachable)
	last := m.list[len(m.list)-1]
	m.list[e.at], last.at = last, e.at
	m.list[len(m.list)-1] = nil
	m.list = m.list[:len(m.list)-1]
	delete(m.index, makeNextKey(e.port, e.addr))
	m.dirty = true
}

// create adds a neighbour and asks for it. At most a quarter of the table may be unknown ones, so that traffic to
// addresses that don't exist can't push out those that do.
func (m *Machine) create(now uint32, port int, a netip.Addr) *neighbor {
	if m.asking >= max(m.maxEntries/4, 1) {
		m.count(TableFull)
		return nil
	}
	e := m.insert(now, port, a)
	if e == nil {
		return nil
	}
	m.asking++
	e.state = Incomplete
	m.ask(now, e)
	return e
}

// enter changes the state, keeps the count of unknown ones and sets the timer.
func (m *Machine) enter(now uint32, e *neighbor, s State, ms uint32) {
	if e.state == Incomplete {
		m.asking--
	}
	if s == Incomplete {
		m.asking++
	}
	if s == Failed || s == Incomplete {
		e.hop = nil
	}
	e.state, e.asked, e.doubted = s, 0, false
	e.due = now + ms
	m.dirty = true
}

// ask sends one question: to everyone while the MAC is unknown or doubted, and as the last try.
func (m *Machine) ask(now uint32, e *neighbor) {
	e.asked++
	e.due = now + retryMS
	to := [6]byte{}
	if e.hop != nil && !e.doubted && e.asked < questions {
		to = e.hop.Dst
	}
	if e.addr.Is4() {
		m.sendARPRequest(e.port, e.addr, to)
	} else {
		m.sendSolicit(e.port, e.addr, to)
	}
}

// timeout runs the timer of e, and says false when it removed e.
func (m *Machine) timeout(now uint32, e *neighbor) bool {
	switch e.state {
	case Reachable:
		m.enter(now, e, Stale, staleMS)
	case Stale:
		m.enter(now, e, Probe, 0)
		m.ask(now, e)
	case Incomplete, Probe:
		if e.asked < questions {
			m.ask(now, e)
			break
		}
		m.dropWaiting(e, Unreachable)
		m.enter(now, e, Failed, failedMS)
	case Failed:
		if !e.pinned {
			m.remove(e)
			return false
		}
		m.enter(now, e, Incomplete, 0)
		m.ask(now, e)
	}
	return true
}

// confirm takes an answer. Only one that was asked for counts; another MAC than the known one is a reason to ask.
func (m *Machine) confirm(now uint32, e *neighbor, mac [6]byte) {
	switch {
	case e == nil || !usableMAC(mac):
		m.count(Unasked)
	case e.state == Incomplete || e.state == Probe:
		m.count(Confirmed)
		e.since = now
		m.enter(now, e, Reachable, reachableMS)
		m.learn(e, mac)
	default:
		m.claim(now, e, mac)
	}
}

// claim takes a binding that nobody asked for.
func (m *Machine) claim(now uint32, e *neighbor, mac [6]byte) {
	if e == nil || e.hop == nil || e.hop.Dst == mac || !usableMAC(mac) {
		m.count(Unasked)
		return
	}
	m.count(Doubted)
	m.doubt(now, e)
}

func (m *Machine) doubt(now uint32, e *neighbor) {
	if e.state == Probe && e.doubted {
		return // asked already; a flood of claims must not become a flood of questions
	}
	m.enter(now, e, Probe, 0)
	e.doubted = true
	m.ask(now, e)
}

// heard takes the sender of a request for an address of ours.
func (m *Machine) heard(now uint32, in int, a netip.Addr, mac [6]byte) {
	if !usableMAC(mac) || !unicast(a) || !m.ports[in].onLink(a) {
		return
	}
	if m.Owns(a) {
		m.count(Conflict)
		return
	}
	e := m.find(in, a)
	switch {
	case e == nil:
		if m.learned >= learnPerSecond {
			m.count(Limited)
			return
		}
		if e = m.insert(now, in, a); e == nil {
			return
		}
		m.learned++
		e.state = Stale // outside enter: it was in no state before
		e.due = now + staleMS
	case e.hop == nil:
		m.enter(now, e, Stale, staleMS)
	default:
		if e.hop.Dst != mac {
			m.count(Doubted)
			m.doubt(now, e)
		}
		return
	}
	m.count(Heard)
	e.since = now
	m.learn(e, mac)
}

// learn sets the MAC and sends what waited for it.
func (m *Machine) learn(e *neighbor, mac [6]byte) {
	if e.hop == nil || e.hop.Dst != mac {
		e.hop = newHop(&m.ports[e.port], e.port, e.addr, mac)
		m.dirty = true
	}
	for i := range e.waiting {
		m.transmit(e.hop, e.wait[i])
		e.wait[i] = port.Packet{}
	}
	m.waiting -= e.waiting
	e.waiting = 0
}

// transmit sends an IP packet to a known neighbour.
func (m *Machine) transmit(h *Hop, p port.Packet) {
	if !h.SetLink(m.pool, &p, linkSize(p.Data)) {
		m.drop(p, PoolEmpty)
		return
	}
	m.send(h.Port, p)
}

// linkSize is the size of the link header that a packet of ours has.
func linkSize(data []byte) int {
	if packet.Ethernet(data).Type() == packet.EtherTypeVLAN {
		return packet.EthernetSize + packet.TagSize
	}
	return packet.EthernetSize
}

func (m *Machine) dropWaiting(e *neighbor, why Count) {
	for i := range e.waiting {
		m.drop(e.wait[i], why)
		e.wait[i] = port.Packet{}
	}
	m.waiting -= e.waiting
	e.waiting = 0
}

// Resolve takes over an IP packet that is ready but for its link header, whose content does not matter: it is sent at
// once if the way to dst is known, and else waits for the neighbour's answer. Three packets wait for each
// neighbour; a later one pushes out the earliest.
func (m *Machine) Resolve(now uint32, p port.Packet, dst netip.Addr) {
	w, ok := m.routes.Lookup(dst)
	if !ok || len(p.Data) < minPacket || m.Owns(dst) {
		m.drop(p, NoRoute)
		return
	}
	next := w.next(dst)
	e := m.find(w.port, next)
	switch {
	case e == nil:
		if e = m.create(now, w.port, next); e == nil {
			m.free(p)
			return
		}
	case e.hop != nil:
		m.transmit(e.hop, p)
		return
	case e.state == Failed:
		m.drop(p, Unreachable)
		return
	}
	switch {
	case e.waiting == waitPerNeighbor:
		m.drop(e.wait[0], WaitFull)
		copy(e.wait[:], e.wait[1:])
		e.wait[waitPerNeighbor-1] = p
	case m.waiting >= m.maxWaiting:
		m.drop(p, WaitFull)
		return
	default:
		e.wait[e.waiting] = p
		e.waiting++
		m.waiting++
	}
	m.count(Waited)
}

// minPacket is a link header with a tag and the smallest IP header.
const minPacket = packet.EthernetSize + packet.TagSize + 1
