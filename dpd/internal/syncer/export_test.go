package syncer

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// Recount computes the digest sums from scratch.
func (s *Shard) Recount() { s.recount() }

// Sums are the digest sums of all owners, folded so that a record under another owner's sum shows.
func (s *Shard) Sums() (all [leaves]uint64) {
	for _, o := range append([]*ownerSums{&s.sums.rest}, s.sums.list...) {
		for i, v := range o.leaves {
			if v != 0 {
				all[i] += fold(v^o.node.Inc, uint64(o.node.ID)^mul2)
			}
		}
	}
	return all
}

// Agrees is what a member would send whose records are those of this node, and what it would answer
// to the last round to it.
func (s *Shard) Agrees(n flow.Node) (sums []syncwire.DigestSums, replies []syncwire.DigestReply) {
	m, last := s.member(n), s.LastRound(n)
	for b := range 256 {
		own := syncwire.DigestSums{Bucket: uint8(b), Orphans: true}
		copy(own.Sums[:], m.held.leaves[b*4:])
		rest := syncwire.DigestSums{Bucket: uint8(b), Of: syncwire.DigestOrphans}
		for i := range rest.Sums {
			rest.Sums[i] = s.orphanSum(b*4 + i)
		}
		sums = append(sums, own, rest)
		replies = append(replies, syncwire.DigestReply{Round: last, Bucket: uint8(b), States: 0xff})
	}
	return sums, replies
}

// OwnSums are the sums of a bucket's records that an owner has here.
func (s *Shard) OwnSums(n flow.Node, b uint8) (sums [4]uint64) {
	if o := s.sums.of(n); o != nil {
		copy(sums[:], o.leaves[int(b)*4:])
	}
	return sums
}

// Epoch is that of the view.
func (s *Shard) Epoch() uint64 { return s.epoch }

// Has says whether a member is known to have message seq or what came after it.
func (s *Shard) Has(n flow.Node, seq uint64) bool { return s.member(n).has(seq) }

// LastRound is the last round of digests to a member.
func (s *Shard) LastRound(n flow.Node) uint32 {
	if r := &s.member(n).repair; r.nSent > 0 {
		return r.sent[(r.nSent-1)%roundsKept].round
	}
	return 0
}

// Orphans are the sums of a bucket's records whose owner is not in the view.
func (s *Shard) Orphans(b uint8) (sums [4]uint64) {
	for i := range sums {
		sums[i] = s.orphanSum(int(b)*4 + i)
	}
	return sums
}

// Totals are the sums of all records of a bucket.
func (s *Shard) Totals(b uint8) (sums [4]uint64) {
	for i := range sums {
		sums[i] = s.total(int(b)*4 + i)
	}
	return sums
}

// Owners is the number of owners whose sums are kept apart.
func (s *Shard) Owners() int { return len(s.sums.list) }

// HasEnded says whether a session is in the ended cache.
func (s *Shard) HasEnded(x flow.Session) bool { return s.hasEnded(&x) }

// EndSalts has every link take another salt after so many datagrams of a lane.
func (y *Sync) EndSalts(after uint64) { y.saltEnd = after }

// EndQueues is how many owners' ends are kept apart.
func (s *Shard) EndQueues() int { return len(s.tombs.queues) }
