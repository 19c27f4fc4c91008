// Package flow holds the words that the data plane shares about flows: the tuple key, the direction of a packet,
// the steering bucket and the session as a plain value. It imports the standard library alone, holds no clock and
// no pointer, and everything in it has a fixed size.
package flow

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Address families of a Key. They are the IP version numbers, so a zero Key is no valid key.
const (
	IPv4 = 4
	IPv6 = 6
)

// IP protocol numbers that sessions exist for (IANA).
const (
	ProtoICMP   = 1
	ProtoTCP    = 6
	ProtoUDP    = 17
	ProtoICMPv6 = 58
)

// Key is one side's tuple of a session, as that side's packets carry it: 40 bytes, comparable, pointer-free.
//
//	IPv4: Addr[0] = source<<32 | destination, Addr[1..3] = 0
//	IPv6: Addr[0..1] = source, Addr[2..3] = destination, each half as a big-endian number
//	Meta = source port<<48 | destination port<<32 | protocol<<8 | family
//
// For ICMP echo both ports are the identifier. packet.Info carries the same five words under the same layout, so that
// a parsed packet becomes a Key by copying them.
type Key struct {
	Addr [4]uint64
	Meta uint64
}

// MakeKey builds the key of packets from src to dst. Both must be of one family; a 4-in-6 address counts as IPv4.
func MakeKey(proto uint8, src, dst netip.AddrPort) (Key, error) {
	s, d := src.Addr().Unmap(), dst.Addr().Unmap()
	if !s.IsValid() || !d.IsValid() || s.Is4() != d.Is4() {
		return Key{}, fmt.Errorf("flow: %v and %v are not of one address family", src, dst)
	}
	var k Key
	if s.Is4() {
		a, b := s.As4(), d.As4()
		k.Addr[0] = uint64(binary.BigEndian.Uint32(a[:]))<<32 | uint64(binary.BigEndian.Uint32(b[:]))
		k.Meta = IPv4
	} else {
		a, b := s.As16(), d.As16()
		k.Addr[0], k.Addr[1] = binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:])
		k.Addr[2], k.Addr[3] = binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
		k.Meta = IPv6
	}
	k.Meta |= uint64(src.Port())<<48 | uint64(dst.Port())<<32 | uint64(proto)<<8
	return k, nil
}

// Family is IPv4 or IPv6; any other value means that the key is not valid.
func (k *Key) Family() uint8 { return uint8(k.Meta) }

// Proto is the IP protocol number.
func (k *Key) Proto() uint8 { return uint8(k.Meta >> 8) }

// SrcPort is the source port in host order.
func (k *Key) SrcPort() uint16 { return uint16(k.Meta >> 48) }

// DstPort is the destination port in host order.
func (k *Key) DstPort() uint16 { return uint16(k.Meta >> 32) }

// Src is the source address and port. Cold path.
func (k *Key) Src() netip.AddrPort { return netip.AddrPortFrom(k.addr(0), k.SrcPort()) }

// Dst is the destination address and port. Cold path.
func (k *Key) Dst() netip.AddrPort { return netip.AddrPortFrom(k.addr(1), k.DstPort()) }

func (k *Key) addr(side int) netip.Addr {
	switch k.Family() {
	case IPv4:
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(k.Addr[0]>>(32*(1-side))))
		return netip.AddrFrom4(b)
	case IPv6:
		var b [16]byte
		binary.BigEndian.PutUint64(b[:8], k.Addr[2*side])
		binary.BigEndian.PutUint64(b[8:], k.Addr[2*side+1])
		return netip.AddrFrom16(b)
	}
	return netip.Addr{}
}

// Reverse is the key of the packets that go the other way between the same two endpoints.
func (k *Key) Reverse() Key {
	r := Key{Meta: k.Meta&0xffffffff | k.Meta>>48<<32 | k.Meta>>32<<48}
	if k.Family() == IPv4 {
		r.Addr[0] = k.Addr[0]>>32 | k.Addr[0]<<32
		return r
	}
	r.Addr = [4]uint64{k.Addr[2], k.Addr[3], k.Addr[0], k.Addr[1]}
	return r
}

// String is "tcp 192.0.2.1:5000>198.51.100.1:80". Cold path.
func (k Key) String() string {
	name := fmt.Sprintf("proto%d", k.Proto())
	switch k.Proto() {
	case ProtoTCP:
		name = "tcp"
	case ProtoUDP:
		name = "udp"
	case ProtoICMP, ProtoICMPv6:
		name = "icmp"
	}
	return fmt.Sprintf("%s %v>%v", name, k.Src(), k.Dst())
}

// Compare orders keys by their words: -1, 0 or 1. It gives "the greater reply tuple" a meaning that every node shares.
func (k *Key) Compare(o *Key) int {
	for i := range k.Addr {
		if k.Addr[i] != o.Addr[i] {
			if k.Addr[i] < o.Addr[i] {
				return -1
			}
			return 1
		}
	}
	switch {
	case k.Meta < o.Meta:
		return -1
	case k.Meta > o.Meta:
		return 1
	}
	return 0
}
