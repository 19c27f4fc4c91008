package campaign

import (
	"encoding/binary"

	"github.com/holdfast-lb/holdfast/dpd/bench/mesh"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

const (
	vip     = 198<<24 | 51<<16 | 100<<8 | 1
	flagFIN = 1
	flagSYN = 2
	flagRST = 4
	flagPSH = 8
	flagACK = 16
	l4      = packet.EthernetSize + packet.IPv4Size
)

// segment is what a frame says.
type segment struct {
	src, dst         uint32
	srcPort, dstPort uint16
	seq, ack         uint32
	flags            byte
	payload          int
}

// frame makes a TCP segment. Its checksum is left out: nobody looks, and it is changed by differences.
func frame(src, dst uint32, srcPort, dstPort uint16, flags byte, seq, ack uint32, payload int) []byte {
	b := make([]byte, max(l4+packet.TCPSize+payload, 60))
	packet.Ethernet(b).SetType(packet.EtherTypeIPv4)
	copy(b[6:], []byte{2, 0, 0, 0, 9, 9})
	packet.PutIPv4(b[packet.EthernetSize:], 6, 64, uint64(src)<<32|uint64(dst), packet.TCPSize+payload)
	t := b[l4:]
	binary.BigEndian.PutUint16(t, srcPort)
	binary.BigEndian.PutUint16(t[2:], dstPort)
	binary.BigEndian.PutUint32(t[4:], seq)
	binary.BigEndian.PutUint32(t[8:], ack)
	t[12], t[13] = packet.TCPSize/4<<4, flags
	binary.BigEndian.PutUint16(t[14:], 65535)
	return b
}

// arrived takes what a node sent to a client or a server.
func (w *world) arrived(_ *mesh.Node, f []byte) {
	ip := f[packet.EthernetSize:]
	if ip[9] != 6 {
		return
	}
	t := f[l4:]
	p := &segment{
		src: binary.BigEndian.Uint32(ip[12:]), dst: binary.BigEndian.Uint32(ip[16:]),
		srcPort: binary.BigEndian.Uint16(t), dstPort: binary.BigEndian.Uint16(t[2:]),
		seq: binary.BigEndian.Uint32(t[4:]), ack: binary.BigEndian.Uint32(t[8:]), flags: t[13],
		payload: int(binary.BigEndian.Uint16(ip[2:])) - packet.IPv4Size - packet.TCPSize,
	}
	// Not at once: the node that sends is in the middle of its turn.
	w.after(1, func() {
		if p.dst&mesh.NetMask == mesh.ServerNet {
			w.atServer(p)
		} else {
			w.atClient(p)
		}
	})
}
