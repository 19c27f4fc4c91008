// Package stream is what the lab's clients and real servers say to each other, so that a byte that is lost, doubled, changed
// or delivered to another connection is seen by whoever reads it.
//
// TCP: frames both ways, little-endian. The server answers frame n of a connection with its own frame n.
//
//	 0        4        8        12       16       20
//	+--------+--------+--------+--------+--------+----------- … -+
//	| magic  | conn   | seq    | length | crc    | payload       |
//	+--------+--------+--------+--------+--------+----------- … -+
//
// magic tells client frames from server frames. conn is the client's number for the connection; the server remembers the
// one of the first frame. seq counts from 0 without a gap. The payload is a function of (magic, conn, seq); crc is IEEE CRC-32 of
// the 16 bytes before it and the payload.
//
// UDP: the client sends {magic, conn, seq}; the server answers {magic, conn, seq, address and port that it saw, its name}.
package stream

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Magics of the two directions.
const (
	FromClient uint32 = 0x636c6901
	FromServer uint32 = 0x73727601
)

// HeaderSize of a frame, and MaxPayload after it, in bytes.
const (
	HeaderSize = 20
	MaxPayload = 4096
)

// Errors of a reader. All mean that the connection is broken.
var (
	ErrMagic    = errors.New("stream: not a frame of this direction")
	ErrConn     = errors.New("stream: a frame of another connection")
	ErrSequence = errors.New("stream: a frame is missing or doubled")
	ErrLength   = errors.New("stream: a frame of impossible length")
	ErrContent  = errors.New("stream: a frame with changed content")
)

// Append appends frame seq of a connection with a payload of n bytes.
func Append(b []byte, magic, conn, seq uint32, n int) []byte {
	from := len(b)
	b = binary.LittleEndian.AppendUint32(b, magic)
	b = binary.LittleEndian.AppendUint32(b, conn)
	b = binary.LittleEndian.AppendUint32(b, seq)
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	b = append(b, 0, 0, 0, 0)
	x := uint64(magic)<<32 ^ uint64(conn)<<16 ^ uint64(seq)*0x9e3779b97f4a7c15 | 1
	for range n {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b = append(b, byte(x>>32))
	}
	binary.LittleEndian.PutUint32(b[from+16:], sum(b[from:]))
	return b
}

func sum(frame []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE(frame[:16]), crc32.IEEETable, frame[HeaderSize:])
}

// Reader checks the frames of one direction of one connection.
type Reader struct {
	r     *bufio.Reader
	magic uint32
	conn  uint32
	next  uint32
	known bool
	frame []byte
	want  []byte
}

// NewReader reads frames of magic. The connection number is that of the first frame unless known is set.
func NewReader(r io.Reader, magic, conn uint32, known bool) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, HeaderSize+MaxPayload), magic: magic, conn: conn, known: known}
}

// Next reads and checks one frame and returns its connection, number and payload length. io.EOF means a clean end.
func (r *Reader) Next() (conn, seq uint32, n int, err error) {
	if cap(r.frame) == 0 {
		r.frame = make([]byte, HeaderSize+MaxPayload)
	}
	head := r.frame[:HeaderSize]
	if _, err := io.ReadFull(r.r, head); err != nil {
		return 0, 0, 0, err
	}
	magic := binary.LittleEndian.Uint32(head)
	conn, seq = binary.LittleEndian.Uint32(head[4:]), binary.LittleEndian.Uint32(head[8:])
	length := binary.LittleEndian.Uint32(head[12:])
	switch {
	case magic != r.magic:
		return 0, 0, 0, fmt.Errorf("%w: %08x", ErrMagic, magic)
	case length > MaxPayload:
		return 0, 0, 0, fmt.Errorf("%w: %d", ErrLength, length)
	case r.known && conn != r.conn:
		return 0, 0, 0, fmt.Errorf("%w: %d on %d", ErrConn, conn, r.conn)
	case seq != r.next:
		return 0, 0, 0, fmt.Errorf("%w: %d, not %d", ErrSequence, seq, r.next)
	}
	frame := r.frame[:HeaderSize+length]
	if _, err := io.ReadFull(r.r, frame[HeaderSize:]); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, 0, 0, err
	}
	r.want = Append(r.want[:0], magic, conn, seq, int(length))
	if string(r.want) != string(frame) {
		return 0, 0, 0, fmt.Errorf("%w: frame %d", ErrContent, seq)
	}
	r.conn, r.known, r.next = conn, true, seq+1
	return conn, seq, int(length), nil
}
