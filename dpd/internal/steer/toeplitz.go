package steer

import (
	"encoding/binary"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// KeyLen is the length of an RSS key in bytes, enough for the longest input (two IPv6 addresses and two ports).
const KeyLen = 40

// Key is the cluster's RSS key. All nodes share it, so all compute the same buckets.
type Key [KeyLen]byte

// clientLen is the longest client side: an IPv6 address and a port.
const clientLen = 16 + 2

// Hasher computes Toeplitz hashes under one key by tables of one entry per input byte and value. Immutable; any thread.
type Hasher struct {
	// full[i][v] is what byte v at position i adds to the hash. IPv4 clients use positions 0-5, IPv6 0-17.
	full [clientLen][256]uint32
	// low is the same, low 8 bits only: 4.5 KiB that stay in the first-level cache on the packet path.
	low [clientLen][256]uint8
	key Key
}

// NewHasher builds the tables of a key.
func NewHasher(key Key) *Hasher {
	h := &Hasher{key: key}
	for pos := range clientLen {
		for v := range 256 {
			var in [clientLen]byte
			in[pos] = byte(v)
			s := Toeplitz(&key, in[:pos+1])
			h.full[pos][v] = s
			h.low[pos][v] = uint8(s)
		}
	}
	return h
}

// Key is the key that the tables were built from.
func (h *Hasher) Key() Key { return h.key }

// Client is the hash of a client's address words (in the layout of a flow.Key's source) and port.
func (h *Hasher) Client(family uint8, hi, lo uint64, port uint16) uint32 {
	var in [clientLen]byte
	n := clientBytes(&in, family, hi, lo, port)
	var s uint32
	for i := range n {
		s ^= h.full[i][in[i]]
	}
	return s
}

// Bucket is the low 8 bits of Client: the steering unit of a client.
func (h *Hasher) Bucket(family uint8, hi, lo uint64, port uint16) flow.Bucket {
	t := &h.low
	if family == flow.IPv4 {
		return flow.Bucket(t[0][byte(hi>>56)] ^ t[1][byte(hi>>48)] ^ t[2][byte(hi>>40)] ^ t[3][byte(hi>>32)] ^
			t[4][byte(port>>8)] ^ t[5][byte(port)])
	}
	s := t[16][byte(port>>8)] ^ t[17][byte(port)]
	for i := range 8 {
		s ^= t[i][byte(hi>>(56-8*i))] ^ t[8+i][byte(lo>>(56-8*i))]
	}
	return flow.Bucket(s)
}

// clientBytes lays out a client's address and port in network order, as the hash reads them.
func clientBytes(in *[clientLen]byte, family uint8, hi, lo uint64, port uint16) int {
	if family == flow.IPv4 {
		binary.BigEndian.PutUint32(in[:4], uint32(hi>>32))
		binary.BigEndian.PutUint16(in[4:6], port)
		return 6
	}
	binary.BigEndian.PutUint64(in[:8], hi)
	binary.BigEndian.PutUint64(in[8:16], lo)
	binary.BigEndian.PutUint16(in[16:18], port)
	return clientLen
}

// Toeplitz is the hash of receive side scaling over up to 36 bytes: for each set bit of the input, from the left, the 32
// bits of the key that start at that bit are added by XOR. It is the slow and plain form, for tables and checks.
func Toeplitz(key *Key, input []byte) uint32 {
	var sum uint32
	window := uint64(binary.BigEndian.Uint32(key[:4]))<<32 | uint64(binary.BigEndian.Uint32(key[4:8]))
	for i, b := range input {
		for bit := range 8 {
			if b&(0x80>>bit) != 0 {
				sum ^= uint32(window >> (32 - bit))
			}
		}
		window <<= 8
		if next := i + 8; next < len(key) {
			window |= uint64(key[next])
		}
	}
	return sum
}
