package nat

import (
	"encoding/binary"
	"math/bits"

	"github.com/holdfast-lb/holdfast/dpd/internal/checksum"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

// Offsets in a plain packet's frame.
const (
	plainTTL   = packet.EthernetSize + 8 // protocol, header checksum and source follow
	plainSrc   = packet.EthernetSize + 12
	plainDst   = packet.EthernetSize + 16 // both ports follow
	plainPorts = packet.EthernetSize + packet.IPv4Size
	plainSum   = packet.EthernetSize + packet.IPv4Size + packet.TCPChecksumOff
)

// The rewrite of a plain packet is three steps, to be called one after the other, each so small that the loop that calls them becomes one
// without calls. They get the addresses, source<<32 | destination, and the ports, source<<16 | destination, and take one off the TTL.
// All words are as they lie in the frame, first byte lowest, as a checksum comes out the same either way (RFC 1071, 2 (B)); the
// sums are of so few words that no carry can leave 64 bits.

// Moved is what the new addresses do to the checksums.
func Moved(h *packet.PlainFrame, addr uint64) uint64 {
	old := binary.LittleEndian.Uint64(h[plainSrc:])
	addr = bits.ReverseBytes64(addr)
	return ^old>>32 + ^old&0xffffffff + addr>>32 + addr&0xffffffff
}

// Network writes TTL, checksum and source. TTL is the lowest byte.
func Network(h *packet.PlainFrame, addr, moved uint64) {
	w := binary.LittleEndian.Uint64(h[plainTTL:])
	sum := checksum.Sum(moved + 0xffff - 1 + ^w>>16&0xffff)
	binary.LittleEndian.PutUint64(h[plainTTL:], (w-1)&0xffff|uint64(sum.Checksum())<<16|bits.ReverseBytes64(addr)<<32)
}

// Transport writes destination, ports and the checksum of TCP.
func Transport(h *packet.PlainFrame, addr, moved uint64, ports uint32) {
	p := bits.ReverseBytes32(ports)
	sum := checksum.Sum(moved + uint64(^binary.LittleEndian.Uint32(h[plainPorts:])) + uint64(p) + uint64(^binary.LittleEndian.Uint16(h[plainSum:])))
	binary.LittleEndian.PutUint64(h[plainDst:], bits.ReverseBytes64(addr)>>32|uint64(p)<<32)
	binary.LittleEndian.PutUint16(h[plainSum:], sum.Checksum())
}
