package syncseal

import (
	"crypto/hkdf"
	"crypto/sha256"
)

// StaticKeys are the secrets of a cluster without coordinator, all made from the content of one key file.
type StaticKeys struct {
	Sync   Key      // ID 1
	RSS    [40]byte // Toeplitz key of the steering buckets
	Digest [16]byte // key of the cluster hash
}

// Static expands the content of a key file, 16 bytes or more of randomness, by HKDF-SHA256 with one label for each use.
func Static(master []byte) StaticKeys {
	var k StaticKeys
	k.Sync.ID = 1
	for _, use := range []struct {
		label string
		out   []byte
	}{
		{"holdfast static sync 1", k.Sync.Secret[:]},
		{"holdfast static rss 1", k.RSS[:]},
		{"holdfast static digest 1", k.Digest[:]},
	} {
		b, err := hkdf.Key(sha256.New, master, nil, use.label, len(use.out))
		if err != nil {
			panic(err) // only for more than 255 hashes of output
		}
		copy(use.out, b)
		clear(b)
	}
	return k
}
