package main

import (
	"encoding/binary"
	"net"
	"net/netip"
)

const (
	etherLen   = 14
	deviceMTU  = 1500
	protoICMP  = 1
	protoUDP   = 17
	protoICMP6 = 58
	nextFrag   = 44
	defaultTTL = 64
)

// datagram is one UDP datagram to send to a node's device, whatever its addresses say.
type datagram struct {
	node     int // whose device it goes to
	src, dst netip.AddrPort
	payload  []byte
}

// framer puts datagrams into Ethernet frames, from the router to a node.
type framer struct {
	router net.HardwareAddr
	nodes  []net.HardwareAddr
	buf    []byte // of a frame
	udp    []byte // of a datagram
	id     uint32
}

// frames calls send for each frame of d: one, or the fragments of a datagram that is longer than
// the device's MTU. The frame is borrowed until send returns.
func (f *framer) frames(d *datagram, send func([]byte)) {
	f.id++
	v6 := d.dst.Addr().Is6()
	udp := binary.BigEndian.AppendUint16(f.udp[:0], d.src.Port())
	udp = binary.BigEndian.AppendUint16(udp, d.dst.Port())
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(d.payload)))
	udp = append(udp, 0, 0)
	udp = append(udp, d.payload...)
	f.udp = udp
	binary.BigEndian.PutUint16(udp[6:], udpChecksum(d.src.Addr(), d.dst.Addr(), udp))
	head := 20
	if v6 {
		head = 40
	}
	if head+len(udp) <= deviceMTU {
		send(f.frame(d, v6, udp, -1, false))
		return
	}
	room := (deviceMTU - head - 8) &^ 7
	for at := 0; at < len(udp); at += room {
		end := min(at+room, len(udp))
		send(f.frame(d, v6, udp[at:end], at, end < len(udp)))
	}
}

// frame is one frame; at is the offset of a fragment, or -1 for a whole datagram.
func (f *framer) frame(d *datagram, v6 bool, body []byte, at int, more bool) []byte {
	b := append(append(f.buf[:0], f.nodes[d.node]...), f.router...)
	if v6 {
		b = binary.BigEndian.AppendUint16(b, 0x86dd)
		b = f.ipv6(b, d, len(body), at, more)
	} else {
		b = binary.BigEndian.AppendUint16(b, 0x0800)
		b = f.ipv4(b, d, len(body), at, more)
	}
	f.buf = append(b, body...)
	return f.buf
}

func (f *framer) ipv4(b []byte, d *datagram, n, at int, more bool) []byte {
	from := len(b)
	b = append(b, 0x45, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(20+n))
	b = binary.BigEndian.AppendUint16(b, uint16(f.id))
	flags := uint16(0x4000) // don't fragment
	if at >= 0 {
		flags = uint16(at / 8)
		if more {
			flags |= 0x2000
		}
	}
	b = binary.BigEndian.AppendUint16(b, flags)
	b = append(b, defaultTTL, protoUDP, 0, 0)
	b = append(b, d.src.Addr().AsSlice()...)
	b = append(b, d.dst.Addr().AsSlice()...)
	binary.BigEndian.PutUint16(b[from+10:], ^fold(sum(0, b[from:])))
	return b
}

func (f *framer) ipv6(b []byte, d *datagram, n, at int, more bool) []byte {
	next, extra := byte(protoUDP), 0
	if at >= 0 {
		next, extra = nextFrag, 8
	}
	b = append(b, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(n+extra))
	b = append(b, next, defaultTTL)
	b = append(b, d.src.Addr().AsSlice()...)
	b = append(b, d.dst.Addr().AsSlice()...)
	if at >= 0 {
		offset := uint16(at)
		if more {
			offset |= 1
		}
		b = append(b, protoUDP, 0)
		b = binary.BigEndian.AppendUint16(b, offset)
		b = binary.BigEndian.AppendUint32(b, f.id)
	}
	return b
}

// sum adds up words of 16 bits, four at a time as long as there are; fold brings what came out into
// 16 bits.
func sum(s uint64, b []byte) uint64 {
	for ; len(b) >= 8; b = b[8:] {
		x := binary.BigEndian.Uint64(b)
		s += x>>32 + x&0xffffffff
	}
	for ; len(b) > 1; b = b[2:] {
		s += uint64(b[0])<<8 | uint64(b[1])
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	return s
}

func fold(s uint64) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// udpChecksum is that of a UDP header with its payload, whose checksum field is 0.
func udpChecksum(src, dst netip.Addr, udp []byte) uint16 {
	s := sum(sum(0, src.AsSlice()), dst.AsSlice())
	c := ^fold(sum(s+protoUDP+uint64(len(udp)), udp))
	if c == 0 {
		return 0xffff
	}
	return c
}

// seen is what a node's frame was, as far as it matters here.
type seen struct {
	src, dst netip.AddrPort // without ports for ICMP
	icmp     bool
	kind     byte // the type of an ICMP message
	v6       bool
	length   int // of the IP packet
	payload  []byte
}

// parseFrame reads an Ethernet frame with UDP or ICMP in it. Fragments and extension headers are
// not looked into: no node makes them.
func parseFrame(b []byte) (s seen, ok bool) {
	if len(b) < etherLen+20 {
		return s, false
	}
	var proto byte
	var src, dst netip.Addr
	switch ip := b[etherLen:]; {
	case b[12] == 0x08 && b[13] == 0 && ip[0]>>4 == 4:
		head, total := int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
		if head < 20 || total < head || total > len(ip) {
			return s, false
		}
		src, dst = netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20]))
		proto, s.length, b = ip[9], total, ip[head:total]
	case b[12] == 0x86 && b[13] == 0xdd && len(ip) >= 40:
		total := 40 + int(binary.BigEndian.Uint16(ip[4:]))
		if total > len(ip) {
			return s, false
		}
		src, dst = netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40]))
		proto, s.length, s.v6, b = ip[6], total, true, ip[40:total]
	default:
		return s, false
	}
	switch {
	case proto == protoUDP && len(b) >= 8:
		s.src = netip.AddrPortFrom(src, binary.BigEndian.Uint16(b))
		s.dst = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(b[2:]))
		s.payload = b[8:]
		return s, true
	case (proto == protoICMP || proto == protoICMP6) && len(b) >= 1:
		s.src, s.dst, s.icmp, s.kind = netip.AddrPortFrom(src, 0), netip.AddrPortFrom(dst, 0), true, b[0]
		return s, true
	}
	return s, false
}

// isError says whether an ICMP message reports an error.
func (s *seen) isError() bool {
	if s.v6 {
		return s.kind < 128
	}
	return s.kind == 3 || s.kind == 4 || s.kind == 5 || s.kind == 11 || s.kind == 12
}
