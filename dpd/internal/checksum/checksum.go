// Package checksum computes the internet checksum (RFC 1071) and its incremental update (RFC 1624, equation 3).
//
// A sum is kept as a 64-bit ones' complement accumulator: since 2^16, 2^32 and 2^64 are all 1 modulo 2^16-1, words of
// any of these widths may be added with end-around carry and the result folded to 16 bits once, at the end. All
// numbers are in host order, as read from the packet as big-endian words.
package checksum

import (
	"encoding/binary"
	"math/bits"
)

// Sum is a ones' complement accumulator. Its zero value is an empty sum.
type Sum uint64

// Word adds a word of 16, 32 or 64 bits.
func (s Sum) Word(w uint64) Sum {
	v, c := bits.Add64(uint64(s), w, 0)
	return Sum(v + c)
}

// Bytes adds b, which must begin at an even offset of the summed data. An odd last byte is padded with zero.
func (s Sum) Bytes(b []byte) Sum {
	v, c := uint64(s), uint64(0)
	for len(b) >= 32 {
		v, c = bits.Add64(v, binary.BigEndian.Uint64(b), c)
		v, c = bits.Add64(v, binary.BigEndian.Uint64(b[8:]), c)
		v, c = bits.Add64(v, binary.BigEndian.Uint64(b[16:]), c)
		v, c = bits.Add64(v, binary.BigEndian.Uint64(b[24:]), c)
		b = b[32:]
	}
	for len(b) >= 8 {
		v, c = bits.Add64(v, binary.BigEndian.Uint64(b), c)
		b = b[8:]
	}
	if len(b) >= 4 {
		v, c = bits.Add64(v, uint64(binary.BigEndian.Uint32(b)), c)
		b = b[4:]
	}
	if len(b) >= 2 {
		v, c = bits.Add64(v, uint64(binary.BigEndian.Uint16(b)), c)
		b = b[2:]
	}
	if len(b) == 1 {
		v, c = bits.Add64(v, uint64(b[0])<<8, c)
	}
	// A carry into an accumulator that is all ones carries again.
	v, c = bits.Add64(v, 0, c)
	return Sum(v + c)
}

// Replace adds the effect of exchanging a 64-bit word: the complement of the old one and the new one.
func (s Sum) Replace(from, to uint64) Sum { return s.Word(^from).Word(to) }

// Replace32 adds the effect of exchanging a 32-bit word.
func (s Sum) Replace32(from, to uint32) Sum { return s.Word(uint64(^from)).Word(uint64(to)) }

// Replace16 adds the effect of exchanging a 16-bit word.
func (s Sum) Replace16(from, to uint16) Sum { return s.Word(uint64(^from)).Word(uint64(to)) }

// Fold is the sum in 16 bits, not complemented. It is zero only when every word added was zero. A number and its halves exchanged
// add up to the sum of the halves, end-around carry included, in the upper half.
func (s Sum) Fold() uint16 {
	w := uint32((uint64(s) + bits.RotateLeft64(uint64(s), 32)) >> 32)
	return uint16((w + bits.RotateLeft32(w, 16)) >> 16)
}

// Checksum is the value for a checksum field: the complement of the folded sum.
func (s Sum) Checksum() uint16 { return ^s.Fold() }

// Apply is check after the exchanges that the sum has gathered by Replace.
func (s Sum) Apply(check uint16) uint16 { return s.Word(uint64(^check)).Checksum() }

// Of is the checksum of b with its checksum field zero; of data with a valid checksum in place it is zero.
func Of(b []byte) uint16 { return Sum(0).Bytes(b).Checksum() }

// Update16 is check after one 16-bit word of the data went from one value to another.
func Update16(check, from, to uint16) uint16 { return Sum(0).Replace16(from, to).Apply(check) }

// Update32 is check after one 32-bit word of the data changed.
func Update32(check uint16, from, to uint32) uint16 { return Sum(0).Replace32(from, to).Apply(check) }

// Update128 is check after a 128-bit word, an IPv6 address in two halves, changed.
func Update128(check uint16, from, to [2]uint64) uint16 {
	return Sum(0).Replace(from[0], to[0]).Replace(from[1], to[1]).Apply(check)
}

// PseudoIPv4 begins the sum of a TCP, UDP segment over IPv4 (RFC 9293 3.1). addr is source<<32 | destination; length is
// that of the transport header and its data in bytes.
func PseudoIPv4(addr uint64, proto uint8, length int) Sum {
	return Sum(addr).Word(uint64(proto)<<16 | uint64(uint16(length)))
}

// PseudoIPv6 begins the sum of an upper-layer packet over IPv6 (RFC 8200 8.1). addr is source and destination in two
// halves each; length is that of the upper-layer header and its data in bytes.
func PseudoIPv6(addr *[4]uint64, proto uint8, length int) Sum {
	return Sum(addr[0]).Word(addr[1]).Word(addr[2]).Word(addr[3]).Word(uint64(uint32(length))<<32 | uint64(proto))
}
