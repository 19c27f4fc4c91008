package syncer

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/ended"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

const (
	tombMin   = 10_000  // milliseconds that a tombstone stays when every member is known to have it
	tombMax   = 60_000  // and when only digests show it
	tombBound = 120_000 // and in any case
	tombLate  = 5_000   // no older datagram is believed, so digests count from then on
	tombBurst = 1024    // collected in a tick, of each owner and kind
	tombWord  = 250     // milliseconds between reports
	// joinHold is how long a joining node may hold up what aged; what was closed waits for no joiner.
	joinHold = 60_000
	// keptMax is how long an end is remembered after its collection for members that may not know it.
	keptMax = 300_000
)

// tombstone is an aged session that waits for its collection. It speaks of the record at h only while birth and term match.
type tombstone struct {
	birth flow.Birth
	at    int64 // when it was made or came
	h     flow.Handle
	term  uint32
}

// mark is a moment, and the number of the last message before it.
type mark struct {
	at  int64
	seq uint64
}

// endQueue is what one owner ended, in the order in which this node made or received it. All of it waits for one word, of
// that owner: that members have what it ended before some moment.
type endQueue struct {
	owner  flow.Node
	closed ended.List
	aged   [2]ring[tombstone] // IPv4, IPv6: the parts of the table
}

// tombstones are what this node knows of sessions that ended.
type tombstones struct {
	cache  *ended.Cache
	queues []*endQueue
	kept   ended.List         // collected; see keptMax
	last   [2]ring[tombstone] // aged, of blocks that this node holds: wait for all others. at is when the others were free to collect
	// Words of this node: the moment before which every member has what this node closed, and what it aged.
	stable [2]int64
	marks  [2]ring[mark]
	told   int64
	// forgot is the last moment, on the clock of births, when an end was forgotten that some member may not know.
	forgot int64
	spent  flow.Session // scratch
}

const (
	isClosed = 0
	isAged   = 1
)

// endsOf is the queue of an owner. Those of owners that are no members have one together: nobody's word is waited for.
func (s *Shard) endsOf(owner flow.Node) *endQueue {
	if owner != s.self && s.member(owner) == nil {
		owner = flow.Node{}
	}
	for _, q := range s.tombs.queues {
		if q.owner == owner {
			return q
		}
	}
	q := &endQueue{owner: owner}
	s.tombs.queues = append(s.tombs.queues, q)
	return q
}

// identity is the id of a birth in the ended cache.
func (s *Shard) identity(x *flow.Session) uint64 {
	return fold(uint64(x.Birth)^s.key[0], s.hash(&x.Orig)|1) ^ s.hash(&x.Reply)
}

// hasEnded says whether x is known to be closed.
func (s *Shard) hasEnded(x *flow.Session) bool {
	return s.tombs.cache.Len() > 0 && s.tombs.cache.Has(s.identity(x))
}

// end takes the closed session x out of the table, if it is there, and remembers its end. had says that its port is its own here,
// also where it was that of an earlier birth.
func (s *Shard) end(h flow.Handle, x *flow.Session, had bool) {
	if h != 0 {
		s.remember(h, x)
		s.store.Remove(h)
	}
	c := s.tombs.cache
	if c.Full() {
		s.forgetOldestEnd()
	}
	id := s.identity(x)
	e := ended.Entry{ID: ended.Split(id), At: uint32(s.now), Local: x.Reply.DstPort(), Leaf: uint16(leafOf(x, s.hash(&x.Orig)))}
	if had || s.ports.Holds(&x.Reply) {
		e.Port = s.ports.Quarantine(&x.Reply, had)
	}
	if !c.Add(&s.endsOf(x.Owner).closed, e) {
		s.ports.Free(e.Port, e.Local) // it ended once already
	}
}

// forgetOldestEnd makes room in the full ended cache.
func (s *Shard) forgetOldestEnd() {
	t := &s.tombs
	s.Count[EndedGivenUp]++
	t.forgot = s.now + s.ahead
	if t.kept.Len() > 0 {
		t.cache.Drop(&t.kept)
		return
	}
	var oldest *endQueue
	age := uint32(0)
	for _, q := range t.queues {
		if e := t.cache.Head(&q.closed); e != nil && (oldest == nil || uint32(s.now)-e.At > age) {
			oldest, age = q, uint32(s.now)-e.At
		}
	}
	if oldest != nil {
		e := t.cache.Drop(&oldest.closed)
		s.ports.Free(e.Port, e.Local)
	}
}

// outlived says whether x, which a peer holds and this node does not, is one of this node's own that ended and whose end was
// forgotten: this node holds all of its own that live. A new owner is asked for an ACK, and what it is given is as old.
func (s *Shard) outlived(x *flow.Session, msg *syncwire.Message) bool {
	if x.Owner != s.self || msg.Rec.Flags&syncwire.FlagAck != 0 || int64(x.Birth>>16) > s.tombs.forgot {
		return false
	}
	_, _, held := s.store.Find(&x.Reply)
	return !held
}

// enqueueTombstone queues the aged session x at h for its collection.
func (s *Shard) enqueueTombstone(h flow.Handle, x *flow.Session) {
	s.endsOf(x.Owner).aged[familyOf(x)].push(tombstone{birth: x.Birth, at: s.now, h: h, term: x.Term})
}

func familyOf(x *flow.Session) int {
	return b2i(x.Orig.Family() == flow.IPv6 || x.Reply.Family() == flow.IPv6)
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// GiveUpTombstone removes the oldest aged session of a part of the table, which is full, and says whether there was one. It is
// called within Insert. The part with IPv6 is meant with six.
func (s *Shard) GiveUpTombstone(six bool) bool {
	t, part := &s.tombs, b2i(six)
	for {
		oldest := &t.last[part]
		for _, q := range t.queues {
			if r := &q.aged[part]; r.n > 0 && (oldest.n == 0 || r.front().at < oldest.front().at) {
				oldest = r
			}
		}
		if oldest.n == 0 {
			return false
		}
		if v := oldest.pop(); s.loadTombstone(&v, &t.spent) {
			s.Count[AgedGivenUp]++
			t.forgot = s.now + s.ahead
			s.remember(v.h, &t.spent)
			s.forget(v.h, &t.spent)
			return true
		}
	}
}

// loadTombstone loads the record of a queued tombstone; false when it is another by now.
func (s *Shard) loadTombstone(t *tombstone, x *flow.Session) bool {
	s.store.Load(t.h, x)
	return x.Birth == t.birth && x.Term == t.term && x.Flags&flow.SoftTomb != 0
}

// Tombs is how many ended sessions wait for their collection: closed ones in the ended cache, aged ones in the table.
func (s *Shard) Tombs() (closed, aged int) {
	t := &s.tombs
	for _, q := range t.queues {
		aged += q.aged[0].n + q.aged[1].n
	}
	return t.cache.Len() - t.kept.Len(), aged + t.last[0].n + t.last[1].n
}

// OldestTomb is for how long, in milliseconds, the oldest closed and the oldest aged session wait for their collection.
func (s *Shard) OldestTomb() (closed, aged int64) {
	for _, q := range s.tombs.queues {
		if e := s.tombs.cache.Head(&q.closed); e != nil {
			closed = max(closed, int64(uint32(s.now)-e.At))
		}
		for i := range q.aged {
			if r := &q.aged[i]; r.n > 0 {
				aged = max(aged, s.now-r.front().at)
			}
		}
	}
	for i := range s.tombs.last {
		if r := &s.tombs.last[i]; r.n > 0 {
			aged = max(aged, s.now-r.front().at)
		}
	}
	return closed, aged
}

// EndedBytes is the memory of the ended cache.
func (s *Shard) EndedBytes() int { return s.tombs.cache.Bytes() }
