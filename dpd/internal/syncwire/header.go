package syncwire

import "encoding/binary"

const (
	// HeaderLen is the length of the clear header, which is the associated data of the seal.
	HeaderLen = 32
	// TagLen is the length of the seal's tag behind the TLVs.
	TagLen = 16
	// Magic opens each datagram: the bytes "hf".
	Magic uint16 = 'h' | 'f'<<8
	// Major is the version that must be equal.
	Major uint8 = 1
	// Minor is the version that may differ.
	Minor uint8 = 2
	// MinMTU is the smallest UDP payload: every body fits into it.
	MinMTU = 1200
	// MaxDatagram is the largest UDP payload: nothing above it is read.
	MaxDatagram = 9000
	// HelloLen is the length of a datagram with nothing but a HELLO or HELLO_ACK: what asks for an answer has to be as long,
	// or forged senders could make a node send more than they do.
	HelloLen = emptyLen + tlvHeaderLen + 16 + 16 + 8 + 8 + 3 + 2
	// FencedLen is that of a datagram with nothing but a FENCED, for the same reason.
	FencedLen = emptyLen + tlvHeaderLen + 8 + 8 + 8 + 16
	emptyLen  = HeaderLen + tlvHeaderLen + clockLen + TagLen
)

// Offsets of the header's fields.
//
//	 0       2       3       4       5       6         8            12         16         24         32
//	+-------+-------+-------+-------+-------+---------+------------+----------+----------+----------+
//	| magic | major | minor | lane  | flags | key id  | sender     | salt     | inc      | counter  |
//	+-------+-------+-------+-------+-------+---------+------------+----------+----------+----------+
const (
	offMajor   = 2
	offMinor   = 3
	offLane    = 4
	offFlags   = 5
	offKeyID   = 6
	offSender  = 8
	offSalt    = 12
	offInc     = 16
	offCounter = 24
)

// Header is what stands in clear before the TLVs. Nothing in it is believed before the seal was opened.
type Header struct {
	Inc     uint64 // incarnation of the sender
	Counter uint64 // of (sender, receiver, inc, salt, lane), from 1; the seal's nonce
	Sender  uint32 // node id
	Salt    uint32 // random, per start of the sender's link
	KeyID   uint16 // of the cluster key
	Lane    Lane
	Minor   uint8
	Flags   uint8 // none are defined; sent as 0, ignored
}

// Put writes the header into the first HeaderLen bytes of b.
func (h *Header) Put(b []byte) {
	_ = b[HeaderLen-1]
	binary.LittleEndian.PutUint16(b, Magic)
	b[offMajor] = Major
	b[offMinor] = h.Minor
	b[offLane] = byte(h.Lane)
	b[offFlags] = h.Flags
	binary.LittleEndian.PutUint16(b[offKeyID:], h.KeyID)
	binary.LittleEndian.PutUint32(b[offSender:], h.Sender)
	binary.LittleEndian.PutUint32(b[offSalt:], h.Salt)
	binary.LittleEndian.PutUint64(b[offInc:], h.Inc)
	binary.LittleEndian.PutUint64(b[offCounter:], h.Counter)
}

// Read takes the header from a received datagram and assigns every field. The rest of the datagram is not looked at.
func (h *Header) Read(datagram []byte) Reason {
	*h = Header{}
	switch {
	case len(datagram) < emptyLen:
		return Short
	case len(datagram) > MaxDatagram:
		return Long
	case binary.LittleEndian.Uint16(datagram) != Magic:
		return BadMagic
	case datagram[offMajor] != Major:
		return BadMajor
	case datagram[offLane] >= NumLanes:
		return BadLane
	}
	*h = Header{
		Inc:     binary.LittleEndian.Uint64(datagram[offInc:]),
		Counter: binary.LittleEndian.Uint64(datagram[offCounter:]),
		Sender:  binary.LittleEndian.Uint32(datagram[offSender:]),
		Salt:    binary.LittleEndian.Uint32(datagram[offSalt:]),
		KeyID:   binary.LittleEndian.Uint16(datagram[offKeyID:]),
		Lane:    Lane(datagram[offLane]),
		Minor:   datagram[offMinor],
		Flags:   datagram[offFlags],
	}
	return OK
}
