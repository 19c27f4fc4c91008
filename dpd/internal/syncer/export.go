package syncer

import (
	"encoding/binary"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// SessionOf is the session that a record of an Action tells of.
func SessionOf(r *syncwire.Record) (s flow.Session) {
	fromWire(&s, r)
	return s
}

// ClusterHash is the hash of a tuple that all nodes share under the cluster's digest key: the order of listings and bulks.
func ClusterHash(key [16]byte, k *flow.Key) uint64 {
	words := [2]uint64{binary.LittleEndian.Uint64(key[:8]), binary.LittleEndian.Uint64(key[8:])}
	return clusterHash(&words, k)
}

// Self is the life that the Sync speaks for.
func (y *Sync) Self() flow.Node { return y.cfg.Self }
