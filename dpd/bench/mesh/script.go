package mesh

import (
	"encoding/binary"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

// act is one packet of a life: who sends it, and what is in it. Sequence numbers are offsets to the
// life's own.
type act struct {
	client   bool
	flags    uint8
	seq, ack uint32
	payload  int
	wait     uint8 // before the next one
	frame    []byte
	sum      uint32 // of the IP header without addresses
}

// Waits between packets.
const (
	waitTrip   = iota // one way through the node and back
	waitSpread        // until every node has heard that the session is established
	waitIdle          // the connection's own time, see Traffic.Least
)

// Bytes of data in each direction of a life; a sequence number has room for them below that of the
// next life.
const (
	request  = 100
	response = 200
	seqBits  = 10
)

const (
	syn  = packet.SYN
	ack  = packet.ACK
	data = packet.ACK | packet.PSH
	fin  = packet.ACK | packet.FIN
)

// lives are the scripts: a TCP connection that the client ends, one that the server ends, and a
// flow of UDP.
var lives = [3][]act{
	script(flow.ProtoTCP, []act{
		{client: true, flags: syn},
		{flags: syn | ack, ack: 1},
		{client: true, flags: ack, seq: 1, ack: 1, wait: waitSpread},
		{client: true, flags: data, seq: 1, ack: 1, payload: request},
		{flags: data, seq: 1, ack: 1 + request, payload: response, wait: waitIdle},
		{client: true, flags: fin, seq: 1 + request, ack: 1 + response},
		{flags: fin, seq: 1 + response, ack: 2 + request},
		{client: true, flags: ack, seq: 2 + request, ack: 2 + response},
	}),
	script(flow.ProtoTCP, []act{
		{client: true, flags: syn},
		{flags: syn | ack, ack: 1},
		{client: true, flags: ack, seq: 1, ack: 1, wait: waitSpread},
		{client: true, flags: data, seq: 1, ack: 1, payload: request},
		{flags: data, seq: 1, ack: 1 + request, payload: response, wait: waitIdle},
		{flags: fin, seq: 1 + response, ack: 1 + request},
		{client: true, flags: fin, seq: 1 + request, ack: 2 + response},
		{flags: ack, seq: 2 + response, ack: 2 + request},
	}),
	script(flow.ProtoUDP, []act{
		{client: true, payload: request, wait: waitSpread},
		{payload: response, wait: waitIdle},
		{client: true, payload: request},
		{payload: response},
	}),
}

const (
	clientEnds = iota
	serverEnds
	datagrams
)

// script makes the frames.
func script(proto uint8, list []act) []act {
	for i := range list {
		a := &list[i]
		l4 := packet.TCPSize
		if proto == flow.ProtoUDP {
			l4 = packet.UDPSize
		}
		size := packet.EthernetSize + packet.IPv4Size + l4 + a.payload
		a.frame = make([]byte, max(size, 60))
		f := packet.Ethernet(a.frame)
		copy(f[6:], gatewayMAC[:])
		f.SetType(packet.EtherTypeIPv4)
		packet.PutIPv4(a.frame[packet.EthernetSize:], proto, 64, 0, l4+a.payload)
		clear(a.frame[atSum : atSum+2])
		for at := packet.EthernetSize; at < atSrc; at += 2 {
			a.sum += uint32(binary.BigEndian.Uint16(a.frame[at:]))
		}
		if proto == flow.ProtoUDP { // a checksum of 0 says that there is none
			packet.PutUDP(a.frame[atPorts:], 0, a.payload)
			continue
		}
		a.frame[atPorts+12] = packet.TCPSize / 4 << 4
		a.frame[atFlags] = a.flags
		binary.BigEndian.PutUint16(a.frame[atPorts+14:], 65535)
	}
	return list
}

// put writes the frame of a life into b. The checksum of TCP stays 0: nobody looks, and nat changes
// it by differences.
func (a *act) put(b []byte, mac *[6]byte, src, dst uint32, ports uint32) {
	copy(b, a.frame)
	copy(b, mac[:])
	binary.BigEndian.PutUint64(b[atSrc:], uint64(src)<<32|uint64(dst))
	s := a.sum + src>>16 + src&0xffff + dst>>16 + dst&0xffff
	s = s>>16 + s&0xffff
	s += s >> 16
	binary.BigEndian.PutUint16(b[atSum:], ^uint16(s))
	binary.BigEndian.PutUint32(b[atPorts:], ports)
}
