package syncer

import "github.com/holdfast-lb/holdfast/dpd/internal/ended"

// collect removes tombstones whose birth nobody can bring back.
//
// Each owner says, with its PROBEs, before which moment all that it ended is on every member; that word is cumulative, and
// waits for nobody else's tombstones. A tombstone goes 10 s after it was made or came, once its owner's word covers it; else
// after 60 s, by digests. An end by CLOSE is final, so it waits for no member that is degraded or joins. An aged session
// may be revived, so its record waits for all, and the holder of its block collects last: else it would give the port to
// another while a member still revives the first.
//
// Nothing waits longer than 120 s for a member: at the worst, what it brings back later ages there, or yields to the
// higher birth that has the port by then.
func (s *Shard) collect() {
	s.raiseWords()
	t := &s.tombs
	keep := s.keepsEnds()
	live := t.queues[:0]
	for _, q := range t.queues {
		s.collectClosed(q, keep)
		for i := range q.aged {
			s.collectAged(&q.aged[i], q)
		}
		if q.closed.Len()+q.aged[0].n+q.aged[1].n > 0 || s.isMember(q) {
			live = append(live, q)
		}
	}
	clear(t.queues[len(live):])
	t.queues = live
	for i := range t.last {
		s.collectLast(&t.last[i])
	}
	s.forgetKept(keep)
	if s.now < t.told {
		return
	}
	t.told = s.now + tombWord
	a := s.emit(ActTombs)
	a.ClosedAt, a.AgedAt, a.FloorAt = t.stable[isClosed], t.stable[isAged], s.floorAt()
	if s.Claimed(s.now) {
		a.Claimed = s.self
	}
}

func (s *Shard) isMember(q *endQueue) bool { return q.owner == s.self || s.member(q.owner) != nil }

// word is the moment before which all that the owner of q ended is on every member.
func (s *Shard) word(q *endQueue, kind int) int64 {
	if q.owner == s.self {
		return s.tombs.stable[kind]
	}
	if m := s.member(q.owner); m != nil {
		return m.stable[kind]
	}
	return 0
}

func (s *Shard) collectClosed(q *endQueue, keep bool) {
	c, word := s.tombs.cache, s.word(q, isClosed)
	if m := s.member(q.owner); m != nil && m.degraded {
		word = s.now // it may never know what members have; its ends are kept for who asks, see keepsEnds
	}
	for range tombBurst {
		e := c.Head(&q.closed)
		if e == nil {
			return
		}
		age := int64(uint32(s.now) - e.At)
		at := s.now - age
		switch {
		case age < tombMin:
			return
		case at < word, len(s.members) == 0, s.off(CollectByTime):
		case age >= tombBound:
			s.Count[EndedUnconfirmed]++
		case age >= tombMax && s.equalSince(int(e.Leaf), at, isClosed):
		default:
			s.Count[CollectWaits]++
			return
		}
		s.Count[Collected]++
		s.ports.Free(e.Port, e.Local)
		if keep {
			e = c.Move(&q.closed, &s.tombs.kept)
			e.Port, e.At = 0, uint32(s.now)
		} else {
			c.Drop(&q.closed)
		}
	}
}

// keepsEnds says whether some member may not know of ends that were collected: it joins, is or may be cut off, or
// lost messages and no digest has shown since that it has what they said.
func (s *Shard) keepsEnds() bool {
	for _, m := range s.members {
		if m.joining || m.degraded || m.suspected || m.lost > m.healed {
			return true
		}
	}
	return false
}

func (s *Shard) forgetKept(keep bool) {
	t := &s.tombs
	for range tombBurst {
		e := t.cache.Head(&t.kept)
		if e == nil || keep && int64(uint32(s.now)-e.At) < keptMax {
			return
		}
		if keep {
			t.forgot = s.now + s.ahead
		}
		t.cache.Drop(&t.kept)
	}
}

func (s *Shard) collectAged(r *ring[tombstone], q *endQueue) {
	word := s.word(q, isAged)
	for range tombBurst {
		if r.n == 0 || s.now-r.front().at < tombMin {
			return
		}
		t := *r.front()
		x := &s.cur
		if !s.loadTombstone(&t, x) {
			r.pop()
			continue
		}
		switch {
		case t.at < word, len(s.members) == 0, s.off(CollectByTime):
		case s.now-t.at >= tombBound:
			s.Count[EndedUnconfirmed]++
		case s.now-t.at >= tombMax && s.equalSince(leafOf(x, s.hash(&x.Orig)), t.at, isAged):
		default:
			s.Count[CollectWaits]++
			return
		}
		r.pop()
		if s.ports.Holds(&x.Reply) && len(s.members) > 0 && !s.off(CollectByTime) {
			t.at = s.now
			s.tombs.last[familyOf(x)].push(t)
			continue
		}
		s.collected(&t)
	}
}

func (s *Shard) collectLast(r *ring[tombstone]) {
	for range tombBurst {
		if r.n == 0 {
			return
		}
		t := *r.front()
		if s.now-t.at < tombBound {
			for _, m := range s.members {
				if m.floor <= t.at && !s.skips(m, isAged) {
					return
				}
			}
		} else {
			s.Count[EndedUnconfirmed]++
		}
		r.pop()
		if s.loadTombstone(&t, &s.cur) {
			s.collected(&t)
		}
	}
}

// collected removes the aged session in s.cur.
func (s *Shard) collected(t *tombstone) {
	s.Count[Collected]++
	s.remember(t.h, &s.cur)
	s.forget(t.h, &s.cur)
}

// skips says whether a tombstone does not wait for a member.
func (s *Shard) skips(m *member, kind int) bool {
	if kind == isClosed {
		return m.degraded || m.joining
	}
	return m.joining && s.now-m.since >= joinHold
}

// equalSince says whether every member's digest of a leaf was equal since no datagram from before a moment is believed.
func (s *Shard) equalSince(leaf int, at int64, kind int) bool {
	for _, m := range s.members {
		if m.equalAt[leaf] <= at+tombLate && !s.skips(m, kind) {
			return false
		}
	}
	return true
}

// markEvery is the least distance, in milliseconds, of two marks; many that wait lie farther apart.
const markEvery = 5

// raiseWords finds the moments before which every member has what this node closed and aged.
func (s *Shard) raiseWords() {
	for kind := range s.tombs.marks {
		seq := s.seq
		for _, m := range s.members {
			// Numbers above the last one to a member are those of messages to others.
			if !s.skips(m, kind) && m.water < max(m.last, s.seqAll) {
				seq = min(seq, m.water)
			}
		}
		r, stable := &s.tombs.marks[kind], &s.tombs.stable[kind]
		if seq == s.seq {
			r.clear()
			*stable = s.now
			continue
		}
		for r.n > 0 && r.front().seq <= seq {
			*stable = r.pop().at
		}
		if r.n == 0 || r.back().seq < s.seq && s.now-r.back().at >= max(markEvery, (s.now-r.front().at)/4096) {
			r.push(mark{s.now, s.seq})
		}
	}
}

// floorAt is a moment from before which this node holds no aged session, those apart that wait for the others.
func (s *Shard) floorAt() int64 {
	at := s.now
	for _, q := range s.tombs.queues {
		for i := range q.aged {
			if r := &q.aged[i]; r.n > 0 {
				at = min(at, r.front().at)
			}
		}
	}
	return at
}

func newTombstones(limit int) tombstones { return tombstones{cache: ended.New(limit)} }
