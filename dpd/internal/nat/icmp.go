package nat

import (
	"encoding/binary"

	"github.com/holdfast-lb/holdfast/dpd/internal/checksum"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

// rewriteError translates an ICMP error and the packet that it quotes (RFC 5508 4). The outer source becomes to's: a
// router behind us may have a private address, and the receiver's path filters expect the address it talks to.
func rewriteError(info *packet.Info, data []byte, to *flow.Key) Verdict {
	q := &info.Quote
	if uint32(q.Meta) != uint32(to.Meta) {
		return FamilyMismatch
	}
	msg := data[info.L4:info.End]
	if messageSum(info, &info.Addr, msg).Checksum() != 0 {
		return BadChecksum
	}
	quoted := to.Reverse()
	rewriteQuote(q, data[:info.End], &quoted)

	m := packet.ICMP(msg)
	m.SetChecksum(0)
	m.SetChecksum(messageSum(info, &to.Addr, msg).Checksum())
	setIP(info, data, to, checksum.Sum(0).Replace(info.Addr[0], to.Addr[0]))
	return Done
}

// messageSum is the sum of an ICMP message, with the pseudo header of ICMPv6.
func messageSum(info *packet.Info, addr *[4]uint64, msg []byte) checksum.Sum {
	if info.Family() == flow.IPv4 {
		return checksum.Sum(0).Bytes(msg)
	}
	return checksum.PseudoIPv6(addr, packet.ProtoICMPv6, len(msg)).Bytes(msg)
}

// rewriteQuote gives the quoted packet the tuple to. Its checksums are updated where the quote reaches them; whether
// they hold is not ours to judge, since routers on the way may have changed TTL, and the quote may be cut.
func rewriteQuote(q *packet.Quote, data []byte, to *flow.Key) {
	var addr checksum.Sum
	if to.Family() == flow.IPv4 {
		addr = checksum.Sum(0).Replace(q.Addr[0], to.Addr[0])
		h := packet.IPv4(data[q.L3:])
		h.SetChecksum(addr.Apply(h.Checksum()))
		h.SetAddr(to.Addr[0])
	} else {
		addr = replace6(0, &q.Addr, &to.Addr)
		packet.IPv6(data[q.L3:]).SetAddr(&to.Addr)
	}
	h := data[q.L4:]
	sum := addr.Replace32(uint32(q.Meta>>32), uint32(to.Meta>>32))
	switch to.Proto() {
	case flow.ProtoTCP:
		if len(h) >= packet.TCPChecksumOff+2 {
			t := packet.TCP(h)
			t.SetChecksum(sum.Apply(t.Checksum()))
		}
		packet.TCP(h).SetPorts(uint32(to.Meta >> 32))
	case flow.ProtoUDP:
		u := packet.UDP(h)
		if c := u.Checksum(); c != 0 {
			u.SetChecksum(notZero(sum.Apply(c)))
		}
		packet.TCP(h).SetPorts(uint32(to.Meta >> 32))
	default:
		rewriteEcho(h, uint16(q.Meta>>48), to, addr)
	}
}

// Problem is what an ICMP error of our own says.
type Problem uint8

const (
	TimeExceeded Problem = iota
	NoRoute
	HostUnreachable
	PortUnreachable
	Prohibited
	TooBig // fragmentation needed, packet too big
	numProblems
)

// problemCodes are type and code by family, IPv4 first (RFC 792, 1812, 4443).
var problemCodes = [numProblems][2][2]uint8{
	TimeExceeded:    {{packet.ICMPTimeExceeded, 0}, {packet.ICMPv6TimeExceeded, 0}},
	NoRoute:         {{packet.ICMPUnreachable, 0}, {packet.ICMPv6Unreachable, 0}},
	HostUnreachable: {{packet.ICMPUnreachable, 1}, {packet.ICMPv6Unreachable, 3}},
	PortUnreachable: {{packet.ICMPUnreachable, 3}, {packet.ICMPv6Unreachable, 4}},
	Prohibited:      {{packet.ICMPUnreachable, 13}, {packet.ICMPv6Unreachable, 1}},
	TooBig:          {{packet.ICMPUnreachable, 4}, {packet.ICMPv6TooBig, 0}},
}

// What an ICMP error of ours may grow to, in bytes of IP packet: RFC 1812 4.3.2.3 and the minimum MTU of IPv6.
const (
	maxError4 = 576
	maxError6 = 1280
	replyTTL  = 64
)

// ErrorSize is the size in bytes of the frame that PutError writes about the packet, or 0 if none may be sent: never
// about an error, a neighbour message, or a packet to a group (RFC 1122 3.2.2, RFC 4443 2.4). Limiting their rate is
// the caller's.
func ErrorSize(info *packet.Info) int {
	switch info.Class {
	case packet.Refused, packet.ClassError, packet.ClassND, packet.ClassARP:
		return 0
	}
	quoted := int(info.End - info.L3)
	if info.Family() == flow.IPv4 {
		if !info.Unicast() || uint32(info.Addr[0])>>28 >= 14 {
			return 0
		}
		return int(info.L3) + min(packet.IPv4Size+packet.ICMPSize+quoted, maxError4)
	}
	if !info.Unicast() || info.Addr[2]>>56 == 0xff {
		return 0
	}
	return int(info.L3) + min(packet.IPv6Size+packet.ICMPSize+quoted, maxError6)
}

// PutError writes an ICMP error about the packet in data into frame, which has ErrorSize bytes, back to the station and
// VLAN that it came from. from is the address that speaks, in the words of flow.Key: the lower half of from[1] for IPv4.
// mtu, in bytes of IP packet, is said by TooBig alone.
func PutError(frame []byte, info *packet.Info, data []byte, p Problem, mtu uint32, from [2]uint64) {
	l3 := int(info.L3)
	putLinkReply(frame, data[:l3])
	family := 0
	if info.Family() == flow.IPv6 {
		family = 1
	}
	code := problemCodes[p][family]
	if p != TooBig {
		mtu = 0
	} else if family == 0 {
		mtu &= 0xffff
	}
	ip := frame[l3:]
	if family == 0 {
		msg := ip[packet.IPv4Size:]
		packet.PutIPv4(ip, packet.ProtoICMP, replyTTL, from[1]<<32|info.Addr[0]>>32, len(msg))
		packet.PutICMP(msg, code[0], code[1], mtu)
		copy(msg[packet.ICMPSize:], data[l3:info.End])
		packet.ICMP(msg).SetChecksum(checksum.Of(msg))
		return
	}
	msg := ip[packet.IPv6Size:]
	addr := [4]uint64{from[0], from[1], info.Addr[0], info.Addr[1]}
	packet.PutIPv6(ip, packet.ProtoICMPv6, replyTTL, &addr, len(msg))
	packet.PutICMP(msg, code[0], code[1], mtu)
	copy(msg[packet.ICMPSize:], data[l3:info.End])
	packet.ICMP(msg).SetChecksum(messageSum(info, &addr, msg).Checksum())
}

// putLinkReply writes the link header of an answer: stations exchanged, VLAN id kept, priority bits dropped.
func putLinkReply(frame, link []byte) {
	copy(frame, link)
	from, to := packet.Ethernet(link), packet.Ethernet(frame)
	to.SetDst(from.Src())
	to.SetSrc(from.Dst())
	if len(link) > packet.EthernetSize {
		tag := binary.BigEndian.Uint16(link[packet.EthernetSize:])
		binary.BigEndian.PutUint16(frame[packet.EthernetSize:], tag&packet.VLANMask)
	}
}
