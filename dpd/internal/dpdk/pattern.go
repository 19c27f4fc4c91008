package dpdk

import (
	"encoding/binary"
	"fmt"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/steer"
)

// itemKind is a protocol layer of an rte_flow pattern.
type itemKind uint8

const (
	itemEth itemKind = 1 + iota
	itemIPv4
	itemIPv6
	itemTCP
	itemUDP
)

// headerMax is the longest header that an item describes: IPv6.
const headerMax = 40

// item is one layer of a pattern: the header's bytes as on the wire, and which of their bits count. DPDK's item structs
// begin with exactly these headers; what follows there (VLAN and extension header flags) stays zero.
type item struct {
	spec, mask [headerMax]byte
	kind       itemKind
	n          uint8 // bytes of the header
	any        bool  // the layer must be there; its content does not count
}

// pattern is a rule as rte_flow knows it. It holds bytes only, so that a test can compare them without a device.
type pattern struct {
	items    []item
	priority uint32
	queue    uint16
	spread   []uint16 // queues to spread over by hash, instead of queue
	key      []byte   // of that hash
}

// Offsets in the headers.
const (
	ipv4Dst = 16
	ipv6Dst = 24
	l4Dst   = 2
)

// patternOf compiles a rule. The protocol number is not repeated in the IP layer, since the layer above implies it, and
// some devices refuse the redundancy.
func patternOf(r *steer.Rule) (pattern, error) {
	p := pattern{priority: r.Priority, queue: r.Queue, items: []item{{kind: itemEth, n: 14, any: true}}}
	if r.RSS != nil {
		// A map repeats every 128 buckets, and 128 queues is the most that rte_flow takes on many devices.
		p.spread, p.key = r.RSS.RETA[:steer.Buckets/2], r.RSS.Key[:]
	}
	switch r.Family {
	case 0:
		if r.Proto != 0 || r.PortMask != 0 || r.Dst.IsValid() {
			return pattern{}, fmt.Errorf("rule %v: an address, protocol or port without an address family", r)
		}
		return p, nil
	case flow.IPv4:
		if !r.Dst.IsValid() || !r.Dst.Addr().Is4() {
			return pattern{}, fmt.Errorf("rule %v: the destination is not an IPv4 prefix", r)
		}
		p.items = append(p.items, address(itemIPv4, 20, ipv4Dst, r))
	case flow.IPv6:
		if !r.Dst.IsValid() || !r.Dst.Addr().Is6() || r.Dst.Addr().Is4In6() {
			return pattern{}, fmt.Errorf("rule %v: the destination is not an IPv6 prefix", r)
		}
		p.items = append(p.items, address(itemIPv6, 40, ipv6Dst, r))
	default:
		return pattern{}, fmt.Errorf("rule %v: unknown address family %d", r, r.Family)
	}
	var l4 item
	switch r.Proto {
	case 0:
		if r.PortMask != 0 {
			return pattern{}, fmt.Errorf("rule %v: a port without a protocol", r)
		}
		return p, nil
	case flow.ProtoTCP:
		l4 = item{kind: itemTCP, n: 20}
	case flow.ProtoUDP:
		l4 = item{kind: itemUDP, n: 8}
	default:
		return pattern{}, fmt.Errorf("rule %v: unknown protocol %d", r, r.Proto)
	}
	if r.Port&^r.PortMask != 0 {
		return pattern{}, fmt.Errorf("rule %v: port bits outside of the mask", r)
	}
	l4.any = r.PortMask == 0
	binary.BigEndian.PutUint16(l4.spec[l4Dst:], r.Port)
	binary.BigEndian.PutUint16(l4.mask[l4Dst:], r.PortMask)
	p.items = append(p.items, l4)
	return p, nil
}

// address is the IP layer of a rule.
func address(kind itemKind, n uint8, dst int, r *steer.Rule) item {
	it := item{kind: kind, n: n, any: r.Dst.Bits() == 0}
	copy(it.spec[dst:], r.Dst.Masked().Addr().AsSlice())
	for i := range r.Dst.Bits() {
		it.mask[dst+i/8] |= 0x80 >> (i % 8)
	}
	return it
}
