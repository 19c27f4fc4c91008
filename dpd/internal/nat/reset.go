package nat

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/checksum"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

// ResetSize is the size in bytes of the IP packet that PutReset writes.
func ResetSize(family uint8) int {
	if family == flow.IPv4 {
		return packet.IPv4Size + packet.TCPSize
	}
	return packet.IPv6Size + packet.TCPSize
}

// PutReset writes an IP packet, without a link header, that resets the connection of key from its source's side: seq is the next
// sequence number of that side.
func PutReset(ip []byte, key *flow.Key, seq uint32) {
	var pseudo checksum.Sum
	var t []byte
	if key.Family() == flow.IPv4 {
		packet.PutIPv4(ip, packet.ProtoTCP, replyTTL, key.Addr[0], packet.TCPSize)
		pseudo = checksum.PseudoIPv4(key.Addr[0], packet.ProtoTCP, packet.TCPSize)
		t = ip[packet.IPv4Size:][:packet.TCPSize]
	} else {
		packet.PutIPv6(ip, packet.ProtoTCP, replyTTL, &key.Addr, packet.TCPSize)
		pseudo = checksum.PseudoIPv6(&key.Addr, packet.ProtoTCP, packet.TCPSize)
		t = ip[packet.IPv6Size:][:packet.TCPSize]
	}
	packet.PutTCP(t, uint32(key.Meta>>32), seq, 0, packet.RST, 0)
	packet.TCP(t).SetChecksum(pseudo.Bytes(t).Checksum())
}
