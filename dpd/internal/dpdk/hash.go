package dpdk

import "github.com/holdfast-lb/holdfast/dpd/internal/steer"

// Hash says by what the device itself spreads packets over the worker queues.
type Hash uint8

const (
	// HashNone says that the device does not spread, or does so by rules of its own (a kernel fanout).
	HashNone Hash = iota
	// HashBoth is by both ends of the flow; software puts most packets right.
	HashBoth
	// HashClient is by source address and port under the cluster's key, as buckets are made.
	HashClient
)

// String is the name in metrics and logs.
func (h Hash) String() string {
	switch h {
	case HashBoth:
		return "both_ends"
	case HashClient:
		return "source"
	}
	return "none"
}

// rssKey is the cluster's key in the size that a device wants, or nil if it can't be had. The bits beyond the cluster key's
// 40 bytes are not reached by the addresses and ports of a packet; devices with longer keys hash other things as well, so
// they are not trusted to compute buckets.
func rssKey(key *steer.Key, size int) []byte {
	switch {
	case key == nil || size != 0 && size < steer.KeyLen:
		return nil
	case size <= steer.KeyLen:
		return key[:]
	}
	return append(key[:len(key):len(key)], make([]byte, size-steer.KeyLen)...)
}
