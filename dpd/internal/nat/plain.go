package nat

import (
	"encoding/binary"

	"github.com/holdfast-lb/holdfast/dpd/internal/checksum"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

// Words of a plain packet's frame that Plain rewrites: TTL, protocol, header checksum, source address; destination address
// and both ports; the checksum of TCP.
const (
	plainTTL = packet.EthernetSize + 8
	plainDst = packet.EthernetSize + 16
	plainSum = packet.EthernetSize + packet.IPv4Size + packet.TCPChecksumOff
)

// Plain is Rewrite of a packet that packet.Plain said yes to: it gets the addresses, source<<32 | destination, and the ports,
// source<<16 | destination, and one is taken off its TTL. The sums are of so few words that no carry can leave 64 bits.
func Plain(data []byte, addr uint64, ports uint32) {
	const low = 0xffffffff
	h := (*[packet.PlainSize]byte)(data)
	w1, w2 := binary.BigEndian.Uint64(h[plainTTL:]), binary.BigEndian.Uint64(h[plainDst:])
	moved := ^w1&low + ^w2>>32 + addr>>32 + addr&low // what the addresses do to both sums
	ip := moved + 0xffff - 1<<8 + ^w1>>32&0xffff     // TTL is the upper byte of its word
	tcp := moved + ^w2&low + uint64(ports) + uint64(^binary.BigEndian.Uint16(h[plainSum:]))
	binary.BigEndian.PutUint64(h[plainTTL:], (w1>>48-1<<8)<<48|uint64(checksum.Sum(ip).Checksum())<<32|addr>>32)
	binary.BigEndian.PutUint64(h[plainDst:], addr<<32|uint64(ports))
	binary.BigEndian.PutUint16(h[plainSum:], checksum.Sum(tcp).Checksum())
}
