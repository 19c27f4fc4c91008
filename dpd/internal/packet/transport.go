package packet

import "encoding/binary"

// Sizes of the fixed transport headers in bytes.
const (
	TCPSize  = 20
	UDPSize  = 8
	ICMPSize = 8
)

// TCP flags.
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
)

// TCP is the view of a TCP header (RFC 9293).
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-------------------------------+-------------------------------+
//	|          Source port          |       Destination port        |
//	+-------------------------------+-------------------------------+
//	|                        Sequence number                        |
//	+---------------------------------------------------------------+
//	|                    Acknowledgement number                     |
//	+-------+-------+---------------+-------------------------------+
//	| Offset| Rsrvd |  CEUAPRSF     |            Window             |
//	+-------+-------+---------------+-------------------------------+
//	|           Checksum            |        Urgent pointer         |
//	+-------------------------------+-------------------------------+
type TCP []byte

// Offsets of fields that nat edits.
const (
	TCPChecksumOff  = 16
	UDPChecksumOff  = 6
	ICMPChecksumOff = 2
	ICMPIDOff       = 4

	tcpSeq    = 4
	tcpAck    = 8
	tcpOffset = 12
	tcpFlags  = 13
	tcpWindow = 14
)

// Ports is source<<16 | destination; it serves for TCP and UDP.
func (h TCP) Ports() uint32 { return binary.BigEndian.Uint32(h) }

// SetPorts sets source<<16 | destination.
func (h TCP) SetPorts(p uint32) { binary.BigEndian.PutUint32(h, p) }

// Seq is the sequence number.
func (h TCP) Seq() uint32 { return binary.BigEndian.Uint32(h[tcpSeq:]) }

// Ack is the acknowledgement number.
func (h TCP) Ack() uint32 { return binary.BigEndian.Uint32(h[tcpAck:]) }

// HeaderLen is the header length in bytes, options included.
func (h TCP) HeaderLen() int { return int(h[tcpOffset]>>4) * 4 }

// Flags are the eight flag bits.
func (h TCP) Flags() uint8 { return h[tcpFlags] }

// Window is the window field, unscaled.
func (h TCP) Window() uint16 { return binary.BigEndian.Uint16(h[tcpWindow:]) }

// Checksum is the checksum field.
func (h TCP) Checksum() uint16 { return binary.BigEndian.Uint16(h[TCPChecksumOff:]) }

// SetChecksum sets the checksum field.
func (h TCP) SetChecksum(c uint16) { binary.BigEndian.PutUint16(h[TCPChecksumOff:], c) }

// PutTCP writes a 20-byte header with checksum and urgent pointer zero. ports is source<<16 | destination.
func PutTCP(b []byte, ports, seq, ack uint32, flags uint8, window uint16) {
	binary.BigEndian.PutUint32(b, ports)
	binary.BigEndian.PutUint32(b[tcpSeq:], seq)
	binary.BigEndian.PutUint32(b[tcpAck:], ack)
	binary.BigEndian.PutUint32(b[tcpOffset:], 5<<28|uint32(flags)<<16|uint32(window))
	binary.BigEndian.PutUint32(b[TCPChecksumOff:], 0)
}

// UDP is the view of a UDP header (RFC 768).
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-------------------------------+-------------------------------+
//	|          Source port          |       Destination port        |
//	+-------------------------------+-------------------------------+
//	|            Length             |           Checksum            |
//	+-------------------------------+-------------------------------+
type UDP []byte

// Len is the length of header and data in bytes.
func (h UDP) Len() int { return int(binary.BigEndian.Uint16(h[4:])) }

// Checksum is the checksum field; 0 over IPv4 means none.
func (h UDP) Checksum() uint16 { return binary.BigEndian.Uint16(h[UDPChecksumOff:]) }

// SetChecksum sets the checksum field.
func (h UDP) SetChecksum(c uint16) { binary.BigEndian.PutUint16(h[UDPChecksumOff:], c) }

// PutUDP writes a header with checksum zero. ports is source<<16 | destination; payload is in bytes.
func PutUDP(b []byte, ports uint32, payload int) {
	binary.BigEndian.PutUint32(b, ports)
	binary.BigEndian.PutUint32(b[4:], uint32(uint16(UDPSize+payload))<<16)
}
