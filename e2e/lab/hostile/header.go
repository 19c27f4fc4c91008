package main

import "encoding/binary"

// What an outsider knows of a sync datagram: the clear header, as the specification of package
// syncwire draws it.
//
//	 0       2       3       4       5       6         8            12         16         24         32
//	+-------+-------+-------+-------+-------+---------+------------+----------+----------+----------+
//	| "hf"  | major | minor | lane  | flags | key id  | sender     | salt     | inc      | counter  |
//	+-------+-------+-------+-------+-------+---------+------------+----------+----------+----------+
const (
	headerLen  = 32
	emptyLen   = 67   // the shortest datagram: header, clock and tag
	helloLen   = 123  // a datagram with nothing but a HELLO or a HELLO_ACK
	fencedLen  = 110  // one with nothing but a FENCED
	maxPayload = 9000 // nothing above is read
)

// header is the clear part of a sync datagram.
type header struct {
	lane    byte
	keyID   uint16
	sender  uint32
	salt    uint32
	inc     uint64
	counter uint64
}

// put writes h over the first headerLen bytes of b.
func (h *header) put(b []byte) {
	copy(b, "hf\x01\x02")
	b[4], b[5] = h.lane, 0
	binary.LittleEndian.PutUint16(b[6:], h.keyID)
	binary.LittleEndian.PutUint32(b[8:], h.sender)
	binary.LittleEndian.PutUint32(b[12:], h.salt)
	binary.LittleEndian.PutUint64(b[16:], h.inc)
	binary.LittleEndian.PutUint64(b[24:], h.counter)
}

// readHeader reads the header of a datagram; false if it is none of sync.
func readHeader(b []byte) (header, bool) {
	if len(b) < emptyLen || b[0] != 'h' || b[1] != 'f' || b[2] != 1 {
		return header{}, false
	}
	return header{
		lane: b[4], keyID: binary.LittleEndian.Uint16(b[6:]), sender: binary.LittleEndian.Uint32(b[8:]),
		salt: binary.LittleEndian.Uint32(b[12:]), inc: binary.LittleEndian.Uint64(b[16:]),
		counter: binary.LittleEndian.Uint64(b[24:]),
	}, true
}
