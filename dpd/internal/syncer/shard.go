package syncer

import (
	"cmp"
	"errors"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// ErrNotMine refuses a call that needs the session to be owned by this node.
var ErrNotMine = errors.New("syncer: session is owned elsewhere")

// Config of a Shard.
type Config struct {
	Self flow.Node
	// DigestKey is the cluster's key for digests, adoption and the order of nodes; the same on every node.
	DigestKey [16]byte
	// Owns says which buckets are this shard's.
	Owns func(flow.Bucket) bool
	// Ended bounds the closed sessions that are remembered until nobody can bring them back, 32 bytes each; 0: 1 Mi. When there
	// are more, the oldest are forgotten early, which is counted.
	Ended int
	// Off switches rules off. Zero in production.
	Off Rules
}

// DefaultEnded is the bound on remembered ends if the Config names none.
const DefaultEnded = 1 << 20

// Shard is the sync machine of one worker. It belongs to that worker's thread. Every call that takes a time takes unix
// milliseconds that never go back; every call may append to Actions.
type Shard struct {
	store Store
	ports Ports
	self  flow.Node
	rules Rules
	key   [2]uint64
	now   int64
	ahead int64 // of the wall clock that births are made by, see SetWall
	clock clock
	seq   uint64
	// seqAll is the number of the last message to all.
	seqAll uint64
	out    []Action
	idle   Action // takes what nobody is there to be sent

	epoch   uint64
	members []*member // without this node, ascending by id
	ready   []uint32  // ids that adopt, this node's too
	fenced  []flow.Node
	buckets []flow.Bucket
	unquiet int64 // until then a UDP miss asks first

	sums    sums
	all     leafSet // the leaves of the buckets
	nextSum int64   // next digest round
	round   uint32
	mapped  uint64 // announced records with a mapping

	attend  []attention
	probes  [probeSize]probe
	repeats []repeat
	queries []query
	queryID uint64
	pending []pending
	asking  int64 // until then some query or negative answer may be in force

	tombs   tombstones
	graves  graves
	claims  claims
	sweep   job // adoption
	pace    pace
	retry   int64
	nacks   tokens
	asks    tokens // of packets that wait
	asides  tokens // of others
	rebirth tokens

	cur, other, in, above flow.Session // scratch, so that records don't escape to the heap
	Count                 Counters
}

// New returns a Shard over a store that no other Shard uses.
func New(cfg Config, store Store, ports Ports) *Shard {
	s := &Shard{
		store: store, ports: ports, self: cfg.Self, rules: cfg.Off,
		attend: make([]attention, attendSize), queries: make([]query, querySize), graves: newGraves(),
		nacks: tokens{rate: 20000, burst: 4000}, asks: tokens{rate: 5000, burst: 1000}, asides: tokens{rate: 2000, burst: 500}, rebirth: tokens{rate: 2000, burst: 500},
		out:   make([]Action, 0, 64),
		ready: []uint32{cfg.Self.ID},
		tombs: newTombstones(cmp.Or(cfg.Ended, DefaultEnded)),
	}
	for b := range 256 {
		if cfg.Owns(flow.Bucket(b)) {
			s.buckets = append(s.buckets, flow.Bucket(b))
			for i := range 4 {
				s.all.add(b<<2 | i)
			}
		}
	}
	s.relabel()
	s.SetDigestKey(cfg.DigestKey)
	for _, t := range []*tokens{&s.nacks, &s.asks, &s.asides, &s.rebirth} {
		t.level = t.burst * 1000
	}
	return s
}

func (s *Shard) off(r Rules) bool { return s.rules&r != 0 }

// Self is the node that this shard speaks for.
func (s *Shard) Self() flow.Node { return s.self }

// Mapped is the number of announced records that can translate packets, and how many of them this node owns.
func (s *Shard) Mapped() (all, owned uint64) { return s.mapped, s.sums.own.n }

// SetWall sets how far the wall clock is ahead of the times that the shard is given. Births alone are made by it, and none is
// below an earlier one, also when the wall clock goes back.
func (s *Shard) SetWall(ahead int64) { s.ahead = ahead }

func (s *Shard) time(now int64) {
	s.now = max(s.now, now)
}

// Create gives x its birth, makes this node the owner, and stores it. x must say the tuples, mode, state, timeout,
// service, server and bucket. An embryonic TCP session is not told to anyone before Established. Errors are those of the
// store; flow.ErrReplyTaken asks the caller for another port.
func (s *Shard) Create(now int64, x *flow.Session) (flow.Handle, error) {
	s.time(now)
	floor := flow.Birth(0)
	oh, d, ok := s.store.Find(&x.Orig)
	clash := ok && d == flow.In
	if clash {
		s.store.Load(oh, &s.other)
		floor = s.other.Birth
	}
	if rh, _, ok := s.store.Find(&x.Reply); ok {
		s.store.Load(rh, &s.cur)
		leased := x.Mode == flow.FullNAT || x.Mode == flow.SNAT
		if leased || s.cur.Orig != x.Orig || s.cur.Reply != x.Reply {
			s.Count[CreateReplyTaken]++
			return 0, flow.ErrReplyTaken
		}
		floor = max(floor, s.cur.Birth)
		s.remember(rh, &s.cur)
		s.disturb(&s.cur)
		s.drop(rh, &s.cur)
		clash = clash && rh != oh
	}
	x.Birth = s.clock.next(s.now+s.ahead, floor)
	x.Owner, x.Term, x.Ver = s.self, 1, 1
	x.Flags &^= flow.ReplyOnly | flow.Tomb | flow.Synced | flow.Confirmed
	if x.Flags&flow.Embryonic == 0 {
		x.Ver = 2
	}
	former := s.other
	if clash {
		s.yield(oh, &s.other)
	}
	h, err := s.store.Insert(x)
	if err != nil {
		s.Count[CreateRefused]++
		if clash {
			s.update(oh, &former) // who was to make way stays
		}
		return 0, err
	}
	s.account(x, +1)
	if announced(x) {
		s.tell(h, x)
	}
	return h, nil
}

// announced says whether a record was ever meant for peers. Version 1 is that of an embryonic session that only its
// owner knows, or those who asked for it; every announcement makes a higher one.
func announced(x *flow.Session) bool { return x.Ver > 1 }

// yield makes a record reply-only: a later life wants its original tuple, and takes it when it is
// stored.
func (s *Shard) yield(h flow.Handle, x *flow.Session) {
	if x.Flags&flow.ReplyOnly != 0 {
		return
	}
	s.Count[Yielded]++
	x.Flags |= flow.ReplyOnly
	x.Timeout = min(x.Timeout, replyOnlyTimeout)
	s.update(h, x)
}

// replyOnlyTimeout is how long, in seconds, a superseded record serves its server's packets without any.
const replyOnlyTimeout = 60

// Established is called once the handshake of a session is done, by whatever node saw it.
func (s *Shard) Established(now int64, h flow.Handle) {
	s.time(now)
	x := &s.cur
	s.store.Load(h, x)
	if x.Birth == 0 || x.Owner != s.self || x.Flags&flow.Tomb != 0 {
		return
	}
	s.advance(h, x)
}

// Ending is called when the end of an owned session begins: by the first FIN of either side, or a believed RST. It is the one
// step between the handshake and CLOSE that all hear of. Who adopts the session must not keep it for as long as an established
// one, and the timeout of a half-closed one will do: if its owner dies later in the close, the session is aged instead of closed.
func (s *Shard) Ending(now int64, h flow.Handle) { s.Established(now, h) }

// OtherFin is called for the FIN of direction d after the first step of the end. Peers hear of it only if its acknowledgement
// may pass another node, which couldn't know it for one.
func (s *Shard) OtherFin(now int64, h flow.Handle, d flow.Direction) {
	s.time(now)
	x := &s.cur
	s.store.Load(h, x)
	if x.Owner == s.self && live(x) && (x.Flags&flow.Shared != 0 || !x.Seq[d^1].Seen) {
		s.advance(h, x)
	}
}

// advance announces an owned record's present state under its next version.
func (s *Shard) advance(h flow.Handle, x *flow.Session) {
	s.account(x, -1)
	x.Flags &^= flow.Embryonic
	x.Ver++
	s.update(h, x)
	s.account(x, +1)
	s.tell(h, x)
}

// claim makes this node the owner in a new term, and tells all.
func (s *Shard) claim(h flow.Handle, x *flow.Session) {
	s.account(x, -1)
	if s.off(OneClock) {
		x.Birth = s.clock.next(s.now+s.ahead, x.Birth)
	}
	former := x.Owner
	if !s.orphan(x) {
		s.disturb(x)
	}
	x.Term++
	x.Owner, x.Ver = s.self, 2
	s.update(h, x)
	s.account(x, +1)
	a := s.send(AllNodes, syncwire.LaneLive, kindOf(x), h, x)
	if x.Flags&flow.Tomb != 0 {
		s.enqueueTombstone(h, x)
	} else if former.ID == s.self.ID && former != s.self {
		s.await(a, x)
	}
}

// Keep is the answer to Expired: look at the record again after that many milliseconds; 0: it is gone or was changed.
type Keep uint32

// Expired is called by the table's sweep for a record that was idle longer than its timeout. Only an owner ages, so for
// most records of others it says how long to keep them before asking again.
func (s *Shard) Expired(now int64, h flow.Handle) Keep {
	s.time(now)
	x := &s.cur
	s.store.Load(h, x)
	switch {
	case x.Birth == 0:
		return 0
	case x.Flags&flow.Tomb != 0:
		return 10_000 // the tombstone queue has it
	case x.Owner != s.self:
		return s.expiredElsewhere(h, x)
	case !announced(x) && x.Flags&flow.Confirmed == 0:
		s.event(ActRemoved, x)
		s.forget(h, x)
		return 0
	case isOver(x), s.off(HardAge), s.off(CloseUnacked) && bothFins(x):
		s.close(h, x)
		return 0
	}
	s.account(x, -1)
	x.Flags |= flow.SoftTomb
	x.Ver++
	s.update(h, x)
	s.Count[Aged]++
	s.event(ActAged, x)
	s.tell(h, x)
	s.enqueueTombstone(h, x)
	return 0
}

func (s *Shard) expiredElsewhere(h flow.Handle, x *flow.Session) Keep {
	if !announced(x) {
		s.forget(h, x) // an answer's embryonic copy; its owner has the say
		return 0
	}
	if s.orphan(x) && s.winner(x) == s.self.ID && !s.off(NoAdopt) {
		s.adopt(h, x)
	}
	return 5_000
}

// Abandon forgets a session of this node's that neither its server agreed to nor a peer knows of: its client begins anew. It reports
// false for others.
func (s *Shard) Abandon(now int64, h flow.Handle) bool {
	s.time(now)
	x := &s.cur
	s.store.Load(h, x)
	if x.Owner != s.self || x.Flags&flow.Embryonic == 0 || announced(x) || x.Flags&flow.Confirmed != 0 {
		return false
	}
	s.event(ActRemoved, x)
	s.forget(h, x)
	return true
}

// Delete closes a session at the word of an operator, whoever owns it.
func (s *Shard) Delete(now int64, h flow.Handle) {
	s.time(now)
	s.store.Load(h, &s.cur)
	if s.cur.Birth != 0 {
		s.close(h, &s.cur)
	}
}

// close ends a session for good and tells all. Its record leaves the table.
func (s *Shard) close(h flow.Handle, x *flow.Session) {
	s.account(x, -1)
	if x.Owner != s.self {
		s.disturb(x)
		x.Term++
		x.Owner, x.Ver = s.self, 1
	}
	x.Ver++
	x.Flags = x.Flags&^flow.Tomb | flow.HardTomb
	s.Count[Closed]++
	s.event(ActClosed, x)
	s.tell(h, x)
	s.end(h, x, true)
}

// update writes a record back. The store refuses only what the Shard must not ask for, so a refusal is a counted fault, and
// x is what the store still has.
func (s *Shard) update(h flow.Handle, x *flow.Session) {
	if err := s.store.Update(h, x); err != nil {
		s.Count[StoreFault]++
		s.store.Load(h, x)
	}
}

// drop takes a record out whose reply tuple another life has: the port stays taken.
func (s *Shard) drop(h flow.Handle, x *flow.Session) {
	s.account(x, -1)
	s.store.Remove(h)
}

// Evicted is told by the store of a record that it removes for want of room, and calls nothing of the store. Peers may know it; what
// they hold then comes back by digests.
func (s *Shard) Evicted(x *flow.Session) { s.account(x, -1) }

// forget takes a record out and gives its port back.
func (s *Shard) forget(h flow.Handle, x *flow.Session) {
	s.drop(h, x)
	// Also where the block is not held now: while this node may not allocate the pool has no leases, and keeps what was in use
	// until it has them again.
	s.ports.Release(x.Reply)
}

// Resend sends the present state of what a lost datagram spoke of to one node, or its end; seq is the lost message's.
func (s *Shard) Resend(now int64, to flow.Node, seq uint64, ref Ref) {
	s.time(now)
	m := s.member(to)
	if m == nil {
		return
	}
	h := ref.Handle
	if s.store.Load(h, &s.cur); s.cur.Birth != ref.Birth {
		var ok bool
		if h, ok = s.remembered(ref); !ok {
			// A digest tells whether the peer still holds it.
			s.Count[ResendGone]++
			s.mend(m)
			m.lostAll(s.seq)
			return
		}
	}
	a := s.send(to.ID, syncwire.LaneLive, kindOf(&s.cur), h, &s.cur)
	if s.awaits(m, &s.cur) {
		a.Msg.Rec.Flags |= syncwire.FlagAck
	}
	m.moved(seq, a.Seq)
	s.Count[Resent]++
}
