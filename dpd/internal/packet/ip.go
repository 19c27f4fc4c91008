package packet

import (
	"encoding/binary"
	"math/bits"
)

// IP protocol numbers (IANA).
const (
	ProtoICMP   = 1
	ProtoTCP    = 6
	ProtoUDP    = 17
	ProtoICMPv6 = 58

	protoHopByHop = 0
	protoRouting  = 43
	protoFragment = 44
	protoDestOpts = 60
)

// Sizes of the fixed IP headers in bytes.
const (
	IPv4Size = 20
	IPv6Size = 40
)

// IPv4 is the view of an IPv4 header (RFC 791).
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-------+-------+---------------+-------------------------------+
//	|   4   |  IHL  |      TOS      |         Total length          |
//	+-------+-------+---------------+-----+-------------------------+
//	|        Identification         |0 D M|     Fragment offset     |
//	+---------------+---------------+-----+-------------------------+
//	|      TTL      |   Protocol    |        Header checksum        |
//	+---------------+---------------+-------------------------------+
//	|                            Source                             |
//	+---------------------------------------------------------------+
//	|                          Destination                          |
//	+---------------------------------------------------------------+
type IPv4 []byte

const (
	ip4TOS      = 1
	ip4Len      = 2
	ip4ID       = 4
	ip4Frag     = 6
	ip4TTL      = 8
	ip4Proto    = 9
	ip4Checksum = 10
	ip4Addr     = 12

	// ip4FragMask is more-fragments and the offset: not zero means a fragment.
	ip4FragMask   = 0x3fff
	ip4OffsetMask = 0x1fff
	ip4DontFrag   = 0x4000
)

// HeaderLen is the header length in bytes.
func (h IPv4) HeaderLen() int { return int(h[0]&15) * 4 }

// TotalLen is the length of header and payload in bytes.
func (h IPv4) TotalLen() int { return int(binary.BigEndian.Uint16(h[ip4Len:])) }

// DontFragment is the DF bit.
func (h IPv4) DontFragment() bool { return binary.BigEndian.Uint16(h[ip4Frag:])&ip4DontFrag != 0 }

// TTL is the time to live in hops.
func (h IPv4) TTL() uint8 { return h[ip4TTL] }

// Proto is the transport protocol.
func (h IPv4) Proto() uint8 { return h[ip4Proto] }

// Checksum is the header checksum.
func (h IPv4) Checksum() uint16 { return binary.BigEndian.Uint16(h[ip4Checksum:]) }

// Addr is source<<32 | destination.
func (h IPv4) Addr() uint64 { return binary.BigEndian.Uint64(h[ip4Addr:]) }

// SetAddr sets source<<32 | destination and leaves the checksum to the caller.
func (h IPv4) SetAddr(a uint64) { binary.BigEndian.PutUint64(h[ip4Addr:], a) }

// SetTTL sets the time to live and leaves the checksum to the caller.
func (h IPv4) SetTTL(ttl uint8) { h[ip4TTL] = ttl }

// SetChecksum sets the header checksum.
func (h IPv4) SetChecksum(c uint16) { binary.BigEndian.PutUint16(h[ip4Checksum:], c) }

// PutIPv4 writes a 20-byte header with DF set and a valid checksum. addr is source<<32 | destination; payload is the
// length after the header in bytes.
func PutIPv4(b []byte, proto, ttl uint8, addr uint64, payload int) {
	binary.BigEndian.PutUint32(b, 0x45<<24|uint32(uint16(IPv4Size+payload)))
	binary.BigEndian.PutUint32(b[ip4ID:], ip4DontFrag)
	binary.BigEndian.PutUint32(b[ip4TTL:], uint32(ttl)<<24|uint32(proto)<<16)
	binary.BigEndian.PutUint64(b[ip4Addr:], addr)
	IPv4(b).SetChecksum(^headerSum(b[:IPv4Size]))
}

// headerSum is the folded ones' complement sum of an IPv4 header; 0xffff when its checksum is valid. It exists because
// this package imports nothing, and a header is a handful of words.
func headerSum(b []byte) uint16 {
	var v uint64
	for ; len(b) >= 4; b = b[4:] {
		v += uint64(binary.BigEndian.Uint32(b))
	}
	return fold(v)
}

// fold is a ones' complement sum in 16 bits. A number and its halves exchanged add up to the sum of the halves, end-around carry
// included, in the upper half.
func fold(v uint64) uint16 {
	w := uint32((v + bits.RotateLeft64(v, 32)) >> 32)
	return uint16((w + bits.RotateLeft32(w, 16)) >> 16)
}

// IPv6 is the view of an IPv6 header (RFC 8200).
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-------+---------------+---------------------------------------+
//	|   6   | Traffic class |              Flow label               |
//	+-------+---------------+-------+---------------+---------------+
//	|        Payload length         |  Next header  |   Hop limit   |
//	+-------------------------------+---------------+---------------+
//	|                    Source (16 bytes)                          |
//	|                    Destination (16 bytes)                     |
//	+---------------------------------------------------------------+
type IPv6 []byte

const (
	ip6Len  = 4
	ip6Next = 6
	ip6Hops = 7
	ip6Addr = 8
)

// PayloadLen is the length after the fixed header in bytes.
func (h IPv6) PayloadLen() int { return int(binary.BigEndian.Uint16(h[ip6Len:])) }

// Next is the protocol of the next header.
func (h IPv6) Next() uint8 { return h[ip6Next] }

// HopLimit is the hop limit.
func (h IPv6) HopLimit() uint8 { return h[ip6Hops] }

// SetHopLimit sets the hop limit.
func (h IPv6) SetHopLimit(n uint8) { h[ip6Hops] = n }

// Addr is source and destination, in two halves each.
func (h IPv6) Addr() (a [4]uint64) {
	b := h[ip6Addr : ip6Addr+32]
	a[0], a[1] = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	a[2], a[3] = binary.BigEndian.Uint64(b[16:]), binary.BigEndian.Uint64(b[24:])
	return a
}

// SetAddr sets source and destination.
func (h IPv6) SetAddr(a *[4]uint64) {
	b := h[ip6Addr : ip6Addr+32]
	binary.BigEndian.PutUint64(b, a[0])
	binary.BigEndian.PutUint64(b[8:], a[1])
	binary.BigEndian.PutUint64(b[16:], a[2])
	binary.BigEndian.PutUint64(b[24:], a[3])
}

// PutIPv6 writes a 40-byte header. payload is the length after the header in bytes.
func PutIPv6(b []byte, proto, hops uint8, addr *[4]uint64, payload int) {
	binary.BigEndian.PutUint64(b, 0x60<<56|uint64(uint16(payload))<<16|uint64(proto)<<8|uint64(hops))
	IPv6(b).SetAddr(addr)
}
