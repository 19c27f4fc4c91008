package stream

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// ErrDatagram says that a datagram is none of ours.
var ErrDatagram = errors.New("stream: not a datagram of this direction")

const maxName = 64

// AppendAsk appends a client's datagram.
func AppendAsk(b []byte, conn, seq uint32) []byte {
	b = binary.LittleEndian.AppendUint32(b, FromClient)
	b = binary.LittleEndian.AppendUint32(b, conn)
	return binary.LittleEndian.AppendUint32(b, seq)
}

// ParseAsk reads a client's datagram.
func ParseAsk(b []byte) (conn, seq uint32, err error) {
	if len(b) != 12 || binary.LittleEndian.Uint32(b) != FromClient {
		return 0, 0, ErrDatagram
	}
	return binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:]), nil
}

// Echo is a server's answer. Seen is who the server takes the client to be: the local address and port of the session,
// which must stay the same for its whole life.
type Echo struct {
	Conn, Seq uint32
	Seen      netip.AddrPort
	Server    string
}

// AppendEcho appends a server's datagram.
func AppendEcho(b []byte, e Echo) []byte {
	b = binary.LittleEndian.AppendUint32(b, FromServer)
	b = binary.LittleEndian.AppendUint32(b, e.Conn)
	b = binary.LittleEndian.AppendUint32(b, e.Seq)
	a := e.Seen.Addr().As16()
	b = append(b, a[:]...)
	b = binary.LittleEndian.AppendUint16(b, e.Seen.Port())
	return append(b, e.Server[:min(len(e.Server), maxName)]...)
}

// ParseEcho reads a server's datagram.
func ParseEcho(b []byte) (Echo, error) {
	if len(b) < 30 || len(b) > 30+maxName || binary.LittleEndian.Uint32(b) != FromServer {
		return Echo{}, ErrDatagram
	}
	return Echo{
		Conn: binary.LittleEndian.Uint32(b[4:]), Seq: binary.LittleEndian.Uint32(b[8:]),
		Seen:   netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[12:28])).Unmap(), binary.LittleEndian.Uint16(b[28:])),
		Server: string(b[30:]),
	}, nil
}
