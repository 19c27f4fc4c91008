package conntrack

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// secret keys the table's hash. It never leaves the process; the cluster's hash is another one.
type secret [8]uint64

// newSecret draws from random, or from the system where that is nil.
func newSecret(random func([]byte)) (s secret) {
	var b [len(s) * 8]byte
	if random == nil {
		rand.Read(b[:]) // never fails: it aborts the process instead
	} else {
		random(b[:])
	}
	for i := range s {
		s[i] = binary.LittleEndian.Uint64(b[i*8:])
	}
	return s
}

// hash is NH (sums of products of key words with secret words added, mod 2^128: two given keys collide with probability
// 2^-64 over the secrets) followed by one folded multiplication, which spreads it over all 64 bits.
func (s *secret) hash(k *flow.Key) uint64 {
	hi, lo := bits.Mul64(k.Addr[0]+s[0], k.Meta+s[1])
	if k.Meta&0xff == flow.IPv6 {
		h2, l2 := bits.Mul64(k.Addr[1]+s[2], k.Addr[2]+s[3])
		h3, l3 := bits.Mul64(k.Addr[3]+s[4], s[5])
		var c uint64
		lo, c = bits.Add64(lo, l2, 0)
		hi, _ = bits.Add64(hi, h2, c)
		lo, c = bits.Add64(lo, l3, 0)
		hi, _ = bits.Add64(hi, h3, c)
	}
	hi, lo = bits.Mul64(lo^s[6], hi^s[7])
	return hi ^ lo
}
