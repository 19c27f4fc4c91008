package syncer

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// MaxMembers bounds a view.
const MaxMembers = 64

// Member is a node of a view.
type Member struct {
	Node     flow.Node
	Admitted bool // announces VIPs, adopts
	Degraded bool // may be cut off: its confirmation is not waited for
	Draining bool // was admitted and is leaving: it adopts nothing, and is no joiner
	// Sync is where its sync datagrams come from and go to: IPv4, IPv6. A Sync hears of each node what comes from there alone.
	Sync [2]netip.AddrPort
}

// View is who takes part, as the coordinator (or the static configuration) says.
type View struct {
	Epoch   uint64
	Self    flow.Node
	Members []Member // this node too
}

// member is what a Shard knows of another node of the view.
type member struct {
	node      flow.Node
	degraded  bool
	joining   bool
	suspected bool
	gap       bool   // datagrams of its live lane are missing, and may come yet
	suspicion uint32 // number of the present or last suspicion, from 1
	// suspectedAt is when that one began.
	suspectedAt int64

	receipt
	since  int64    // when it came into the view
	stable [2]int64 // what it closed, and what it aged, before that millisecond is on every node
	floor  int64    // it holds no aged session from before that millisecond

	held    *ownerSums // what it owns, as held here
	repair  repair
	healing healing
	equalAt [leaves]int64 // when the older one of both sides' states was made that were found equal last
	answers tokens
	bulk    job
	bulking bool
	sent    uint64
	sum     uint64 // of what was sent
	tombs   uint64
}

// SetView takes a view; a lower epoch is refused. Records of nodes that are gone are adopted by and by.
func (s *Shard) SetView(now int64, v *View) {
	s.time(now)
	if v.Epoch < s.epoch && !s.off(AnyView) {
		s.Count[ViewOld]++
		return
	}
	s.epoch = v.Epoch
	if s.self != v.Self {
		if s.self.ID == v.Self.ID && s.self.Inc != 0 {
			s.beginClaims()
		}
		s.self = v.Self
		for _, m := range s.members {
			s.mend(m)
			m.lostAll(s.seq) // peers refused what the former life said last
		}
	}
	old := s.members
	s.members = make([]*member, 0, len(v.Members))
	s.ready = s.ready[:0]
	for _, p := range v.Members {
		if p.Admitted && !p.Draining && !s.isFenced(p.Node) {
			s.ready = append(s.ready, p.Node.ID)
		}
		if p.Node.ID == v.Self.ID || len(s.members) == MaxMembers || s.isFenced(p.Node) {
			continue
		}
		i := slices.IndexFunc(old, func(m *member) bool { return m.node == p.Node })
		var m *member
		if i >= 0 {
			m = old[i]
		} else {
			m = &member{node: p.Node, receipt: receipt{lost: s.seq}, since: s.now,
				answers: tokens{rate: answerRate, burst: answerBurst, level: answerBurst * 1000, at: s.now}}
			s.mend(m)
		}
		m.degraded, m.joining = p.Degraded, !p.Admitted && !p.Draining
		s.members = append(s.members, m)
	}
	slices.SortFunc(s.members, func(a, b *member) int { return cmp.Compare(a.node.ID, b.node.ID) })
	if len(s.ready) == 0 {
		for _, p := range v.Members {
			s.ready = append(s.ready, p.Node.ID)
		}
	}
	slices.Sort(s.ready)
	s.relabel()
	clear(s.queries) // they count members by their place
	s.moveClaims(old)
	s.unquiet = s.now + 10_000
	s.sweep.start()
}

// Fenced says that a member came back as incarnation n.Inc: what its lower ones say counts no more, and what they owned is
// orphaned. A view that still names a lower one does not bring it back.
func (s *Shard) Fenced(now int64, n flow.Node) {
	s.time(now)
	if s.off(NoFence) || n.ID == s.self.ID {
		return
	}
	i := slices.IndexFunc(s.fenced, func(f flow.Node) bool { return f.ID == n.ID })
	switch {
	case i >= 0:
		s.fenced[i].Inc = max(s.fenced[i].Inc, n.Inc)
	default:
		if len(s.fenced) == 4*MaxMembers {
			s.fenced = slices.Delete(s.fenced, 0, 1)
		}
		s.fenced = append(s.fenced, n)
	}
	before := slices.Clone(s.members)
	s.members = slices.DeleteFunc(s.members, func(m *member) bool { return s.isFenced(m.node) })
	if len(s.members) != len(before) {
		s.relabel()
		clear(s.queries)
		s.moveClaims(before)
		s.unquiet = s.now + 10_000
		s.sweep.start()
	}
}

func (s *Shard) isFenced(n flow.Node) bool {
	for _, f := range s.fenced {
		if f.ID == n.ID && n.Inc < f.Inc {
			return true
		}
	}
	return false
}

// Suspect says that a member is silent, or that it is heard again.
func (s *Shard) Suspect(now int64, n flow.Node, yes bool) {
	s.time(now)
	if m := s.member(n); m != nil && m.suspected != yes {
		m.suspected = yes
		if yes {
			m.suspicion++
			m.suspectedAt = s.now
		}
		s.mend(m)
	}
}

// GapOpen says whether datagrams of a member's live lane are missing that may come yet: what it opened may not be here.
func (s *Shard) GapOpen(n flow.Node, open bool) {
	if m := s.member(n); m != nil {
		m.gap = open
	}
}

// PeerDesync says that something between this node and a member was dropped without repair: digests must find it.
func (s *Shard) PeerDesync(now int64, n flow.Node) {
	s.time(now)
	if m := s.member(n); m != nil {
		s.mend(m)
		m.lostAll(s.seq)
	}
}

// Dropped says that an action of this shard for a node, or AllNodes, was lost on its way to the sync thread.
func (s *Shard) Dropped(now int64, to uint32) {
	for _, m := range s.members {
		if to == AllNodes || to == m.node.ID {
			s.PeerDesync(now, m.node)
		}
	}
}

// Confirmed says that a member has received every message of this shard to it up to seq, repetitions apart.
func (s *Shard) Confirmed(n flow.Node, seq uint64) {
	if m := s.member(n); m != nil && seq > m.confirmed {
		m.confirm(seq)
	}
}

// Words are what a member says of ended sessions, in milliseconds of whoever hears it.
type Words struct {
	Closed int64 // what it closed before that is on every node
	Aged   int64 // what it aged before that is
	Floor  int64 // it holds no aged session from before that, but those whose block it holds
}

// Watermarks is a member's word on ended sessions.
func (s *Shard) Watermarks(n flow.Node, w Words) {
	if m := s.member(n); m != nil {
		m.stable[isClosed], m.stable[isAged] = max(m.stable[isClosed], w.Closed), max(m.stable[isAged], w.Aged)
		m.floor = max(m.floor, w.Floor)
	}
}

func (s *Shard) member(n flow.Node) *member {
	for _, m := range s.members {
		if m.node.ID == n.ID {
			if m.node.Inc == n.Inc || s.off(NoInc) {
				return m
			}
			return nil
		}
	}
	return nil
}

// orphan says whether a record's owner is no longer there, or came back as another incarnation.
func (s *Shard) orphan(x *flow.Session) bool {
	if s.off(NoInc) && x.Owner.ID == s.self.ID {
		return false
	}
	return x.Owner != s.self && s.member(x.Owner) == nil
}

// winner is the node that adopts an orphan: the greatest of a hash of session and node, over the admitted ones.
func (s *Shard) winner(x *flow.Session) uint32 {
	h := s.hash(&x.Orig)
	best, id := uint64(0), uint32(0)
	for _, n := range s.ready {
		if w := fold(h^mul1, uint64(n)*mul2+1); w >= best || id == 0 {
			best, id = w, n
		}
	}
	return id
}

// adopt takes an orphan over without a packet of it.
func (s *Shard) adopt(h flow.Handle, x *flow.Session) {
	s.Count[Adopted]++
	s.claim(h, x)
	s.event(ActAdopted, x)
}

// sweepSoon lets the next tick but few look for orphans.
func (s *Shard) sweepSoon() {
	if s.retry == 0 {
		s.retry = s.now + 200
	}
}

// sweepOrphans visits up to n records and adopts those that fall to this node.
func (s *Shard) sweepOrphans(n int) {
	if s.retry != 0 && s.now >= s.retry && !s.sweep.running {
		s.retry = 0
		s.sweep.start()
	}
	if !s.sweep.running || s.off(NoAdopt) {
		return
	}
	s.sweep.step(s.store, n, func(h flow.Handle) {
		x := &s.cur
		s.store.Load(h, x)
		if !mapped(x) || !s.orphan(x) || !live(x) && s.off(AgedStayOrphans) {
			return
		}
		if s.winner(x) == s.self.ID || x.Owner.ID == s.self.ID && s.served(x) {
			s.adopt(h, x)
		}
	})
}

// job is a paced pass over the store.
type job struct {
	cursor  uint32
	running bool
}

func (j *job) start() { j.cursor, j.running = 0, true }

func (j *job) step(st Store, n int, visit func(flow.Handle)) {
	j.cursor = st.Scan(j.cursor, n, visit)
	j.running = j.cursor != 0
}
