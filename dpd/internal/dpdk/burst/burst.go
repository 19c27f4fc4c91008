// Package burst turns vectors of packet buffers into views of their bytes. It is the inner loop of receiving: with the driver's own work near
// 1 ns a packet, each instruction here shows. It knows nothing of DPDK but the place of four fields of a
// packet buffer, which package dpdk checks against DPDK's headers when it is compiled.
//
// On amd64 the loop is assembly, for the prefetch instruction that Go lacks: a burst's header bytes are on their way
// to the cache before the first packet is parsed.
package burst

// Max is the greatest number of packets in a burst. Vectors have this capacity.
const Max = 64

// Offsets of the fields of a packet buffer, in bytes.
const (
	OffBuffer     = 0x00 // u64: address of the buffer
	OffDataOffset = 0x10 // u16: where in the buffer the packet begins
	OffSegments   = 0x14 // u16: buffers of the packet
	OffDataLen    = 0x28 // u16: bytes in this segment
)

// MinLen is the least that counts as a packet: an Ethernet header.
const MinLen = 14

// View is one packet as plain words, laid out as a slice and a reference (port.Packet). Storing words needs no write
// barrier; packet memory is never the Go heap's.
type View struct{ Data, Len, Cap, Ref uintptr }

// Unpack writes the views of the n packet buffers in vec to out, in order, and returns how many: it stops at the first
// buffer that has more than one segment or less than MinLen bytes. n is at most Max.
func Unpack(out *[Max]View, vec *[Max]uintptr, n int) int {
	if uint(n) > Max {
		panic("burst: more packets than a burst holds")
	}
	return unpack(out, vec, n)
}
