package neigh

import (
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
	"sync/atomic"

	"github.com/gaissmai/bart"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

// Hop is where packets to some destination go. Immutable.
type Hop struct {
	Plain PlainHop
	Next  netip.Addr // the neighbour
	Port  int        // index of the port
	MTU   int        // bytes of IP packet
	Src   [6]byte
	Dst   [6]byte
	VLAN  uint16
	L3    int // size of the link header in bytes
	link  [packet.EthernetSize + packet.TagSize]byte
	tail6 uint64 // Plain.Tail for IPv6
}

// PlainHop is what a plain packet needs of a hop: the untagged header for IPv4 as words, first byte lowest.
type PlainHop struct {
	Head uint64 // its first eight bytes
	Tail uint64 // the last eight of its 14
	MTU  int32  // bytes of IP packet; -1: frames to this hop are tagged
	Port int32
}

// Set is SetLink of a plain packet.
func (h *PlainHop) Set(d *packet.PlainFrame) {
	binary.LittleEndian.PutUint64(d[:], h.Head)
	binary.LittleEndian.PutUint64(d[packet.EthernetSize-8:], h.Tail)
}

func newHop(p *Port, index int, next netip.Addr, mac [6]byte) *Hop {
	h := &Hop{Next: next, Port: index, MTU: p.MTU, Src: p.MAC, Dst: mac, VLAN: p.VLAN}
	h.L3 = packet.PutEthernet(h.link[:], h.Dst, h.Src, h.VLAN, packet.EtherTypeIPv4)
	h.Plain = PlainHop{
		Head: binary.LittleEndian.Uint64(h.link[:]), Tail: binary.LittleEndian.Uint64(h.link[packet.EthernetSize-8:]),
		MTU: int32(min(h.MTU, math.MaxInt32)), Port: int32(index),
	}
	if h.L3 != packet.EthernetSize {
		h.Plain.MTU = -1
	}
	h.tail6 = h.Plain.Tail&^(0xffff<<48) | uint64(bits.ReverseBytes16(packet.EtherTypeIPv6))<<48
	return h
}

// SetLink gives an IP packet the link header of this hop. l3 is where its IP header begins now. When the header's size
// changes the packet moves in its buffer; false means that there was no room, and the packet is as it was.
func (h *Hop) SetLink(pool port.Pool, p *port.Packet, l3 int) bool {
	if l3 != h.L3 && !pool.Resize(p, h.L3-l3, 0) {
		return false
	}
	if d := p.Data; h.L3 == packet.EthernetSize && len(d) > packet.EthernetSize {
		// Two words that overlap, in place of a copy of a length that the compiler can't know.
		binary.LittleEndian.PutUint64(d, h.Plain.Head)
		tail := h.Plain.Tail
		if d[packet.EthernetSize]>>4 == 6 {
			tail = h.tail6
		}
		binary.LittleEndian.PutUint64(d[6:], tail)
		return true
	}
	copy(p.Data, h.link[:h.L3])
	if p.Data[h.L3]>>4 == 6 {
		binary.BigEndian.PutUint16(p.Data[h.L3-2:], packet.EtherTypeIPv6)
	}
	return true
}

// nextKey names a neighbour: link-local addresses are of one port only.
type nextKey struct {
	hi, lo uint64
	port   uint16
	family uint8
}

func makeNextKey(port int, a netip.Addr) nextKey {
	hi, lo := words(a)
	k := nextKey{hi: hi, lo: lo, port: uint16(port), family: flow.IPv6}
	if a.Is4() {
		k.family = flow.IPv4
	}
	return k
}

// words is an address as in flow.Key: an IPv4 address is the second word.
func words(a netip.Addr) (hi, lo uint64) {
	if a.Is4() {
		b := a.As4()
		return 0, uint64(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
}

func fromWords(family uint8, hi, lo uint64) netip.Addr {
	if family == flow.IPv4 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(lo))
		return netip.AddrFrom4(b)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], hi)
	binary.BigEndian.PutUint64(b[8:], lo)
	return netip.AddrFrom16(b)
}

// way is the value of the routing table: a port, and a gateway unless the destination is on-link.
type way struct {
	port int
	via  netip.Addr
}

func (w *way) next(dst netip.Addr) netip.Addr {
	if w.via.IsValid() {
		return w.via
	}
	return dst
}

// Snapshot is the routes and the known next hops as they were at one moment. Immutable; any thread may read it.
type Snapshot struct {
	routes *bart.Table[way]
	hops   map[nextKey]*Hop
	short4 []Route4
	short6 []shortRoute
}

// Route finds the hop for a destination. It is nil without a route or before the neighbour is known: then the packet goes to
// the Machine's thread, for Resolve. No allocation; some tens of nanoseconds, so cache the result by destination
// for as long as the Snapshot is current.
func (s *Snapshot) Route(dst netip.Addr) *Hop {
	w, ok := s.routes.Lookup(dst)
	if !ok {
		return nil
	}
	return s.hops[makeNextKey(w.port, w.next(dst))]
}

// RouteWords is Route for a destination in the words of flow.Key.
func (s *Snapshot) RouteWords(family uint8, hi, lo uint64) *Hop {
	return s.Route(fromWords(family, hi, lo))
}

// Publisher is what the Machine shares with other threads.
type Publisher struct {
	snapshot atomic.Pointer[Snapshot]
	counts   [NumCounts]atomic.Uint64
	asked    atomic.Bool
	echo     atomic.Uint32 // tick of the last echo of a gateway
	proof    atomic.Pointer[Proof]
}

// Load is the current snapshot; nil before the Machine exists. Any thread.
func (p *Publisher) Load() *Snapshot { return p.snapshot.Load() }

// Count reads one counter. Any thread.
func (p *Publisher) Count(c Count) uint64 { return p.counts[c].Load() }

// EchoAge is the time in milliseconds since any gateway answered an echo, or since the start if none ever did; -1 when
// none is asked. Any thread.
func (p *Publisher) EchoAge(now uint32) int64 {
	if !p.asked.Load() {
		return -1
	}
	// The reader's clock may stand a little before the tick that the Machine has just written.
	return max(0, int64(int32(now-p.echo.Load())))
}
