package syncer

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// Receive applies one message of a peer. The caller routed it here by its bucket.
func (s *Shard) Receive(now int64, from flow.Node, msg *syncwire.Message) {
	s.time(now)
	m := s.member(from)
	if m == nil {
		s.Count[NotMember]++
		return
	}
	switch msg.Kind {
	case syncwire.KindSession, syncwire.KindClose, syncwire.KindAge, syncwire.KindNackVersion, syncwire.KindDigestList:
		s.record(m, msg)
	case syncwire.KindAnswer:
		s.answered(m, msg)
	case syncwire.KindQuery:
		s.asked(m, msg)
	case syncwire.KindHint:
		s.hinted(m, msg)
	case syncwire.KindAck:
		s.ackReceived(m, msg)
	}
}

func (s *Shard) record(m *member, msg *syncwire.Message) {
	fromWire(&s.in, &msg.Rec)
	if !valid(&s.in) {
		s.Count[Invalid]++
		return
	}
	if s.claims.open > 0 {
		s.shows(m, s.hash(&s.in.Orig), s.in.Birth, s.in.Term, s.in.Owner, s.in.Flags&flow.HardTomb != 0)
	}
	if mapped(&s.in) && s.crowded(s.in.Owner) {
		s.Count[Crowded]++
		return
	}
	if s.outlived(&s.in, msg) {
		s.Count[Outlived]++
		s.refuseEnded(m, &s.in)
		return
	}
	s.merge(m, &s.in)
	if msg.Rec.Flags&syncwire.FlagAck != 0 {
		s.ack(m, msg)
	}
}

// order compares two versions of one life.
func (s *Shard) order(a, b *flow.Session) int {
	if s.rules == 0 {
		return a.CompareVersion(b)
	}
	x, y := *a, *b
	if s.off(CloseByTerm) {
		x.Flags &^= flow.HardTomb
		y.Flags &^= flow.HardTomb
	}
	if s.off(NoTerm) {
		x.Term, y.Term = 0, 0
		x.Owner, y.Owner = flow.Node{}, flow.Node{}
	}
	if s.off(NoTieBreak) {
		x.Owner, y.Owner = flow.Node{}, flow.Node{}
	}
	if s.off(NoInc) {
		x.Owner.Inc, y.Owner.Inc = 0, 0
	}
	return x.CompareVersion(&y)
}

// merge is the rule of a receiver for a record x that node m sent.
func (s *Shard) merge(m *member, x *flow.Session) {
	s.clock.see(s.now+s.ahead, x.Birth, !s.off(UnboundedSkew))
	h, _, ok := s.store.Find(&x.Reply)
	if ok {
		s.store.Load(h, &s.cur)
		if s.cur.SameLife(x) {
			s.mergeLife(m, h, x)
			return
		}
		if x.CompareLife(&s.cur) < 0 {
			s.Count[Stale]++
			s.disturb(x)
			s.nack(m, h, &s.cur)
			return
		}
	}
	if s.hasEnded(x) {
		s.refuseEnded(m, x)
		return
	}
	s.roomFor(m, x)
	switch {
	case ok && s.cur.Orig == x.Orig:
		s.replace(m, h, &s.cur, x)
		return
	case ok:
		// A later life has this reply tuple: the earlier one is over, whatever it was.
		s.Count[Displaced]++
		s.event(ActRemoved, &s.cur)
		if owner := s.member(s.cur.Owner); owner != nil && owner != m {
			s.send(owner.node.ID, syncwire.LaneLive, syncwire.KindNackVersion, h, x)
		}
		s.remember(h, &s.cur)
		s.disturb(&s.cur)
		s.drop(h, &s.cur)
	}
	if !mapped(x) {
		s.ended(x, ok)
		return
	}
	s.install(m, x)
}

// refuseEnded answers a record of a session that is known to be closed: who still has it learns so.
func (s *Shard) refuseEnded(m *member, x *flow.Session) {
	if !mapped(x) {
		s.Count[Equal]++
		return
	}
	s.Count[Stale]++
	s.disturb(x)
	s.other = *x
	s.other.Flags = s.other.Flags&^flow.Tomb | flow.HardTomb
	if a := s.nack(m, 0, &s.other); a != nil {
		a.Ref = Ref{} // lost, it isn't sent again: who still has the session shows it again
	}
}

// ended notes a CLOSE of a birth that has no record here. had says that its port was that of an earlier birth here.
func (s *Shard) ended(x *flow.Session, had bool) {
	s.Count[Installed]++
	s.remember(0, x)
	s.end(0, x, had)
}

// heard is called before x, which m sent, replaces cur. What members own may change by their own word alone, or digests can't tell.
func (s *Shard) heard(m *member, cur, x *flow.Session) {
	if x.Owner != m.node || cur.Owner != m.node {
		s.disturb(x)
	}
}

// replace puts a later life of the same two tuples into the record of the earlier one, so that packets never miss.
func (s *Shard) replace(m *member, h flow.Handle, cur, x *flow.Session) {
	s.remember(h, cur)
	s.heard(m, cur, x)
	s.account(cur, -1)
	s.Count[Accepted]++
	if !mapped(x) {
		s.closed(h, cur, x)
		return
	}
	x.Flags |= cur.Flags & (flow.Synced | flow.Unbound)
	for i := range x.Seq {
		if cur.Seq[i].Seen {
			x.Seq[i] = cur.Seq[i]
		}
	}
	s.update(h, x)
	s.account(x, +1)
	s.settle(m, h, x, true, false)
}

// roomFor settles who owns the original tuple of a life that is new here.
func (s *Shard) roomFor(m *member, x *flow.Session) {
	if !mapped(x) {
		return
	}
	oh, d, ok := s.store.Find(&x.Orig)
	if !ok || d != flow.In {
		return
	}
	s.store.Load(oh, &s.other)
	o := &s.other
	if o.SameLife(x) || o.Reply == x.Reply {
		return
	}
	if o.CompareLife(x) < 0 {
		s.yield(oh, o)
		return
	}
	if x.Flags&flow.ReplyOnly != 0 {
		return
	}
	s.Count[Yielded]++
	x.Flags |= flow.ReplyOnly
	x.Timeout = min(x.Timeout, replyOnlyTimeout)
	if announced(o) { // else it may never be: see tentative
		s.nack(m, oh, o)
	}
}

// install stores a life that is new here.
func (s *Shard) install(m *member, x *flow.Session) {
	x.Flags |= flow.Synced
	h, err := s.store.Insert(x)
	if err != nil {
		s.Count[InstallRefused]++
		s.suspect(m, x)
		return
	}
	s.heard(m, x, x)
	s.account(x, +1)
	s.Count[Installed]++
	if s.ports.Holds(&x.Reply) {
		s.ports.Mark(x.Reply)
	}
	s.settle(m, h, x, false, false)
}

// settle does what follows from a record that was just written at the word of a peer. was says whether a mapping was
// there before, queued whether the same tombstone was.
func (s *Shard) settle(m *member, h flow.Handle, x *flow.Session, was, queued bool) {
	switch {
	case mapped(x) && x.Owner == s.self:
		// Peers say that this node owns what it does not remember: it does again, in a term that no lost version equals.
		s.Count[Recovered]++
		s.claim(h, x)
	case x.Flags&flow.SoftTomb != 0 && !queued:
		if was {
			s.event(ActAged, x)
		}
		s.enqueueTombstone(h, x)
	}
	if mapped(x) && !was && s.wake(x) {
		s.event(ActInstalled, x)
	}
	if mapped(x) && s.orphan(x) {
		s.sweepSoon()
	}
}

// mergeLife joins two copies of one life. s.cur is the copy held at h.
func (s *Shard) mergeLife(m *member, h flow.Handle, x *flow.Session) {
	cur := &s.cur
	if m.node == x.Owner {
		s.shown(h, x)
	}
	c := s.order(x, cur)
	bits := cur.Bits | x.Bits
	yielded := (cur.Flags | x.Flags) & flow.ReplyOnly
	idle := min(cur.Idle, x.Idle)
	if c > 0 && s.off(IdleOfNewer) {
		idle = x.Idle
	}
	if c > 0 && s.off(BitsOfNewer) {
		bits = x.Bits
	}
	switch {
	case c > 0:
		if x.Flags&flow.SoftTomb != 0 && live(cur) && knowsBetter(cur, x) && !s.off(NoRefute) {
			s.refute(h, cur, x)
			return
		}
		s.accept(m, h, cur, x, bits, yielded, idle)
	case c < 0:
		s.Count[Stale]++
		s.disturb(cur)
		s.join(h, cur, x, bits, yielded, idle)
		s.nack(m, h, cur)
	default:
		s.Count[Equal]++
		s.join(h, cur, x, bits, yielded, idle)
	}
}

// accept replaces the held copy by a newer version.
func (s *Shard) accept(m *member, h flow.Handle, cur, x *flow.Session, bits flow.Bits, yielded flow.Flags, idle uint32) {
	wasSoft, wasTerm := cur.Flags&flow.SoftTomb != 0, cur.Term
	s.heard(m, cur, x)
	s.account(cur, -1)
	s.Count[Accepted]++
	if !mapped(x) {
		x.Bits = bits
		s.closed(h, cur, x)
		return
	}
	keep := cur.Flags & (flow.Synced | flow.Unbound)
	if keep&flow.Unbound != 0 {
		x.Service, x.Server = cur.Service, cur.Server
	}
	lacks := s.beyond(h, cur, x)
	acked := ownNumbers(x, cur) &^ bits
	x.Flags |= keep | yielded
	progress(x, bits|acked)
	x.Idle = idle
	s.update(h, x)
	s.account(x, +1)
	s.settle(m, h, x, true, wasSoft && wasTerm == x.Term)
	s.urgeBits(h, x, acked|lacks)
}

// closed ends the record cur at h by the CLOSE x, of its own birth or of a later one with the same tuples.
func (s *Shard) closed(h flow.Handle, cur, x *flow.Session) {
	if cur.Flags&flow.Unbound != 0 {
		x.Service, x.Server = cur.Service, cur.Server
	}
	s.event(ActClosed, x)
	s.end(h, x, true)
}

// join merges what is no version: sticky bits, the ends of FINs, reply-only, last-seen. An owner that learns so of the first step
// of the end tells all; of what they need not hear it is told by HINT again, and answers that.
func (s *Shard) join(h flow.Handle, cur, x *flow.Session, bits flow.Bits, yielded flow.Flags, idle uint32) {
	acked := finEnds(cur, x.Bits, &x.Seq) &^ bits
	bits |= acked
	if bits == cur.Bits && yielded == 0 && idle == cur.Idle {
		return
	}
	news := endBegins(cur.Bits, bits) && cur.Owner == s.self && live(cur) && announced(cur)
	cur.Idle = idle
	cur.Flags |= yielded
	progress(cur, bits)
	if news {
		s.advance(h, cur)
		return
	}
	s.update(h, cur)
	s.urgeBits(h, cur, acked)
	if yielded != 0 && s.wake(cur) { // it may have got its original tuple back, by which it was asked for
		s.event(ActInstalled, cur)
	}
}

// refute answers the AGE x of a session whose packets pass here: it lives on, owned here, in a later term.
func (s *Shard) refute(h flow.Handle, cur, x *flow.Session) {
	s.Count[Refuted]++
	s.disturb(cur)
	s.account(cur, -1)
	cur.Term = max(cur.Term, x.Term) + 1
	cur.Owner, cur.Ver = s.self, 2
	cur.Flags = cur.Flags&^flow.Tomb | x.Flags&flow.ReplyOnly
	progress(cur, cur.Bits|x.Bits)
	s.update(h, cur)
	s.account(cur, +1)
	s.event(ActRefuted, cur)
	s.tell(h, cur)
}

// knowsBetter says whether packets of cur were seen on this node clearly later than the owner knew when it aged x. Equal
// knowledge must not refute, whatever this node would have done by itself, or two nodes could refute each other for ever.
func knowsBetter(cur, x *flow.Session) bool {
	margin := max(refuteMargin, uint64(x.Idle)/512)
	return (cur.Seq[0].Seen || cur.Seq[1].Seen) && uint64(cur.Idle)+margin < uint64(x.Idle)
}

// refuteMargin, in milliseconds, covers the way of a message and the rounding of its times.
const refuteMargin = 1_000

// served says whether packets of a record were seen on this node within its timeout.
func (s *Shard) served(x *flow.Session) bool {
	return x.Flags&flow.Tomb == 0 && (x.Seq[0].Seen || x.Seq[1].Seen) && x.Idle < x.Timeout*1000
}

// nack sends a record to a node that showed that it has an older one, or a lower life of a tuple.
func (s *Shard) nack(m *member, h flow.Handle, x *flow.Session) *Action {
	if s.off(SilentLoser) {
		return nil
	}
	if !s.nacks.take(s.now) {
		s.Count[NackLimited]++
		s.suspect(m, x)
		return nil
	}
	return s.send(m.node.ID, syncwire.LaneLive, syncwire.KindNackVersion, h, x)
}
