package packet

import "encoding/binary"

// A plain packet is what most packets are: an untagged frame to one station with an IPv4 packet without options or fragments
// that may travel on, and in it a TCP segment of an open connection: ACK, and none of SYN, FIN and RST. What Plain says no to,
// for whatever is wrong with it or out of the ordinary, Parse describes.

// PlainSize is the least length of a plain packet's frame.
const PlainSize = EthernetSize + IPv4Size + TCPSize

// Offsets in a plain frame. The eight bytes at plainTTL are TTL, protocol, header checksum and source; those at plainDst the
// destination and both ports.
const (
	plainTTL = EthernetSize + ip4TTL
	plainDst = EthernetSize + ip4Addr + 4
	plainSeq = EthernetSize + IPv4Size + tcpSeq
	plainAck = EthernetSize + IPv4Size + tcpAck
	plainOff = EthernetSize + IPv4Size + tcpOffset
)

// Plain says whether data is a plain packet to the station mac (by MACWord), and its tuple in the words of Info.
func Plain(data []byte, mac uint64) (addr, meta uint64, ok bool) {
	if len(data) < PlainSize {
		return 0, 0, false
	}
	h := (*[PlainSize]byte)(data)
	// Type, version and length of the header; the rest of the words is checked below.
	w0 := binary.BigEndian.Uint64(h[EthernetSize:])
	w1 := binary.BigEndian.Uint64(h[plainTTL:])
	w2 := binary.BigEndian.Uint64(h[plainDst:])
	tcp := binary.BigEndian.Uint32(h[plainOff:])
	const want = EtherTypeIPv4<<16 | 0x45<<8
	odd := uint64(binary.BigEndian.Uint32(h[ethType:])&^0xff^want) | w0&ip4FragMask | (w1>>48&0xff ^ ProtoTCP) |
		(binary.BigEndian.Uint64(h[:])>>16 ^ mac) | uint64(tcp>>16&(SYN|FIN|RST|ACK)^ACK)
	total, size := int(w0>>32&0xffff), int(tcp>>28)*4
	src := w1 >> 24 & 0xff
	if odd != 0 || EthernetSize+total > len(data) || size < TCPSize || IPv4Size+size > total || w1>>57 == 0 ||
		src-1 >= 223 || src == 127 {
		return 0, 0, false
	}
	sum := w0>>32 + w0&0xffffffff + w1>>32 + w1&0xffffffff + w2>>32
	if fold(sum) != 0xffff {
		return 0, 0, false
	}
	return w1<<32 | w2>>32, w2<<32 | ProtoTCP<<8 | 4, true
}

// PlainSegment is what a plain packet says of its connection: sequence number, acknowledgement, bytes of data, window; and the
// size of the IP packet.
func PlainSegment(data []byte) (seq, ack, payload uint32, window uint16, total int) {
	h := (*[PlainSize]byte)(data)
	tcp := binary.BigEndian.Uint32(h[plainOff:])
	total = int(binary.BigEndian.Uint16(h[EthernetSize+ip4Len:]))
	return binary.BigEndian.Uint32(h[plainSeq:]), binary.BigEndian.Uint32(h[plainAck:]),
		uint32(total) - IPv4Size - tcp>>28*4, uint16(tcp), total
}
