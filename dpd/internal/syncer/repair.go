package syncer

import "github.com/holdfast-lb/holdfast/dpd/internal/flow"

// Classes of records between this node and a member.
const (
	mine    = iota // owned here, as the member holds them
	theirs         // owned by the member, as they are held here
	orphans        // owned by nobody in the view
	thirds         // owned by other members
	numClasses
)

const (
	repairEvery = 500 // milliseconds between digests to a member while something is in doubt
	repairIdle  = 16  // such rounds that mended nothing, after which they become rarer
	roundsKept  = 8   // of a member, whose answers are still understood
	// silentAsks is how long, in milliseconds, what a silent member may know that is not here makes
	// a UDP miss ask the others; silentHeals how long it keeps this node from confirming to others
	// that it misses nothing.
	silentAsks  = 10_000
	silentHeals = 60_000
)

// repair is what is not known to be equal between this node and a member, by leaf, and what is done
// about it.
type repair struct {
	doubt   [thirds]leafCount     // by class: something may have been lost, and no digest was equal since
	unequal [numClasses]leafCount // as the last digest that proved something found them
	rounds  [numClasses][leaves]uint8
	unsure  [leaves]uint8 // rounds in which theirs could not be told
	since   uint32        // only later rounds tell of what is in doubt
	sent    [roundsKept]sentRound
	nSent   int

	hereAt   [leaves]int64 // when theirs was last found equal
	thereAt  [leaves]int64 // when that of mine was made that the member found equal, and missed nothing
	orphanAt [leaves]int64

	want, listing [numClasses]leafSet
	wants         bool
	list          job

	next  int64 // when digests are due while something is open
	last  int64 // when they were sent
	every int64
	idle  int  // rounds since something was mended
	news  bool // something was mended since the last list
	owes  bool // the member asked for digests
}

// sentRound is a round of digests to a member.
type sentRound struct {
	round uint32
	seq   uint64 // the last message of this shard before it
	at    int64
}

// open says whether something is to be mended.
func (r *repair) open() bool {
	n := 0
	for i := range r.doubt {
		n += r.doubt[i].n
	}
	for i := range r.unequal {
		n += r.unequal[i].n
	}
	return n > 0
}

// asks is the number of leaves that the member's digests have a say about.
func (r *repair) asks() int {
	return r.doubt[theirs].n + r.doubt[orphans].n + r.unequal[theirs].n + r.unequal[orphans].n + r.unequal[thirds].n
}

// mended notes that a leaf of a class is equal.
func (r *repair) mended(class, leaf int) {
	r.rounds[class][leaf] = 0
	doubted := class != thirds && r.doubt[class].remove(leaf)
	if r.unequal[class].remove(leaf) || doubted {
		r.idle, r.news = 0, true
	}
}

// differs notes that a leaf of a class is unequal. In the second such round in a row, and each
// second one after it, it is listed.
func (r *repair) differs(class, leaf int) {
	r.unequal[class].add(leaf)
	if r.list.running && r.listing[class].has(leaf) {
		return // what mends it is on its way
	}
	n := &r.rounds[class][leaf]
	if *n++; *n == 0 {
		*n = rarely
	}
	vain := class >= orphans && *n > fruitless
	every := uint8(2)
	if class == thirds {
		every = 4 // first their owner has a say
	}
	if !vain && *n%every == 0 || *n%rarely == 0 {
		r.want[class].add(leaf)
		r.wants = true
	}
	if vain {
		// The views may differ, or who could tell is cut off: nothing waits for it any more.
		r.unequal[class].remove(leaf)
	}
}

const (
	// fruitless is after how many unequal rounds a leaf of records that neither side owns no longer
	// counts as under repair; it is listed each rarely rounds from then on.
	fruitless = 8
	rarely    = 32
)

// sentAt finds a round that was sent lately.
func (r *repair) sentAt(round uint32) (sentRound, bool) {
	for _, x := range r.sent {
		if x.round == round && round != 0 {
			return x, true
		}
	}
	return sentRound{}, false
}

// mend puts all leaves in doubt: digests to the member at once, though not more often than repairs
// send them, and until each leaf was equal.
func (s *Shard) mend(m *member) {
	r := &m.repair
	for i := range r.doubt {
		r.doubt[i].fill(&s.all)
	}
	r.since = s.round
	r.every, r.idle = repairEvery, 0
	r.next = min(r.next, max(s.now, r.last+repairEvery))
}

// suspect puts the leaf of a record in doubt: it could not be installed, or its sender could not be
// told.
func (s *Shard) suspect(m *member, x *flow.Session) {
	leaf := leafOf(x, s.hash(&x.Orig))
	for i := range m.repair.doubt {
		m.repair.doubt[i].add(leaf)
	}
}

// equalNow dates a leaf of which something was just found equal.
func (m *member) equalNow(leaf int) {
	r := &m.repair
	m.equalAt[leaf] = max(m.equalAt[leaf], min(r.hereAt[leaf], r.thereAt[leaf], r.orphanAt[leaf]))
}

// healing is the way out of a loss: once each leaf was equal, both ways, in digests that were made
// afterwards, the member has what is lost, or what came after it.
type healing struct {
	lost                 uint64    // of the receipt, that it is about
	here, there, orphans leafCount // not yet equal since
	from                 uint64    // the least Seq at which one was equal there
}

// healing is what waits for digests of a member; nil: nothing does.
func (s *Shard) healing(m *member) *healing {
	h := &m.healing
	switch {
	case m.lost <= m.healed:
		return nil
	case h.lost != m.lost:
		h.here.fill(&s.all)
		h.there.fill(&s.all)
		h.orphans.fill(&s.all)
		h.lost, h.from = m.lost, 1<<64-1
	}
	return h
}

// healed follows leaves that were taken off what waits.
func (m *member) healedBy(h *healing) {
	if h.here.n+h.there.n+h.orphans.n == 0 {
		m.heal(h.from)
	}
}

// cutOff says whether a member has been silent for longer than ms.
func (m *member) cutOff(now, ms int64) bool { return m.suspected && now-m.suspectedAt > ms }

// misses are the leaves of a bucket, as bits, of which this node may lack something that another
// member than m told or tells.
func (s *Shard) misses(m *member, bucket uint8) (bits uint8) {
	for _, o := range s.members {
		if o != m && !o.degraded && !o.joining && !o.cutOff(s.now, silentHeals) {
			bits |= o.repair.doubt[theirs].bucket(bucket) | o.repair.unequal[theirs].bucket(bucket)
		}
	}
	return bits
}

// confirmedLately says whether a digest of the record's owner, or of any member if the owner is
// gone, was equal lately.
func (s *Shard) confirmedLately(x *flow.Session) bool {
	leaf := leafOf(x, s.hash(&x.Orig))
	lately := func(at int64) bool { return at != 0 && s.now-at < confirmedFor }
	if m := s.member(x.Owner); m != nil {
		return lately(m.repair.hereAt[leaf])
	}
	for _, m := range s.members {
		if lately(m.repair.orphanAt[leaf]) {
			return true
		}
	}
	return false
}

// classOf says whose a record is between this node and a member.
func (s *Shard) classOf(m *member, x *flow.Session) int {
	switch {
	case x.Owner == s.self:
		return mine
	case x.Owner == m.node:
		return theirs
	case s.orphan(x):
		return orphans
	}
	return thirds
}
