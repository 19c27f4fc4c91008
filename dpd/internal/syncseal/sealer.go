package syncseal

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"

	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// MaxCounter bounds the datagrams sealed under one salt, far below what would weaken the seal or wrap the counter.
const MaxCounter = 1 << 48

var (
	// ErrExhausted says that the counters of this salt are used up; the link needs a new salt, hence a new HELLO.
	ErrExhausted = errors.New("syncseal: the counters of this salt are used up")
	// ErrBuffer says that the datagram is shorter than a header, or has no room for the tag.
	ErrBuffer = errors.New("syncseal: no datagram, or no room for its tag")
)

const nonceLen = 12

// Sealer seals what one node sends to another in one lane under one salt. One thread.
type Sealer struct {
	ring   *Ring
	aead   cipher.AEAD
	link   Link
	sent   uint64
	gen    uint64
	header syncwire.Header
	nonce  [nonceLen]byte
}

// NewSealer makes a sealer whose first counter is 1. A link must be given a fresh random salt each time.
func NewSealer(ring *Ring, link Link) *Sealer {
	return &Sealer{
		ring: ring,
		link: link,
		header: syncwire.Header{
			Inc: link.Inc, Sender: link.Sender, Salt: link.Salt, Lane: link.Lane, Minor: syncwire.Minor,
		},
	}
}

// Seal fills in the header of a datagram from Builder.Finish, encrypts it in place and appends the tag into the same
// buffer, which must have syncwire.TagLen bytes of room. It returns the datagram and the counter that it got.
func (s *Sealer) Seal(datagram []byte) ([]byte, uint64, error) {
	if len(datagram) < syncwire.HeaderLen || cap(datagram)-len(datagram) < syncwire.TagLen {
		return nil, 0, ErrBuffer
	}
	if s.gen != s.ring.gen {
		s.header.KeyID = s.ring.active
		s.aead = s.ring.derive(s.ring.active, &s.link)
		s.gen = s.ring.gen
	}
	if s.aead == nil {
		return nil, 0, ErrNoKey
	}
	if s.sent >= MaxCounter {
		return nil, 0, ErrExhausted
	}
	s.sent++
	s.header.Counter = s.sent
	s.header.Put(datagram)
	binary.LittleEndian.PutUint64(s.nonce[:], s.sent)
	head, body := datagram[:syncwire.HeaderLen:syncwire.HeaderLen], datagram[syncwire.HeaderLen:]
	body = s.aead.Seal(body[:0], s.nonce[:], body, head)
	return datagram[:syncwire.HeaderLen+len(body)], s.sent, nil
}

// Sent is the highest counter that was used; 0 before the first.
func (s *Sealer) Sent() uint64 { return s.sent }

// Link that the sealer was made for.
func (s *Sealer) Link() Link { return s.link }
