// Package nat rewrites parsed packets: addresses and ports of forwarded ones, the packets quoted in ICMP errors, and the
// few packets that the data plane itself answers with. It is pure: bytes in, bytes out, no state, no allocation.
//
// Checksums of forwarded packets are updated, never recomputed, so damage that happened before this node is still
// seen by the receiver. ICMP errors, which are resized and rebuilt by routers on the way, are verified first.
package nat

import (
	"encoding/binary"

	"github.com/holdfast-lb/holdfast/dpd/internal/checksum"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

// Verdict says whether a packet was rewritten. With any other than Done the packet is as it was.
type Verdict uint8

const (
	Done           Verdict = iota
	TTLExpired             // it may not travel further; time exceeded is due
	FamilyMismatch         // the target tuple is of another family or protocol
	ZeroChecksum           // UDP over IPv6 without a checksum (RFC 8200 8.1)
	BadChecksum            // an ICMP error whose checksum is wrong
	NotRoutable            // ARP and neighbour discovery never leave their link
	Refused                // packet.Parse refused it
	NumVerdicts
)

var verdictNames = [NumVerdicts]string{"done", "ttl_expired", "family_mismatch", "udp6_zero_checksum", "bad_icmp_checksum", "not_routable", "refused"}

// String is the name under which drops for this verdict are counted.
func (v Verdict) String() string {
	if v < NumVerdicts {
		return verdictNames[v]
	}
	return "unknown_verdict"
}

// Rewrite turns the packet that Parse described in info into one with the tuple to, and takes one off its TTL or hop
// limit. to is the tuple of packets that leave in this packet's direction; it serves for an ICMP error too, whose
// session is found by info.Against: the error then comes from to's source, and the quoted packet gets the reverse of to.
// Afterwards info still describes the packet as it came.
func Rewrite(info *packet.Info, data []byte, to *flow.Key) Verdict {
	switch {
	case info.Class == packet.ClassARP || info.Class == packet.ClassND:
		return NotRoutable
	case info.TTL <= 1:
		return TTLExpired
	case info.Class == packet.ClassError:
		return rewriteError(info, data, to)
	}
	// Family and protocol are the low 32 bits of Meta.
	if uint32(info.Meta) != uint32(to.Meta) {
		return FamilyMismatch
	}
	var addr checksum.Sum
	v4 := info.Family() == flow.IPv4
	if v4 {
		addr = checksum.Sum(0).Replace(info.Addr[0], to.Addr[0])
	} else {
		addr = replace6(0, &info.Addr, &to.Addr)
	}
	h := data[info.L4:]
	sum := addr.Replace32(uint32(info.Meta>>32), uint32(to.Meta>>32))
	switch info.Class {
	case packet.ClassTCP:
		t := packet.TCP(h)
		t.SetChecksum(sum.Apply(t.Checksum()))
		t.SetPorts(uint32(to.Meta >> 32))
	case packet.ClassUDP:
		u := packet.UDP(h)
		c := u.Checksum()
		if c == 0 && !v4 {
			return ZeroChecksum
		}
		if c != 0 {
			u.SetChecksum(notZero(sum.Apply(c)))
		}
		packet.TCP(h).SetPorts(uint32(to.Meta >> 32))
	case packet.ClassEcho:
		rewriteEcho(h, info.SrcPort(), to, addr)
	default:
		return Refused
	}
	setIP(info, data, to, addr)
	return Done
}

// setIP writes addresses and the lowered TTL into the outer header. addr is the effect of the new addresses.
func setIP(info *packet.Info, data []byte, to *flow.Key, addr checksum.Sum) {
	ttl := info.TTL - 1
	if info.Family() == flow.IPv6 {
		h := packet.IPv6(data[info.L3:])
		h.SetHopLimit(ttl)
		h.SetAddr(&to.Addr)
		return
	}
	h := packet.IPv4(data[info.L3:])
	c := addr.Replace16(uint16(info.TTL)<<8, uint16(ttl)<<8).Apply(h.Checksum())
	h.SetTTL(ttl)
	h.SetChecksum(c)
	h.SetAddr(to.Addr[0])
}

func replace6(s checksum.Sum, from, to *[4]uint64) checksum.Sum {
	return s.Replace(from[0], to[0]).Replace(from[1], to[1]).Replace(from[2], to[2]).Replace(from[3], to[3])
}

// rewriteEcho sets the identifier. The checksum of ICMPv6 covers the addresses, that of ICMP does not.
func rewriteEcho(h []byte, from uint16, to *flow.Key, addr checksum.Sum) {
	if to.Family() == flow.IPv4 {
		addr = 0
	}
	m := packet.ICMP(h)
	m.SetChecksum(addr.Replace16(from, to.SrcPort()).Apply(m.Checksum()))
	binary.BigEndian.PutUint16(h[packet.ICMPIDOff:], to.SrcPort())
}

// notZero keeps a computed UDP checksum apart from "none": both mean the same sum (RFC 768).
func notZero(c uint16) uint16 {
	if c == 0 {
		return 0xffff
	}
	return c
}
