package syncer

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

const (
	digestEvery = 5_000 // milliseconds
	// unsettled is how long after a change by another word than the owner's an unequal sum proves
	// nothing.
	unsettled = 200
	// unsureMax is how many such rounds are let pass before a difference counts all the same;
	// disorderMax, how many whose datagram came out of order, which says more of the network than
	// of the leaf.
	unsureMax   = 4
	disorderMax = 16
)

// digestRounds sends the sums that are due: to all each 5 s, to members with something in doubt
// each 500 ms. Whoever is just sent a bulk has to wait for its end.
func (s *Shard) digestRounds() {
	if s.off(NoDigest) || len(s.members) == 0 {
		return
	}
	if s.now >= s.nextSum {
		s.nextSum = s.now + digestEvery
		bulking := false
		for _, m := range s.members {
			m.repair.next = s.now + m.repair.every
			bulking = bulking || m.bulking
		}
		if !bulking {
			s.sendSums(nil)
			return
		}
		for _, m := range s.members {
			if !m.bulking {
				s.sendSums(m)
			}
		}
		return
	}
	for _, m := range s.members {
		r := &m.repair
		if m.bulking || s.now < r.next || !r.owes && !r.open() {
			continue
		}
		if r.idle++; r.idle >= repairIdle {
			r.every = min(2*r.every, digestEvery)
		}
		r.last, r.next = s.now, s.now+r.every
		s.sendSums(m)
	}
}

// sendSums sends a round of digests to a member, or to all.
func (s *Shard) sendSums(m *member) {
	s.round++
	to, ask := uint32(AllNodes), false
	if m != nil {
		r := &m.repair
		to, ask = m.node.ID, r.asks() > 0
		s.note(m)
	} else {
		for _, m := range s.members {
			s.note(m)
		}
	}
	some := s.orphaned() > 0 && !s.off(DigestOwnOnly)
	for _, b := range s.buckets {
		a := s.digest(to, b, syncwire.DigestOwn)
		a.Digest.Ask = ask
		a.Digest.Unsure = s.lately(&s.sums.disturbed, b)
		copy(a.Digest.Sums[:], s.sums.own.leaves[int(b)<<2:])
		if some {
			s.sendOrphans(a, to, b)
		}
		// With one other member there are no thirds.
		if unsure := s.lately(&s.sums.changed, b); len(s.members) > 1 && unsure != 15 && !s.off(DigestOwnOnly) {
			a := s.digest(to, b, syncwire.DigestAll)
			a.Digest.Unsure = unsure
			for i := range a.Digest.Sums {
				a.Digest.Sums[i] = s.total(int(b)<<2 | i)
			}
		}
	}
}

// note remembers the round for the member's answers.
func (s *Shard) note(m *member) {
	r := &m.repair
	r.owes = false
	r.sent[r.nSent%roundsKept] = sentRound{round: s.round, seq: s.seq, at: s.now}
	r.nSent++
}

func (s *Shard) digest(to uint32, b flow.Bucket, of syncwire.DigestOf) *Action {
	a := s.emit(ActDigest)
	a.To, a.Lane = to, syncwire.LaneLive
	a.Digest = syncwire.DigestSums{Round: s.round, Bucket: uint8(b), Of: of}
	return a
}

// sendOrphans sends the sums of a bucket's orphans if there are any, and has own, the body before,
// say so.
func (s *Shard) sendOrphans(own *Action, to uint32, b flow.Bucket) {
	var sums [4]uint64
	for i := range sums {
		sums[i] = s.orphanSum(int(b)<<2 | i)
	}
	if sums == ([4]uint64{}) {
		return
	}
	own.Digest.Orphans = true
	a := s.digest(to, b, syncwire.DigestOrphans)
	a.Digest.Sums, a.Digest.Unsure = sums, s.lately(&s.sums.stirred, b)
	if s.now-s.sums.relabeled < unsettled {
		a.Digest.Unsure = 15
	}
}

// lately are the leaves of a bucket, as bits, whose time is less than 200 ms ago.
func (s *Shard) lately(at *[leaves]int64, b flow.Bucket) (bits uint8) {
	for i := range 4 {
		if s.now-at[int(b)<<2|i] < unsettled {
			bits |= 1 << i
		}
	}
	return bits
}

// Digest compares a peer's sums of one bucket with this node's. ordered says that everything that
// the peer said before it was delivered, and nothing that it said later; view is the peer's.
func (s *Shard) Digest(now int64, from flow.Node, d *syncwire.DigestSums, ordered bool, view uint64) {
	s.time(now)
	m := s.member(from)
	if m == nil {
		s.Count[NotMember]++
		return
	}
	if s.all.bucket(d.Bucket) == 0 {
		return // another shard's
	}
	switch d.Of {
	case syncwire.DigestOwn:
		if !d.Orphans {
			s.compareOrphans(m, &syncwire.DigestSums{Bucket: d.Bucket}, view)
		}
		s.compareTheirs(m, d, ordered)
		for i := range 4 { // what follows in this round, if it can be told, says it anew
			m.repair.unequal[thirds].remove(int(d.Bucket)<<2 | i)
		}
		if d.Ask {
			m.repair.owes = true
			m.repair.next = min(m.repair.next, max(s.now, m.repair.last+repairEvery))
		}
	case syncwire.DigestOrphans:
		s.compareOrphans(m, d, view)
	case syncwire.DigestAll:
		s.compareAll(m, d)
	}
}

// compareTheirs compares what a member owns with what is held of that here, and answers.
func (s *Shard) compareTheirs(m *member, d *syncwire.DigestSums, ordered bool) {
	a := s.emit(ActDigestReply)
	a.To = m.node.ID
	a.Reply = syncwire.DigestReply{Round: d.Round, Bucket: d.Bucket}
	r, h, misses := &m.repair, s.healing(m), s.misses(m, d.Bucket)
	for i, sum := range d.Sums {
		leaf := int(d.Bucket)<<2 | i
		switch {
		case m.held.leaves[leaf] == sum: // that proves it, in whatever order it came
			s.Count[DigestEqual]++
			r.hereAt[leaf], r.unsure[leaf] = s.now, 0
			r.mended(theirs, leaf)
			m.equalNow(leaf)
			if h != nil && h.here.remove(leaf) {
				m.healedBy(h)
			}
			if misses>>i&1 == 0 {
				a.Reply.SetLeaf(i, syncwire.LeafWhole)
			} else {
				a.Reply.SetLeaf(i, syncwire.LeafEqual)
			}
		case !s.proves(r, d, i, ordered):
			s.Count[DigestUnsure]++
			a.Reply.SetLeaf(i, syncwire.LeafUnsure)
		default:
			s.Count[DigestUnequal]++
			r.differs(theirs, leaf)
		}
	}
}

// proves says whether it means anything that the sums of leaf i of a digest are unequal.
func (s *Shard) proves(r *repair, d *syncwire.DigestSums, i int, ordered bool) bool {
	leaf, most := int(d.Bucket)<<2|i, uint8(unsureMax)
	switch {
	case !ordered:
		most = disorderMax
	case d.Unsure>>i&1 == 0 && s.now-s.sums.disturbed[leaf] >= unsettled:
		return true
	}
	if r.unsure[leaf] >= most {
		return true
	}
	r.unsure[leaf]++
	return false
}

// compareOrphans compares what nobody in the view owns.
func (s *Shard) compareOrphans(m *member, d *syncwire.DigestSums, view uint64) {
	if s.off(DigestOwnOnly) {
		return
	}
	q, h := &s.sums, s.healing(m)
	calm := view == s.epoch && s.now-q.relabeled >= unsettled && !m.bulking
	for i, sum := range d.Sums {
		leaf := int(d.Bucket)<<2 | i
		switch {
		case s.orphanSum(leaf) == sum:
			m.repair.orphanAt[leaf] = s.now
			m.repair.mended(orphans, leaf)
			m.equalNow(leaf)
			if h != nil && h.orphans.remove(leaf) {
				m.healedBy(h)
			}
		case !calm || d.Unsure>>i&1 != 0 || s.now-q.stirred[leaf] < unsettled:
			m.repair.unequal[orphans].remove(leaf)
		default:
			s.Count[DigestUnequal]++
			m.repair.differs(orphans, leaf)
		}
	}
}

// compareAll compares everything, where it is calm and nothing but what third members own can
// differ.
func (s *Shard) compareAll(m *member, d *syncwire.DigestSums) {
	r := &m.repair
	for i, sum := range d.Sums {
		leaf := int(d.Bucket)<<2 | i
		open := r.unequal[mine].has(leaf) || r.unequal[theirs].has(leaf) || r.unequal[orphans].has(leaf) ||
			r.doubt[mine].has(leaf) || r.doubt[theirs].has(leaf) || r.doubt[orphans].has(leaf)
		switch {
		case s.total(leaf) == sum:
			r.mended(thirds, leaf)
		case open || m.bulking || d.Unsure>>i&1 != 0 || s.now-s.sums.changed[leaf] < unsettled:
		default:
			s.Count[DigestUnequal]++
			r.differs(thirds, leaf)
		}
	}
}

// DigestReply is what a member found of this node's own records.
func (s *Shard) DigestReply(now int64, from flow.Node, d *syncwire.DigestReply) {
	s.time(now)
	m := s.member(from)
	if m == nil {
		s.Count[NotMember]++
		return
	}
	r := &m.repair
	sent, ok := r.sentAt(d.Round)
	if !ok || s.all.bucket(d.Bucket) == 0 {
		s.Count[DigestReplyStray]++
		return
	}
	h := s.healing(m)
	for i := range 4 {
		leaf := int(d.Bucket)<<2 | i
		switch state := d.Leaf(i); state {
		case syncwire.LeafUnequal:
			if !m.bulking {
				s.Count[DigestUnequalThere]++
				r.differs(mine, leaf)
			}
		case syncwire.LeafEqual, syncwire.LeafWhole:
			if d.Round > r.since {
				r.mended(mine, leaf)
			}
			if state == syncwire.LeafWhole {
				r.thereAt[leaf] = max(r.thereAt[leaf], sent.at)
				m.equalNow(leaf)
				if h != nil && sent.seq >= m.lost && h.there.remove(leaf) {
					h.from = min(h.from, sent.seq)
					m.healedBy(h)
				}
			}
		case syncwire.LeafUnsure:
		}
	}
}

// list sends a member, over several ticks, the records of the leaves that differ.
func (s *Shard) list(m *member, n int) {
	r := &m.repair
	if !r.list.running {
		if !r.wants {
			return
		}
		r.listing, r.want, r.wants = r.want, [numClasses]leafSet{}, false
		r.list.start()
		// What a list does not mend, as when a node is full, the next one at once won't either.
		if r.every = min(r.every*2, digestEvery); r.news {
			r.every = repairEvery
		}
		r.news = false
	}
	r.list.step(s.store, n, func(h flow.Handle) {
		x := &s.cur
		s.store.Load(h, x)
		if !live(x) || !announced(x) {
			return
		}
		leaf, class := leafOf(x, s.hash(&x.Orig)), s.classOf(m, x)
		if r.listing[class].has(leaf) && (class == mine || !s.off(DigestOwnOnly)) {
			s.Count[Listed]++
			s.send(m.node.ID, syncwire.LaneBulk, syncwire.KindDigestList, h, x).Msg.Round = s.round
		}
	})
}
