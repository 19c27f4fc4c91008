package syncer

// Recount computes the digest sums from scratch.
func (s *Shard) Recount() { s.recount() }

// Sums are the digest sums.
func (s *Shard) Sums() [leaves]uint64 { return s.sums }
