package syncseal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
)

const (
	saltContext = "holdfast salt 1"
	// proofBits is how many low bits of a salt prove that its sender holds a cluster key.
	proofBits = 12
	proofMask = 1<<proofBits - 1
	// Salts is how many different salts there are between two lives.
	Salts = 1 << (32 - proofBits)
)

// Ends are the two lives that a link joins, in the direction of its datagrams.
type Ends struct {
	SenderInc, ReceiverInc uint64
	Sender, Receiver       uint32
}

// Salt is salt number n, modulo Salts, of a link; 0 if that one can't be used. Its upper 20 bits are the number, the lower 12
// the proof: the first 12 bits of the CBC-MAC of {sender inc u64, receiver inc u64, sender u32, receiver u32, number u32,
// 0 u32} by AES-128 under HKDF-SHA256(cluster key, "holdfast salt 1"). Without a key in the ring the proof is arbitrary.
//
// The proof is no authentication. It lets a receiver tell a salt that it does not know yet from one that an outsider made
// up, for two AES blocks instead of a key derivation, so that made-up ones can't crowd out a handshake.
func (r *Ring) Salt(e *Ends, n uint32) uint32 {
	n %= Salts
	proof := n * 0x9e3779b1 & proofMask
	for i := range r.keys[:r.n] {
		if r.keys[i].ID == r.active {
			proof = r.proof(i, e, n)
		}
	}
	return n<<proofBits | proof
}

// Vouches says whether a salt was made by Salt between the same ends, under a key of the ring.
func (r *Ring) Vouches(e *Ends, salt uint32) bool {
	for i := range r.keys[:r.n] {
		if r.proof(i, e, salt>>proofBits) == salt&proofMask {
			return true
		}
	}
	return false
}

// Has says whether the ring holds the key with this id.
func (r *Ring) Has(id uint16) bool {
	for i := range r.keys[:r.n] {
		if r.keys[i].ID == id {
			return true
		}
	}
	return false
}

func (r *Ring) proof(key int, e *Ends, n uint32) uint32 {
	b := r.mac[:]
	binary.LittleEndian.PutUint64(b, e.SenderInc)
	binary.LittleEndian.PutUint64(b[8:], e.ReceiverInc)
	r.salts[key].Encrypt(b, b)
	for i, v := range [...]uint32{e.Sender, e.Receiver, n, 0} {
		w := b[4*i:]
		binary.LittleEndian.PutUint32(w, binary.LittleEndian.Uint32(w)^v)
	}
	r.salts[key].Encrypt(b, b)
	return binary.LittleEndian.Uint32(b) & proofMask
}

func saltCipher(secret []byte) cipher.Block {
	key, err := hkdf.Key(sha256.New, secret, nil, saltContext, keyLen)
	if err != nil {
		panic(err) // only for more than 255 hashes of output
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // only for another key length
	}
	clear(key)
	return block
}
