package packet

import "encoding/binary"

// ICMP types (RFC 792).
const (
	ICMPEchoReply    = 0
	ICMPUnreachable  = 3
	ICMPEcho         = 8
	ICMPTimeExceeded = 11
	ICMPParameter    = 12
)

// ICMPv6 types (RFC 4443, RFC 4861).
const (
	ICMPv6Unreachable  = 1
	ICMPv6TooBig       = 2
	ICMPv6TimeExceeded = 3
	ICMPv6Parameter    = 4
	ICMPv6Echo         = 128
	ICMPv6EchoReply    = 129
	ICMPv6Solicit      = 135
	ICMPv6Advertise    = 136
)

// ICMP is the view of an ICMP or ICMPv6 message (RFC 792, RFC 4443).
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+---------------+---------------+-------------------------------+
//	|     Type      |     Code      |           Checksum            |
//	+---------------+---------------+-------------------------------+
//	| identifier | sequence, unused | MTU, MTU, or flags of a NA    |
//	+---------------------------------------------------------------+
//	|      data; of an error the quoted packet; of NS, NA the target |
type ICMP []byte

// Type is the message type.
func (h ICMP) Type() uint8 { return h[0] }

// Code refines the type.
func (h ICMP) Code() uint8 { return h[1] }

// Checksum is the checksum field.
func (h ICMP) Checksum() uint16 { return binary.BigEndian.Uint16(h[ICMPChecksumOff:]) }

// SetChecksum sets the checksum field.
func (h ICMP) SetChecksum(c uint16) { binary.BigEndian.PutUint16(h[ICMPChecksumOff:], c) }

// Rest is the second word: identifier and sequence of an echo, the MTU, the flags of an advertisement.
func (h ICMP) Rest() uint32 { return binary.BigEndian.Uint32(h[4:]) }

// PutICMP writes the eight header bytes with checksum zero.
func PutICMP(b []byte, typ, code uint8, rest uint32) {
	binary.BigEndian.PutUint32(b, uint32(typ)<<24|uint32(code)<<16)
	binary.BigEndian.PutUint32(b[4:], rest)
}

// Sizes and option numbers of neighbour discovery (RFC 4861).
const (
	// NDSize is the size in bytes of a solicitation or advertisement without options.
	NDSize = 24
	// NDSourceLink and NDTargetLink are the options that carry a MAC, eight bytes each.
	NDSourceLink = 1
	NDTargetLink = 2
	// NDRouter, NDSolicited and NDOverride are flags in Rest of an advertisement.
	NDRouter    = 1 << 31
	NDSolicited = 1 << 30
	NDOverride  = 1 << 29
)

// Target is the target address of a solicitation or advertisement.
func (h ICMP) Target() [16]byte { return [16]byte(h[8:]) }

// LinkOption finds the MAC option of a solicitation or advertisement. A malformed option list has none: ok is false
// and valid is false, and RFC 4861 7.1 wants the message dropped.
func (h ICMP) LinkOption(kind uint8) (mac [6]byte, ok, valid bool) {
	if len(h) < NDSize {
		return mac, false, false
	}
	for b := h[NDSize:]; len(b) > 0; {
		if len(b) < 8 || b[1] == 0 || len(b) < int(b[1])*8 {
			return [6]byte{}, false, false
		}
		if b[0] == kind && b[1] == 1 && !ok {
			mac, ok = [6]byte(b[2:]), true
		}
		b = b[int(b[1])*8:]
	}
	return mac, ok, true
}
