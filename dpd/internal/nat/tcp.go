package nat

import (
	"encoding/binary"
	"math/bits"

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
// sequence number of that side, and ack, said when flags has ACK, what it has received.
func PutReset(ip []byte, key *flow.Key, seq, ack uint32, flags uint8) {
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
	packet.PutTCP(t, uint32(key.Meta>>32), seq, ack, packet.RST|flags&packet.ACK, 0)
	packet.TCP(t).SetChecksum(pseudo.Bytes(t).Checksum())
}

// ResetReplySize is the size in bytes of the frame that PutResetReply writes, or 0 when the packet must not be
// answered with a reset: it is none of TCP, a reset itself, or sent to a group.
func ResetReplySize(info *packet.Info) int {
	if info.Class != packet.ClassTCP || info.Flags&packet.RST != 0 || !info.Unicast() {
		return 0
	}
	return int(info.L3) + ResetSize(info.Family())
}

// PutResetReply writes into frame, which has ResetReplySize bytes, the reset that a closed port answers the packet in
// data with (RFC 9293 3.5.2), back to the station that it came from.
func PutResetReply(frame []byte, info *packet.Info, data []byte) {
	putLinkReply(frame, data[:info.L3])
	key := flow.Key{Addr: info.Addr, Meta: info.Meta}
	back := key.Reverse()
	if info.Flags&packet.ACK != 0 {
		PutReset(frame[info.L3:], &back, info.Ack, 0, 0)
		return
	}
	ack := info.Seq + uint32(info.PayloadLen)
	ack += uint32(info.Flags >> 1 & 1) // SYN and FIN take a number each
	ack += uint32(info.Flags & 1)
	PutReset(frame[info.L3:], &back, 0, ack, packet.ACK)
}

// LowerMSS lowers the maximum segment size option of a SYN to at most limit bytes and says whether it did. It
// never raises one, nor adds one.
func LowerMSS(info *packet.Info, data []byte, limit uint16) bool {
	if info.Class != packet.ClassTCP || info.Flags&packet.SYN == 0 {
		return false
	}
	h := data[info.L4:info.Payload]
	for at := packet.TCPSize; at < len(h); {
		switch kind := h[at]; {
		case kind == 0:
			return false
		case kind == 1:
			at++
		case at+1 >= len(h) || h[at+1] < 2 || at+int(h[at+1]) > len(h):
			return false
		case kind == 2 && h[at+1] == 4:
			was := binary.BigEndian.Uint16(h[at+2:])
			if was <= limit {
				return false
			}
			binary.BigEndian.PutUint16(h[at+2:], limit)
			from, to := was, limit
			if at&1 != 0 {
				// The value lies across two words of the sum, which then sees its bytes exchanged.
				from, to = bits.ReverseBytes16(was), bits.ReverseBytes16(limit)
			}
			t := packet.TCP(h)
			t.SetChecksum(checksum.Update16(t.Checksum(), from, to))
			return true
		default:
			at += int(h[at+1])
		}
	}
	return false
}
