package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

const (
	magic    = "HFS"
	version  = 1
	keyLen   = 32
	idLen    = 8
	headLen  = len(magic) + 1 + idLen
	nonceLen = 12
	tagLen   = 16
)

// Why a value does not open.
var (
	ErrFormat   = errors.New("it is not a sealed value")
	ErrOtherKey = errors.New("it is sealed under a key that is not in the key file")
	ErrChanged  = errors.New("it was changed, or sealed for another entry")
)

// Place is where a sealed value lies. It opens nowhere else.
type Place struct {
	Bucket, Entry string
}

// Keys are those of a key file, the one that seals first. Immutable; any goroutine may use them.
type Keys struct {
	list []key
}

type key struct {
	id   [idLen]byte
	aead cipher.AEAD
}

func newKey(secret []byte) (key, error) {
	var k key
	id, err := hkdf.Key(sha256.New, secret, nil, "holdfast seal 1 id", idLen)
	if err != nil {
		return k, err
	}
	derived, err := hkdf.Key(sha256.New, secret, nil, "holdfast seal 1 key", keyLen)
	if err != nil {
		return k, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return k, err
	}
	copy(k.id[:], id)
	k.aead, err = cipher.NewGCM(block)
	return k, err
}

// Parse reads the text of a key file. Its errors name lines and never what stands in them.
func Parse(text []byte) (*Keys, error) {
	k := &Keys{}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		secret := make([]byte, keyLen)
		if hex.DecodedLen(len(line)) != keyLen || len(line)%2 != 0 {
			return nil, fmt.Errorf("line %d has %d characters, want %d hexadecimal digits", n, len(line), hex.EncodedLen(keyLen))
		}
		if _, err := hex.Decode(secret, line); err != nil {
			return nil, fmt.Errorf("line %d holds something else than hexadecimal digits", n)
		}
		if len(bytes.Trim(secret, "\x00")) == 0 {
			return nil, fmt.Errorf("line %d is all zeros", n)
		}
		if len(k.list) == 2 {
			return nil, fmt.Errorf("line %d is a third key, at most two are understood", n)
		}
		one, err := newKey(secret)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if len(k.list) == 1 && k.list[0].id == one.id {
			return nil, fmt.Errorf("line %d is the first key again", n)
		}
		k.list = append(k.list, one)
	}
	if len(k.list) == 0 {
		return nil, errors.New("it holds no key")
	}
	return k, nil
}

// String names the keys by their ids, which are no secret.
func (k *Keys) String() string {
	ids := make([]string, len(k.list))
	for i := range k.list {
		ids[i] = hex.EncodeToString(k.list[i].id[:])
	}
	return strings.Join(ids, ", ")
}

// ID names the key that seals.
func (k *Keys) ID() string { return hex.EncodeToString(k.list[0].id[:]) }

// Seal seals a secret for one place.
func (k *Keys) Seal(at Place, secret []byte) []byte {
	var nonce [nonceLen]byte
	_, _ = rand.Read(nonce[:]) // never fails
	return k.list[0].seal(at, nonce, secret)
}

func (k *key) seal(at Place, nonce [nonceLen]byte, secret []byte) []byte {
	out := make([]byte, 0, headLen+nonceLen+len(secret)+tagLen)
	out = append(out, magic...)
	out = append(out, version)
	out = append(out, k.id[:]...)
	ad := at.bind(out)
	out = append(out, nonce[:]...)
	return k.aead.Seal(out, nonce[:], secret, ad)
}

// bind is the associated data of a value with this head.
func (p Place) bind(head []byte) []byte {
	ad := bytes.Clone(head)
	for _, s := range []string{p.Bucket, p.Entry} {
		ad = binary.BigEndian.AppendUint16(ad, uint16(len(s)))
		ad = append(ad, s...)
	}
	return ad
}

// Open gives back what was sealed for the place. stale says that it was sealed under the file's second key, so that it is
// to be sealed anew before that key goes.
func (k *Keys) Open(at Place, sealed []byte) (secret []byte, stale bool, err error) {
	if len(sealed) < headLen+nonceLen+tagLen || string(sealed[:len(magic)]) != magic {
		return nil, false, fmt.Errorf("entry %s of bucket %s: %w", at.Entry, at.Bucket, ErrFormat)
	}
	if v := sealed[len(magic)]; v != version {
		return nil, false, fmt.Errorf("entry %s of bucket %s: %w of version %d: it says %d", at.Entry, at.Bucket, ErrFormat, version, v)
	}
	head, nonce, rest := sealed[:headLen], sealed[headLen:headLen+nonceLen], sealed[headLen+nonceLen:]
	for i := range k.list {
		if !bytes.Equal(k.list[i].id[:], head[headLen-idLen:]) {
			continue
		}
		secret, err := k.list[i].aead.Open(nil, nonce, rest, at.bind(head))
		if err != nil {
			return nil, false, fmt.Errorf("entry %s of bucket %s, under key %x: %w", at.Entry, at.Bucket, k.list[i].id, ErrChanged)
		}
		return secret, i > 0, nil
	}
	return nil, false, fmt.Errorf("entry %s of bucket %s: %w: it is under %x, the file has %s",
		at.Entry, at.Bucket, ErrOtherKey, head[headLen-idLen:], k)
}
