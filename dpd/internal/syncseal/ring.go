package syncseal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

const (
	// SecretLen is the length of a cluster key in bytes.
	SecretLen = 32
	// MaxKeys is how many cluster keys are valid at the same time, so that one can follow another without loss.
	MaxKeys = 2

	context = "holdfast sync 1"
	keyLen  = 16
	infoLen = len(context) + 4 + 4 + 8 + 4 + 1
)

var (
	// ErrKeys refuses a set of cluster keys that can't be used.
	ErrKeys = errors.New("syncseal: bad cluster keys")
	// ErrNoKey says that the ring holds no key to seal with.
	ErrNoKey = errors.New("syncseal: no cluster key")
)

// Key is a cluster key with the number, from 1, that headers name it by.
type Key struct {
	Secret [SecretLen]byte
	ID     uint16
}

// Link is one direction of one lane between two nodes, in one life of the sender: what a sealing key is derived for.
type Link struct {
	Inc      uint64 // of the sender
	Sender   uint32 // node ids
	Receiver uint32
	Salt     uint32
	Lane     syncwire.Lane
}

// Ring holds the cluster keys in force; an empty one seals and opens nothing. Sealers and openers follow its changes by themselves.
type Ring struct {
	keys   [MaxKeys]Key
	n      int
	active uint16
	gen    uint64                // rises with each change
	salts  [MaxKeys]cipher.Block // by key: what proves salts
	mac    [aes.BlockSize]byte   // scratch
}

// Set replaces the keys by one or two; active is the ID of the one to seal with. To rotate: every node gets both with
// the old one active, then with the new one active, then the new one alone. Nothing changes on error.
func (r *Ring) Set(active uint16, keys ...Key) error {
	if len(keys) == 0 || len(keys) > MaxKeys {
		return fmt.Errorf("%w: %d keys, want 1 to %d", ErrKeys, len(keys), MaxKeys)
	}
	found := false
	for i := range keys {
		if keys[i].ID == 0 {
			return fmt.Errorf("%w: a key has the id 0", ErrKeys)
		}
		if keys[i].Secret == [SecretLen]byte{} {
			return fmt.Errorf("%w: key %d is all zeros", ErrKeys, keys[i].ID)
		}
		if i > 0 && keys[i].ID == keys[0].ID {
			return fmt.Errorf("%w: two keys have the id %d", ErrKeys, keys[i].ID)
		}
		found = found || keys[i].ID == active
	}
	if !found {
		return fmt.Errorf("%w: no key has the active id %d", ErrKeys, active)
	}
	clear(r.keys[:])
	r.n, r.active = copy(r.keys[:], keys), active
	r.salts = [MaxKeys]cipher.Block{}
	for i := range keys {
		r.salts[i] = saltCipher(keys[i].Secret[:])
	}
	r.gen++
	return nil
}

// Active is the ID of the key to seal with, and false when the ring is empty.
func (r *Ring) Active() (uint16, bool) { return r.active, r.n > 0 }

// derive makes the cipher of a link under the key with this id; nil if the ring doesn't hold it.
func (r *Ring) derive(id uint16, l *Link) cipher.AEAD {
	for i := range r.keys[:r.n] {
		if k := &r.keys[i]; k.ID == id {
			return deriveFrom(k.Secret[:], l)
		}
	}
	return nil
}

func deriveFrom(secret []byte, l *Link) cipher.AEAD {
	info := make([]byte, 0, infoLen)
	info = append(info, context...)
	info = binary.LittleEndian.AppendUint32(info, l.Sender)
	info = binary.LittleEndian.AppendUint32(info, l.Receiver)
	info = binary.LittleEndian.AppendUint64(info, l.Inc)
	info = binary.LittleEndian.AppendUint32(info, l.Salt)
	info = append(info, byte(l.Lane))
	key, err := hkdf.Key(sha256.New, secret, nil, string(info), keyLen)
	if err != nil {
		panic(err) // only for more than 255 hashes of output
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // only for another key length
	}
	clear(key)
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // only for another block size
	}
	return aead
}
