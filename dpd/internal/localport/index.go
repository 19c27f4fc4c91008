package localport

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
)

// index finds nodes by the hash of their key: open addressing with linear probing in slots of tag<<32 | node+1, at most
// half of them in use. It has its final size from the start (untouched pages take no memory), so that adding never stalls.
type index struct {
	slot   []uint64
	secret [4]uint64
	shift  uint8
}

// newIndex draws its secret from random, or from the system where that is nil.
func newIndex(limit int, random func([]byte)) index {
	n := bits.Len(uint(2*limit - 1))
	x := index{slot: make([]uint64, 1<<n), shift: uint8(64 - n)}
	var b [len(x.secret) * 8]byte
	if random == nil {
		rand.Read(b[:]) // never fails: it aborts the process instead
	} else {
		random(b[:])
	}
	for i := range x.secret {
		x.secret[i] = binary.LittleEndian.Uint64(b[i*8:])
	}
	return x
}

// hash is keyed: who can choose server addresses can't aim at a slot.
func (x *index) hash(k *nodeKey) uint64 {
	h1, l1 := bits.Mul64(k.addr[0]+x.secret[0], k.addr[1]+x.secret[1])
	h2, l2 := bits.Mul64(k.rest+x.secret[2], x.secret[3])
	l1, c := bits.Add64(l1, l2, 0)
	h1, _ = bits.Add64(h1, h2, c)
	hi, lo := bits.Mul64(l1^x.secret[1], h1^x.secret[2])
	return hi ^ lo
}

func tagOf(e uint64) uint32  { return uint32(e >> 32) }
func nodeOf(e uint64) uint32 { return uint32(e) - 1 }

// first is where the search for a hash begins; the tag is its low half.
func (x *index) first(hash uint64) uint64 { return hash >> x.shift }

func (x *index) after(at uint64) uint64 { return (at + 1) & uint64(len(x.slot)-1) }

func (x *index) add(hash uint64, node uint32) {
	at := x.first(hash)
	for x.slot[at] != 0 {
		at = x.after(at)
	}
	x.slot[at] = hash<<32 | uint64(node+1)
}

// remove takes node out and reports whether it was there. What follows in the same run moves up, so that no marks of
// the removed stay behind; that needs the hashes, which of gives for a node.
func (x *index) remove(hash uint64, node uint32, of func(node uint32) uint64) bool {
	at := x.first(hash)
	for x.slot[at] != hash<<32|uint64(node+1) {
		if x.slot[at] == 0 {
			return false
		}
		at = x.after(at)
	}
	for next := x.after(at); x.slot[next] != 0; next = x.after(next) {
		home := x.first(of(nodeOf(x.slot[next])))
		if mask := uint64(len(x.slot) - 1); (next-home)&mask >= (next-at)&mask {
			x.slot[at] = x.slot[next]
			at = next
		}
	}
	x.slot[at] = 0
	return true
}
