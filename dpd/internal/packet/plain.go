package packet

import (
	"encoding/binary"
	"math/bits"
)

// A plain packet is what most packets are: an untagged frame to one station with an IPv4 packet without options or fragments
// that may travel on, and in it a TCP segment of an open connection: ACK, and none of SYN, FIN and RST. What is odd, for
// whatever is wrong with it or out of the ordinary, Parse describes.

// PlainSize is the least length of a plain packet's frame.
const PlainSize = EthernetSize + IPv4Size + TCPSize

// PlainFrame is the first bytes of a frame that may be plain: its headers. Its methods are small, for the loop that calls them to be
// one without calls.
type PlainFrame [PlainSize]byte

// Offsets in a plain frame.
const (
	plainLen  = EthernetSize + ip4Len
	plainFrag = EthernetSize + 6
	plainTTL  = EthernetSize + ip4TTL
	plainSrc  = EthernetSize + ip4Addr
	plainDst  = EthernetSize + ip4Addr + 4
	plainPort = EthernetSize + IPv4Size
	plainSeq  = EthernetSize + IPv4Size + tcpSeq
	plainAck  = EthernetSize + IPv4Size + tcpAck
	plainOff  = EthernetSize + IPv4Size + tcpOffset
)

// Door is a station as OddHead wants it. The zero Door lets nothing in.
type Door uint64

// DoorOf is the door of the station with this MACWord.
func DoorOf(mac uint64) Door { return Door(bits.ReverseBytes64(mac) | 1) }

// A frame is plain if OddHead, OddLength and OddSum of it are 0 together.

// OddHead is 0 if the frame is for the station behind the door and its fields say what those of a plain packet do.
func (h *PlainFrame) OddHead(door Door) uint64 {
	const version, proto, frag = 0x45<<16 | 0x0008, ProtoTCP << 24, 0xff3f // as they lie in the frame
	return uint64(door) ^ (binary.LittleEndian.Uint64(h[:])<<16 | 1) |
		(binary.LittleEndian.Uint64(h[ethType:])^version)&0xffffff |
		(binary.LittleEndian.Uint64(h[plainFrag:])^proto)&(0xff<<24|frag) |
		uint64(h[plainOff+1]&(SYN|FIN|RST|ACK)^ACK)
}

// OddLength is 0 if the lengths of a frame of n bytes agree with each other, it may travel on, and its source is an address that
// a packet may come from.
func (h *PlainFrame) OddLength(n int) uint64 {
	total, size, src := h.Total(), int(h[plainOff]>>4)*4, int(h[plainSrc])
	// Negative is what is too little.
	return uint64((n-EthernetSize-total)|(size-TCPSize)|(total-IPv4Size-size)|(int(h[plainTTL])-2)|(src-1)|(223-src)|((src^127)-1)) >> 63
}

// OddSum is 0 if the header's checksum is right.
func (h *PlainFrame) OddSum() uint64 {
	s, c := bits.Add64(binary.LittleEndian.Uint64(h[EthernetSize:]), binary.LittleEndian.Uint64(h[plainTTL:]), 0)
	s, c = bits.Add64(s, uint64(binary.LittleEndian.Uint32(h[plainDst:])), c)
	return uint64(fold(s+c) ^ 0xffff)
}

// Total is the size of the IP packet.
func (h *PlainFrame) Total() int { return int(binary.BigEndian.Uint16(h[plainLen:])) }

// Tuple is addresses and ports, source first.
func (h *PlainFrame) Tuple() (addr uint64, ports uint32) {
	return binary.BigEndian.Uint64(h[plainSrc:]), binary.BigEndian.Uint32(h[plainPort:])
}

// Segment is what a plain packet says of its connection: sequence number, acknowledgement, bytes of data, window.
func (h *PlainFrame) Segment() (seq, ack, payload uint32, window uint16) {
	return binary.BigEndian.Uint32(h[plainSeq:]), binary.BigEndian.Uint32(h[plainAck:]),
		uint32(h.Total()) - IPv4Size - uint32(h[plainOff]>>4)*4, binary.BigEndian.Uint16(h[plainOff+2:])
}
