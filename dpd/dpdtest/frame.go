// Package dpdtest holds what tests of the data plane need in place of a network: a packet builder, ports and a pool in
// memory with leak checks, a switch that loses, doubles, reorders and delays by seed under a manual clock, and plain TCP
// endpoints that drive connections through a worker.
package dpdtest

import (
	"encoding/binary"
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/checksum"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

// TCP flags, named again so that tests of other packages need no second import.
const (
	FIN = packet.FIN
	SYN = packet.SYN
	RST = packet.RST
	PSH = packet.PSH
	ACK = packet.ACK
)

// MACs that a Frame has unless Eth sets others.
var (
	DefaultSrcMAC = [6]byte{2, 0, 0, 0, 0, 1}
	DefaultDstMAC = [6]byte{2, 0, 0, 0, 0, 2}
)

// Frame describes a packet to build. A constructor gives a complete one, the methods change it, Bytes writes it with
// correct lengths and checksums. The methods return the same Frame.
type Frame struct {
	dst, src   [6]byte
	vlan       int // -1 for none
	srcIP      netip.Addr
	dstIP      netip.Addr
	proto      uint8
	ttl        uint8
	tos        uint8
	frag       uint16
	ip4opts    []byte
	ext        []byte // IPv6 extension headers, each beginning with its next-header byte
	extFirst   uint8
	transport  []byte
	payload    []byte
	noChecksum bool
	pad        int
	arp        []byte
}

// AP parses "192.0.2.1:80" or "[2001:db8::1]:80".
func AP(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// Addr parses an address.
func Addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func newFrame(src, dst netip.Addr, proto uint8) *Frame {
	return &Frame{
		dst: DefaultDstMAC, src: DefaultSrcMAC, vlan: -1,
		srcIP: src.Unmap(), dstIP: dst.Unmap(), proto: proto, ttl: 64,
	}
}

// TCP is a segment with flag ACK, sequence and acknowledgement 0 and window 65535.
func TCP(src, dst netip.AddrPort) *Frame {
	f := newFrame(src.Addr(), dst.Addr(), packet.ProtoTCP)
	f.transport = make([]byte, packet.TCPSize)
	packet.PutTCP(f.transport, ports(src, dst), 0, 0, ACK, 65535)
	return f
}

// UDP is an empty datagram.
func UDP(src, dst netip.AddrPort) *Frame {
	f := newFrame(src.Addr(), dst.Addr(), packet.ProtoUDP)
	f.transport = make([]byte, packet.UDPSize)
	packet.PutUDP(f.transport, ports(src, dst), 0)
	return f
}

// ICMP is a message of either family by its second header word; Payload adds the rest.
func ICMP(src, dst netip.Addr, typ, code uint8, rest uint32) *Frame {
	proto := uint8(packet.ProtoICMP)
	if src.Unmap().Is6() {
		proto = packet.ProtoICMPv6
	}
	f := newFrame(src, dst, proto)
	f.transport = make([]byte, packet.ICMPSize)
	packet.PutICMP(f.transport, typ, code, rest)
	return f
}

// Echo is an echo request.
func Echo(src, dst netip.Addr, id, seq uint16) *Frame {
	typ := uint8(packet.ICMPEcho)
	if src.Unmap().Is6() {
		typ = packet.ICMPv6Echo
	}
	return ICMP(src, dst, typ, 0, uint32(id)<<16|uint32(seq))
}

// EchoReply is an echo reply.
func EchoReply(src, dst netip.Addr, id, seq uint16) *Frame {
	f := Echo(src, dst, id, seq)
	if f.proto == packet.ProtoICMP {
		f.transport[0] = packet.ICMPEchoReply
	} else {
		f.transport[0] = packet.ICMPv6EchoReply
	}
	return f
}

// ARP is a request, to everyone, or a reply, to target.
func ARP(op uint16, senderMAC [6]byte, sender netip.Addr, targetMAC [6]byte, target netip.Addr) *Frame {
	f := newFrame(sender, target, 0)
	f.arp = make([]byte, packet.ARPSize)
	packet.PutARP(f.arp, op, senderMAC, sender.As4(), targetMAC, target.As4())
	f.src, f.dst = senderMAC, targetMAC
	if op == packet.ARPRequest {
		f.dst = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	}
	return f
}

// NS is a neighbour solicitation for target, to its solicited-node group, with the source link-layer option.
func NS(srcMAC [6]byte, src, target netip.Addr) *Frame {
	t := target.As16()
	group := netip.AddrFrom16([16]byte{0xff, 2, 11: 1, 12: 0xff, 13: t[13], 14: t[14], 15: t[15]})
	f := ICMP(src, group, packet.ICMPv6Solicit, 0, 0)
	f.payload = append(t[:], packet.NDSourceLink, 1)
	f.payload = append(f.payload, srcMAC[:]...)
	f.src, f.dst, f.ttl = srcMAC, [6]byte{0x33, 0x33, 0xff, t[13], t[14], t[15]}, 255
	return f
}

// NA is a neighbour advertisement of target to dst with the target link-layer option.
func NA(srcMAC [6]byte, src, dst, target netip.Addr, flags uint32) *Frame {
	t := target.As16()
	f := ICMP(src, dst, packet.ICMPv6Advertise, 0, flags)
	f.payload = append(t[:], packet.NDTargetLink, 1)
	f.payload = append(f.payload, srcMAC[:]...)
	f.src, f.ttl = srcMAC, 255
	return f
}

// ICMPError is an error from a router that quotes the packet in frame from its IP header on, limit bytes of it at most.
func ICMPError(from netip.Addr, typ, code uint8, rest uint32, frame []byte, limit int) *Frame {
	var info packet.Info
	if why := packet.Parse(frame, &info); why != packet.OK {
		panic("dpdtest: quoting a bad frame: " + why.String())
	}
	to := netip.AddrFrom4([4]byte(frame[info.L3+12:]))
	if info.Family() == 6 {
		to = netip.AddrFrom16([16]byte(frame[info.L3+8:]))
	}
	quote := frame[info.L3:info.End]
	return ICMP(from, to, typ, code, rest).Payload(quote[:min(len(quote), limit)])
}

func ports(src, dst netip.AddrPort) uint32 { return uint32(src.Port())<<16 | uint32(dst.Port()) }

// Eth sets the MACs.
func (f *Frame) Eth(dst, src [6]byte) *Frame { f.dst, f.src = dst, src; return f }

// VLAN adds a tag with these 16 bits; 0 is a priority tag.
func (f *Frame) VLAN(tci uint16) *Frame { f.vlan = int(tci); return f }

// TTL sets the time to live or hop limit.
func (f *Frame) TTL(n uint8) *Frame { f.ttl = n; return f }

// TOS sets the type of service or traffic class.
func (f *Frame) TOS(n uint8) *Frame { f.tos = n; return f }

// Frag sets the flags and offset word of IPv4; 0x2000 is more-fragments.
func (f *Frame) Frag(word uint16) *Frame { f.frag = word; return f }

// IPOptions sets IPv4 options; their length must be a multiple of 4 up to 40.
func (f *Frame) IPOptions(b []byte) *Frame { f.ip4opts = b; return f }

// Ext appends an IPv6 extension header: its number and its bytes from the third on, which with the two before make a
// multiple of 8. The next-header and length bytes are filled in.
func (f *Frame) Ext(number uint8, body []byte) *Frame {
	if f.ext == nil {
		f.extFirst = number
	} else {
		f.ext[f.lastExt()] = number
	}
	f.ext = append(append(f.ext, 0, byte((len(body)+2)/8-1)), body...)
	return f
}

func (f *Frame) lastExt() int {
	at := 0
	for at+(int(f.ext[at+1])+1)*8 < len(f.ext) {
		at += (int(f.ext[at+1]) + 1) * 8
	}
	return at
}

// Seq sets TCP's sequence number.
func (f *Frame) Seq(n uint32) *Frame { binary.BigEndian.PutUint32(f.transport[4:], n); return f }

// Ack sets TCP's acknowledgement number.
func (f *Frame) Ack(n uint32) *Frame { binary.BigEndian.PutUint32(f.transport[8:], n); return f }

// Flags sets TCP's flags.
func (f *Frame) Flags(b uint8) *Frame { f.transport[13] = b; return f }

// Window sets TCP's window.
func (f *Frame) Window(n uint16) *Frame { binary.BigEndian.PutUint16(f.transport[14:], n); return f }

// Options appends TCP options, padded with end-of-list to a multiple of 4.
func (f *Frame) Options(b ...byte) *Frame {
	f.transport = append(f.transport, b...)
	for len(f.transport)%4 != 0 {
		f.transport = append(f.transport, 0)
	}
	f.transport[12] = byte(len(f.transport)/4) << 4
	return f
}

// MSS appends the maximum segment size option.
func (f *Frame) MSS(n uint16) *Frame { return f.Options(2, 4, byte(n>>8), byte(n)) }

// Payload sets what follows the transport header.
func (f *Frame) Payload(b []byte) *Frame { f.payload = b; return f }

// Text sets the payload.
func (f *Frame) Text(s string) *Frame { f.payload = []byte(s); return f }

// NoChecksum leaves the transport checksum zero: for UDP over IPv4 that means none, elsewhere it is wrong.
func (f *Frame) NoChecksum() *Frame { f.noChecksum = true; return f }

// Pad appends zeros behind the IP packet up to n bytes in all, as Ethernet does up to 60.
func (f *Frame) Pad(n int) *Frame { f.pad = n; return f }

// Bytes writes the frame into fresh memory.
func (f *Frame) Bytes() []byte {
	b := append(append([]byte{}, f.dst[:]...), f.src[:]...)
	if f.vlan >= 0 {
		b = append(b, 0x81, 0, byte(f.vlan>>8), byte(f.vlan))
	}
	switch {
	case f.arp != nil:
		b = append(append(b, 0x08, 0x06), f.arp...)
	case f.srcIP.Is4():
		b = f.appendIPv4(append(b, 0x08, 0x00))
	default:
		b = f.appendIPv6(append(b, 0x86, 0xdd))
	}
	for len(b) < f.pad {
		b = append(b, 0)
	}
	return b
}

func (f *Frame) appendIPv4(b []byte) []byte {
	size := packet.IPv4Size + len(f.ip4opts)
	total := size + len(f.transport) + len(f.payload)
	at := len(b)
	b = append(b, byte(0x40|size/4), f.tos, byte(total>>8), byte(total), 0, 0, byte(f.frag>>8), byte(f.frag), f.ttl, f.proto, 0, 0)
	b = append(append(append(b, f.srcIP.AsSlice()...), f.dstIP.AsSlice()...), f.ip4opts...)
	packet.IPv4(b[at:]).SetChecksum(checksum.Of(b[at:]))
	return f.appendTransport(b, checksum.PseudoIPv4(packet.IPv4(b[at:]).Addr(), f.proto, total-size))
}

func (f *Frame) appendIPv6(b []byte) []byte {
	upper := len(f.transport) + len(f.payload)
	n := len(f.ext) + upper
	next := f.proto
	if f.ext != nil {
		next = f.extFirst
		f.ext[f.lastExt()] = f.proto
	}
	at := len(b)
	b = append(b, 0x60|f.tos>>4, f.tos<<4, 0, 0, byte(n>>8), byte(n), next, f.ttl)
	b = append(append(append(b, f.srcIP.AsSlice()...), f.dstIP.AsSlice()...), f.ext...)
	addr := packet.IPv6(b[at:]).Addr()
	return f.appendTransport(b, checksum.PseudoIPv6(&addr, f.proto, upper))
}

func (f *Frame) appendTransport(b []byte, pseudo checksum.Sum) []byte {
	at := len(b)
	b = append(append(b, f.transport...), f.payload...)
	h := b[at:]
	where := packet.TCPChecksumOff
	switch f.proto {
	case packet.ProtoUDP:
		where = packet.UDPChecksumOff
		binary.BigEndian.PutUint16(h[4:], uint16(len(h)))
	case packet.ProtoICMP:
		where, pseudo = packet.ICMPChecksumOff, 0
	case packet.ProtoICMPv6:
		where = packet.ICMPChecksumOff
	}
	if !f.noChecksum {
		c := pseudo.Bytes(h).Checksum()
		if c == 0 && f.proto == packet.ProtoUDP {
			c = 0xffff
		}
		binary.BigEndian.PutUint16(h[where:], c)
	}
	return b
}
