package syncer

import (
	"slices"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

const (
	claimsBits = 12 // 4096 claims that wait at a time, 128 KB
	// claimWait is how long, in milliseconds, a new life of a node waits for the members' ACKs before it goes on without.
	claimWait = 5_000
)

// claim is a record that a new life of this node took over from its former one and that members have not acknowledged yet.
// Direct-mapped by the cluster hash. 32 bytes.
type claim struct {
	hash  uint64
	birth flow.Birth
	waits uint64 // members, by place
	term  uint32
}

// claims is what a fenced node waits for before it may be let in again: until then others may refute what it serves.
type claims struct {
	list  []claim
	open  int    // that wait
	over  uint64 // last message about a claim that found its place taken; such go by what members confirmed
	until int64  // 0: nothing is waited for
}

// beginClaims is called when this node became another life of itself: what packets served lately is claimed by and by.
func (s *Shard) beginClaims() {
	if s.claims.list == nil {
		s.claims.list = make([]claim, 1<<claimsBits)
	}
	clear(s.claims.list)
	s.claims.open, s.claims.over, s.claims.until = 0, 0, s.now+claimWait
}

func (s *Shard) claimAt(hash uint64) *claim { return &s.claims.list[hash>>(64-claimsBits)] }

// await asks every member to acknowledge what a is about: x, which this node just claimed from its former life.
func (s *Shard) await(a *Action, x *flow.Session) {
	if s.claims.until == 0 || len(s.members) == 0 {
		return
	}
	hash := s.hash(&x.Orig)
	c := s.claimAt(hash)
	if c.waits != 0 && (c.hash != hash || c.birth != x.Birth) {
		s.Count[ClaimUnasked]++
		s.claims.over = a.Seq
		return
	}
	if c.waits == 0 {
		s.claims.open++
	}
	a.Msg.Rec.Flags |= syncwire.FlagAck
	*c = claim{hash: hash, birth: x.Birth, waits: 1<<len(s.members) - 1, term: x.Term}
}

// awaits says whether member m has not acknowledged a claim of x.
func (s *Shard) awaits(m *member, x *flow.Session) bool {
	if s.claims.open == 0 {
		return false
	}
	hash := s.hash(&x.Orig)
	c := s.claimAt(hash)
	return c.hash == hash && c.birth == x.Birth && c.waits>>s.place(m)&1 != 0
}

func (s *Shard) place(m *member) int { return slices.Index(s.members, m) }

// shows notes that member m holds a version of a record: it said ACK, or sent the record itself. closed says that it is a CLOSE, which
// beats every claim: nobody serves the session any more, and such a member never acknowledges one.
func (s *Shard) shows(m *member, hash uint64, birth flow.Birth, term uint32, owner flow.Node, closed bool) bool {
	if s.claims.open == 0 {
		return false
	}
	c := s.claimAt(hash)
	bit := uint64(1) << s.place(m)
	if c.waits&bit == 0 || c.hash != hash || c.birth != birth {
		return false
	}
	if !closed && (term < c.term || term == c.term && owner != s.self) {
		return false
	}
	if c.waits &^= bit; c.waits == 0 {
		s.claims.open--
	}
	return true
}

// ackReceived is an ACK.
func (s *Shard) ackReceived(m *member, msg *syncwire.Message) {
	r := &msg.Rec
	if s.shows(m, msg.Hash, flow.Birth(r.Birth), r.Term, flow.Node{Inc: r.OwnerInc, ID: r.OwnerID}, false) {
		s.Count[Acked]++
	} else {
		s.Count[AckStray]++
	}
}

// ack answers a record that asked for it, if that version or a later one of it is held here now. It is about the record held, so
// that a lost one is made up for by that.
func (s *Shard) ack(m *member, msg *syncwire.Message) {
	fromWire(&s.in, &msg.Rec)
	h, _, ok := s.store.Find(&s.in.Reply)
	if !ok {
		return
	}
	if s.store.Load(h, &s.cur); !s.cur.SameLife(&s.in) || s.order(&s.cur, &s.in) < 0 {
		return
	}
	if !m.answers.take(s.now) {
		s.Count[AnswerLimited]++
		return
	}
	s.Count[AckSent]++
	s.send(m.node.ID, syncwire.LaneLive, syncwire.KindAck, h, &s.cur).Msg.Hash = s.hash(&s.cur.Orig)
}

// Claimed says whether this node made its claims and every member that is heard has them; so it does when nothing was to be
// claimed, or after 5 s in any case.
func (s *Shard) Claimed(now int64) bool {
	s.time(now)
	q := &s.claims
	if q.until == 0 {
		return true
	}
	if s.now < q.until {
		var heard uint64
		for i, m := range s.members {
			if m.suspected {
				continue
			}
			heard |= 1 << i
			if q.over != 0 && !m.has(q.over) {
				return false
			}
		}
		if s.sweep.running || q.open > 0 && slices.ContainsFunc(q.list, func(c claim) bool { return c.waits&heard != 0 }) {
			return false
		}
	}
	s.Count[ClaimUnacked] += uint64(q.open)
	clear(q.list)
	q.open, q.over, q.until = 0, 0, 0
	return true
}

// moveClaims follows a change of the members' places; who left is not waited for, nor is who came.
func (s *Shard) moveClaims(old []*member) {
	if s.claims.open == 0 {
		return
	}
	for i := range s.claims.list {
		c := &s.claims.list[i]
		if c.waits == 0 {
			continue
		}
		waits := uint64(0)
		for p, m := range old {
			if to := s.place(m); to >= 0 && c.waits>>p&1 != 0 {
				waits |= 1 << to
			}
		}
		if c.waits = waits; waits == 0 {
			s.claims.open--
		}
	}
}
