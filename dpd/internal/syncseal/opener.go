package syncseal

import (
	"crypto/cipher"
	"encoding/binary"

	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// Verdict says what an Opener made of a datagram; Opened is the only good one.
type Verdict uint8

const (
	Opened     Verdict = iota
	WrongLink          // the header names another sender, life, salt or lane than the opener's
	UnknownKey         // sealed under a cluster key that this node doesn't hold
	Forged             // the tag is wrong: not a member's, changed on the way, or not meant for this receiver
	Replayed           // a counter that was opened before
	TooOld             // a counter below the window: it can't be told from a replay
	NumVerdicts
)

var verdictNames = [NumVerdicts]string{"opened", "wrong_link", "unknown_key", "forged", "replayed", "too_old"}

// String is the verdict's name in metrics.
func (v Verdict) String() string {
	if v < NumVerdicts {
		return verdictNames[v]
	}
	return "unknown"
}

// Opener opens what one node gets from another in one lane under one salt. About 2 KiB. One thread.
type Opener struct {
	ring   *Ring
	link   Link
	gen    uint64
	aead   [MaxKeys]cipher.AEAD
	id     [MaxKeys]uint16
	window Window
	nonce  [nonceLen]byte
}

// NewOpener makes an opener for what link.Sender sends. It derives nothing before the first datagram.
func NewOpener(ring *Ring, link Link) *Opener { return &Opener{ring: ring, link: link} }

// Open checks a datagram whose header h was read from it, and decrypts it in place. The TLVs are a part of datagram, whose
// content is lost if the verdict is Forged.
func (o *Opener) Open(h *syncwire.Header, datagram []byte) ([]byte, Verdict) {
	if h.Sender != o.link.Sender || h.Inc != o.link.Inc || h.Salt != o.link.Salt || h.Lane != o.link.Lane ||
		len(datagram) < syncwire.HeaderLen+syncwire.TagLen {
		return nil, WrongLink
	}
	aead := o.cipher(h.KeyID)
	if aead == nil {
		return nil, UnknownKey
	}
	binary.LittleEndian.PutUint64(o.nonce[:], h.Counter)
	head, body := datagram[:syncwire.HeaderLen], datagram[syncwire.HeaderLen:]
	tlvs, err := aead.Open(body[:0], o.nonce[:], body, head)
	if err != nil {
		return nil, Forged
	}
	if v := o.window.Accept(h.Counter); v != Opened {
		return nil, v
	}
	return tlvs, Opened
}

// cipher of a cluster key, derived once.
func (o *Opener) cipher(id uint16) cipher.AEAD {
	if o.gen != o.ring.gen {
		o.gen = o.ring.gen
		clear(o.aead[:])
	}
	free := -1
	for i := range o.aead {
		switch {
		case o.aead[i] == nil:
			free = i
		case o.id[i] == id:
			return o.aead[i]
		}
	}
	a := o.ring.derive(id, &o.link)
	if a != nil && free >= 0 {
		o.aead[free], o.id[free] = a, id
	}
	return a
}

// Link that the opener was made for.
func (o *Opener) Link() Link { return o.link }
