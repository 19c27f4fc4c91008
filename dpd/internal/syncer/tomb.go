package syncer

import "github.com/holdfast-lb/holdfast/dpd/internal/flow"

const (
	tombMin   = 10_000 // milliseconds that a tombstone stays when every member is known to have it
	tombMax   = 60_000 // and when only digests tell
	tombLate  = 5_000  // no older datagram is believed, so digests count from then on
	tombBurst = 256    // tombstones looked at in a tick, of each queue
	tombWord  = 250    // milliseconds between reports
)

// tomb is a tombstone that waits for its collection. It speaks of the record at h only while birth and term match. 40 bytes.
type tomb struct {
	birth flow.Birth
	at    int64  // when it was made or came
	seq   uint64 // of the message that told all; 0: it came from elsewhere
	h     flow.Handle
	term  uint32
	soft  bool // when it was queued; a CLOSE of an aged session is queued anew
}

// tombQueue holds tombstones by what they wait for.
type tombQueue struct {
	young ring[tomb] // for tombMin, by age
	slow  ring[tomb] // for a word of members or an equal digest
	// last is for all other members: this node holds the block. at is when the others were free to collect. The aged ones wait
	// apart, since a degraded member holds up those alone.
	last [2]ring[tomb]

	slowMin, passMin int64 // lower bound of at in slow, and of the pass under way
	passLeft         int
	told             int64
}

// ring is a queue that grows by doubling.
type ring[T any] struct {
	buf  []T
	head int
	n    int
}

func (r *ring[T]) push(v T) {
	if r.n == len(r.buf) {
		b := make([]T, max(64, 2*len(r.buf)))
		for i := range r.n {
			b[i] = r.buf[(r.head+i)%len(r.buf)]
		}
		r.buf, r.head = b, 0
	}
	r.buf[(r.head+r.n)%len(r.buf)] = v
	r.n++
}

func (r *ring[T]) pop() T {
	v := r.buf[r.head]
	r.head = (r.head + 1) % len(r.buf)
	r.n--
	return v
}

// Tombs is how many tombstones wait for collection.
func (s *Shard) Tombs() int {
	return s.tombs.young.n + s.tombs.slow.n + s.tombs.last[0].n + s.tombs.last[1].n
}

// bury queues the tombstone at h. seq is that of the message that told all, 0 if it came from elsewhere.
func (s *Shard) bury(h flow.Handle, x *flow.Session, seq uint64) {
	s.tombs.young.push(tomb{birth: x.Birth, at: s.now, seq: seq, h: h, term: x.Term, soft: x.Flags&flow.SoftTomb != 0})
}

// collect removes tombstones whose life nobody can bring back.
func (s *Shard) collect() {
	q := &s.tombs
	joiner := false
	for _, m := range s.members {
		joiner = joiner || m.joining
	}
	if !joiner || s.off(CollectByTime) {
		for n := 0; n < tombBurst && q.young.n > 0 && s.now-q.young.buf[q.young.head].at >= tombMin; n++ {
			t := q.young.pop()
			switch x := s.tombOf(&t); {
			case x == nil:
			case s.off(CollectByTime) || s.everyoneHas(&t, x):
				s.mayCollect(&t, x)
			default:
				s.Count[CollectWaits]++
				q.pushSlow(t)
			}
		}
		s.collectSlow()
		s.collectLast()
	}
	if s.now >= q.told {
		q.told = s.now + tombWord
		a := s.emit(ActTombs)
		a.StableAt, a.FloorAt = s.stableAt(), s.floorAt()
		if s.Claimed(s.now) {
			a.Claimed = s.self
		}
	}
}

func (q *tombQueue) pushSlow(t tomb) {
	if q.slow.n == 0 {
		q.slowMin, q.passLeft = t.at, 0
	}
	q.slowMin = min(q.slowMin, t.at)
	q.passMin = min(q.passMin, t.at)
	q.slow.push(t)
}

func (s *Shard) collectSlow() {
	q := &s.tombs
	for range min(q.slow.n, tombBurst) {
		if q.passLeft == 0 {
			q.passLeft, q.passMin = q.slow.n, s.now
		}
		t := q.slow.pop()
		q.passLeft--
		switch x := s.tombOf(&t); {
		case x == nil:
		case s.everyoneHas(&t, x) || s.nobodyLives(&t, x):
			s.mayCollect(&t, x)
		default:
			q.passMin = min(q.passMin, t.at)
			q.slow.push(t)
		}
		if q.passLeft == 0 {
			q.slowMin = q.passMin
		}
	}
}

func (s *Shard) collectLast() {
	for i := range s.tombs.last {
		s.collectLastOf(&s.tombs.last[i])
	}
}

func (s *Shard) collectLastOf(q *ring[tomb]) {
	for range min(q.n, tombBurst) {
		t := q.buf[q.head]
		for _, m := range s.members {
			if m.floor <= t.at && !t.skips(m) {
				return
			}
		}
		q.pop()
		if x := s.tombOf(&t); x != nil {
			s.collected(t.h, x)
		}
	}
}

// skips says whether a tombstone does not wait for a member: it may be cut off for long, and of a closed session it can at worst
// bring back what then ages.
func (t *tomb) skips(m *member) bool { return m.degraded && !t.soft }

// mayCollect removes a tombstone; the holder of its block waits for the others.
func (s *Shard) mayCollect(t *tomb, x *flow.Session) {
	if s.ports.Holds(&x.Reply) && len(s.members) > 0 && !s.off(CollectByTime) {
		t.at = s.now
		s.tombs.last[b2i(t.soft)].push(*t)
		return
	}
	s.collected(t.h, x)
}

func (s *Shard) collected(h flow.Handle, x *flow.Session) {
	s.Count[Collected]++
	s.remember(h, x)
	s.forget(h, x)
}

// tombOf loads the record of a queued tombstone, nil when it is another by now.
func (s *Shard) tombOf(t *tomb) *flow.Session {
	x := &s.cur
	s.store.Load(t.h, x)
	if x.Birth != t.birth || x.Term != t.term || x.Flags&flow.Tomb == 0 {
		return nil
	}
	return x
}

// everyoneHas says whether every member is known to have received the tombstone.
func (s *Shard) everyoneHas(t *tomb, x *flow.Session) bool {
	if len(s.members) == 0 {
		return true
	}
	if t.seq == 0 || x.Owner != s.self {
		m := s.member(x.Owner)
		return m != nil && m.stable > t.at
	}
	for _, m := range s.members {
		if !m.has(t.seq) && !t.skips(m) {
			return false
		}
	}
	return true
}

// nobodyLives says whether every member's digest was equal since no datagram from before the tombstone is believed.
func (s *Shard) nobodyLives(t *tomb, x *flow.Session) bool {
	if s.now-t.at < tombMax {
		return false
	}
	leaf := leafOf(x, s.hash(&x.Orig))
	for _, m := range s.members {
		if m.equalAt[leaf] <= t.at+tombLate && !t.skips(m) {
			return false
		}
	}
	return true
}

// stableAt is a time from before which every own tombstone is on every member.
func (s *Shard) stableAt() int64 {
	q := &s.tombs
	at := s.now
	if q.slow.n > 0 {
		at = min(at, q.slowMin)
	}
	for i := range q.young.n {
		t := &q.young.buf[(q.young.head+i)%len(q.young.buf)]
		if i == tombBurst || t.at >= at {
			return min(at, t.at)
		}
		if t.seq == 0 {
			continue
		}
		for _, m := range s.members {
			if !m.has(t.seq) && !t.skips(m) {
				return min(at, t.at)
			}
		}
	}
	return at
}

// floorAt is a time from before which this node holds no tombstone, those apart that wait for the others.
func (s *Shard) floorAt() int64 {
	q := &s.tombs
	at := s.now
	if q.young.n > 0 {
		at = min(at, q.young.buf[q.young.head].at)
	}
	if q.slow.n > 0 {
		at = min(at, q.slowMin)
	}
	return at
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
