package syncer

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

const (
	querySize   = 1024 // power of two
	queryWait   = 20   // milliseconds that a TCP packet may wait: its sender repeats it
	datagramMay = 100  // milliseconds that a datagram may wait: scheduling it by mistake would move its flow
	askAgain    = 7    // milliseconds until those who have not answered are asked again
	pendingMax  = 256  // queries that are asked again at a time
	negativeFor = 1000 // milliseconds

	// What one member is answered: as much as many workers of it may ask, repetitions included.
	answerRate  = 50_000 // a second
	answerBurst = 10_000
)

// query is a tuple that missed. Direct-mapped by the cluster hash; a collision forgets the older.
type query struct {
	key      flow.Key
	id       uint64
	until    int64 // of the wait, or of the negative answer
	nodes    uint64
	asked    uint8
	no       uint8
	negative bool
	bucket   flow.Bucket
}

// pending is a query that may have to be asked again.
type pending struct {
	id   uint64
	due  int64
	slot uint32
}

// MissVerdict says what to do with a packet that has no session.
type MissVerdict uint8

const (
	// MissDrop says that nobody has it, or too much is asked; count and drop, never a RST.
	MissDrop MissVerdict = iota
	// MissWait says that peers were asked; hold the packet until ActInstalled or ActMissed, at most 20 ms, or 100 ms if it is no TCP.
	MissWait
	// MissSchedule is for UDP in quiet times; schedule it as new.
	MissSchedule
)

// Miss is called for a mid-stream TCP packet, or a UDP packet, without a session.
func (s *Shard) Miss(now int64, k *flow.Key, b flow.Bucket) MissVerdict {
	s.time(now)
	if k.Proto() == flow.ProtoTCP {
		return s.miss(k, b, MissDrop)
	}
	if !s.unsettledNow() {
		return MissSchedule
	}
	return s.miss(k, b, MissSchedule)
}

// MissReply is Miss for a packet to a local address, which a server sent: it begins no session, so the peers are always asked. They
// hear of a UDP session by its first answer alone, and that may be the packet.
func (s *Shard) MissReply(now int64, k *flow.Key, b flow.Bucket) MissVerdict {
	s.time(now)
	return s.miss(k, b, MissDrop)
}

func (s *Shard) miss(k *flow.Key, b flow.Bucket, refused MissVerdict) MissVerdict {
	q := s.query(k)
	if q.key == *k && s.now < q.until {
		if q.negative {
			return refused
		}
		return MissWait
	}
	var nodes uint64
	n := uint8(0)
	for i, m := range s.members {
		// A joining member holds nothing that others lack, and nothing new comes to a degraded one: a datagram, which
		// may be scheduled, does not wait for its answer.
		if !m.suspected && !m.joining && (refused != MissSchedule || !m.degraded) {
			nodes |= 1 << i
			n++
		}
	}
	if n == 0 {
		return refused
	}
	if !s.asks.take(s.now) {
		s.Count[QueryLimited]++
		return refused
	}
	wait := int64(queryWait)
	if k.Proto() != flow.ProtoTCP {
		wait = datagramMay
	}
	s.queryID++
	*q = query{key: *k, id: s.queryID<<1 | 1, until: s.now + wait, asked: n, nodes: nodes, bucket: b}
	if len(s.pending) < pendingMax {
		s.pending = append(s.pending, pending{id: q.id, due: s.now + askAgain, slot: uint32(s.hash(k) & (querySize - 1))})
	}
	s.asking = max(s.asking, q.until+negativeFor)
	s.Count[QuerySent]++
	s.ask(q)
	return MissWait
}

// ask sends a query to everyone who has not answered it.
func (s *Shard) ask(q *query) {
	for i, m := range s.members {
		if q.nodes>>i&1 == 0 {
			continue
		}
		a := s.emit(ActSend)
		a.To, a.Lane, a.Seq = m.node.ID, syncwire.LaneLive, s.nextSeq(m.node.ID, syncwire.LaneLive)
		a.Msg = syncwire.Message{Kind: syncwire.KindQuery, ID: q.id, Rec: syncwire.Record{Orig: syncwire.Key(q.key), Bucket: uint8(q.bucket)}}
	}
}

// askAgain repeats queries: a datagram with a question or an answer may be lost.
func (s *Shard) askAgain() {
	keep := s.pending[:0]
	for _, p := range s.pending {
		q := &s.queries[p.slot]
		if q.id != p.id || q.negative || s.now >= q.until {
			continue
		}
		if p.due <= s.now {
			p.due = s.now + askAgain
			s.Count[QueryRepeated]++
			s.ask(q)
		}
		keep = append(keep, p)
	}
	s.pending = keep
}

// RouteChanged says that packets may come here that did not before, so that UDP misses ask first for a while.
func (s *Shard) RouteChanged(now int64) {
	s.time(now)
	s.unquiet = s.now + 10_000
}

// unsettledNow says whether a session that is not here may well be elsewhere: some leaf is known to differ, or something was lost
// on the way here. That a digest could not tell is no reason, nor is what a member lacks of this node's. Nor is a member that
// joins or is degraded: a view with news of it lets misses ask for 10 s, and no new flows come to it.
func (s *Shard) unsettledNow() bool {
	if s.now < s.unquiet {
		return true
	}
	for _, m := range s.members {
		if m.joining || m.degraded {
			continue
		}
		if m.bulking || m.gap {
			return true
		}
		r := &m.repair
		n := r.doubt[theirs].n + r.unequal[theirs].n + r.unequal[orphans].n + r.unequal[thirds].n
		if n > 0 && !m.cutOff(s.now, silentAsks) {
			return true
		}
	}
	return false
}

// askLater asks the members for the later life of a reply-only record that a packet of its client
// found: that life exists, or did, and is not here. The packet doesn't wait, since it may be the
// one life that still serves the client. Once a second a session.
func (s *Shard) askLater(h flow.Handle, x *flow.Session) {
	a := s.attention(h, x.Birth)
	if s.now < a.askAt {
		return
	}
	a.askAt = s.now + negativeFor
	for _, m := range s.members {
		if !m.suspected {
			s.askOne(m, &x.Orig, x.Bucket)
		}
	}
}

// askOne asks a member for the record of a tuple, without waiting for it. What makes it ask is a member's word, so it takes no
// question away from packets that wait.
func (s *Shard) askOne(m *member, k *flow.Key, b flow.Bucket) {
	if !s.asides.take(s.now) {
		s.Count[QueryLimited]++
		return
	}
	s.Count[QuerySent]++
	s.queryID++
	a := s.emit(ActSend)
	a.To, a.Lane, a.Seq = m.node.ID, syncwire.LaneLive, s.nextSeq(m.node.ID, syncwire.LaneLive)
	a.Msg = syncwire.Message{
		Kind: syncwire.KindQuery, ID: s.queryID << 1,
		Rec: syncwire.Record{Orig: syncwire.Key(*k), Bucket: uint8(b)},
	}
}

func (s *Shard) query(k *flow.Key) *query { return &s.queries[s.hash(k)&(querySize-1)] }

// wake forgets what was said about the tuples of a record that can translate now, and says whether packets may wait for it.
func (s *Shard) wake(x *flow.Session) (waited bool) {
	if s.now >= s.asking {
		return false
	}
	for _, k := range [...]*flow.Key{&x.Orig, &x.Reply} {
		if q := s.query(k); q.key == *k {
			*q = query{}
			waited = true
		}
	}
	return waited
}

// asked answers a QUERY from what is held, whoever owns it.
func (s *Shard) asked(m *member, msg *syncwire.Message) {
	if !m.answers.take(s.now) {
		s.Count[AnswerLimited]++
		return
	}
	k := flow.Key(msg.Rec.Orig)
	h, _, ok := s.store.Find(&k)
	if ok {
		s.store.Load(h, &s.cur)
		ok = mapped(&s.cur) && (!s.off(QueryBlindToSoft) || s.cur.Flags&flow.SoftTomb == 0)
	}
	if ok {
		if !announced(&s.cur) && s.cur.Flags&flow.Confirmed == 0 {
			s.cur.Flags |= flow.Confirmed // a peer has it now, so it must be closed there too
			s.update(h, &s.cur)
		}
		r := s.send(m.node.ID, syncwire.LaneLive, syncwire.KindAnswer, h, &s.cur)
		r.Msg.ID, r.Msg.Found = msg.ID, true
		s.Count[QueryAnswered]++
		return
	}
	a := s.emit(ActSend)
	a.To, a.Lane, a.Seq = m.node.ID, syncwire.LaneLive, s.nextSeq(m.node.ID, syncwire.LaneLive)
	a.Msg = syncwire.Message{Kind: syncwire.KindAnswer, ID: msg.ID, Rec: syncwire.Record{Orig: msg.Rec.Orig, Bucket: msg.Rec.Bucket}}
	s.Count[QueryUnknown]++
}

// answered is an ANSWER received.
func (s *Shard) answered(m *member, msg *syncwire.Message) {
	if msg.Found {
		s.record(m, msg)
		return
	}
	k := flow.Key(msg.Rec.Orig)
	q := s.query(&k)
	if q.key != k || q.id != msg.ID || q.negative {
		return
	}
	i := 0
	for i < len(s.members) && s.members[i] != m {
		i++
	}
	if q.nodes>>i&1 == 0 {
		return
	}
	q.nodes &^= 1 << i
	if q.no++; q.no < q.asked {
		return
	}
	if int(q.asked) == len(s.members) {
		q.negative, q.until = true, s.now+negativeFor
		s.asking = max(s.asking, q.until)
	} else {
		q.until = s.now
	}
	a := s.emit(ActMissed)
	a.Msg.Rec.Orig, a.Msg.Rec.Bucket = msg.Rec.Orig, msg.Rec.Bucket
}
