package syncer

import "github.com/holdfast-lb/holdfast/dpd/internal/flow"

// Recount computes the digest sums from scratch.
func (s *Shard) Recount() { s.recount() }

// Sums are the digest sums.
func (s *Shard) Sums() [leaves]uint64 { return s.sums }

// HasEnded says whether a session is in the ended cache.
func (s *Shard) HasEnded(x flow.Session) bool { return s.hasEnded(&x) }
