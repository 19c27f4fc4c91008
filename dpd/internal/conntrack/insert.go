package conntrack

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// Insert adds a session. It fails with ErrInvalid, flow.ErrOrigTaken (a live record owns the
// original tuple and s is live too), flow.ErrReplyTaken (any record has the reply tuple) or
// flow.ErrFull (no room, and no embryonic session to evict; or too many embryonic ones, all of them young). Who had the original tuple and must
// leave it to s is found by its reply tuple alone from then on; see rank.
func (t *Table) Insert(s *flow.Session) (flow.Handle, error) {
	if !valid(s) {
		t.stats.Invalid++
		return 0, ErrInvalid
	}
	noReply := s.Reply == flow.Key{}
	origHash, replyHash := t.secret.hash(&s.Orig), t.secret.hash(&s.Reply)
	t.fetchBuckets(origHash, replyHash)
	displaced, err := t.claimOrig(s, origHash, 0)
	if err != nil {
		t.stats.OrigTaken++
		return 0, err
	}
	if !noReply && t.find(&s.Reply, replyHash) != 0 {
		t.stats.ReplyTaken++
		return 0, flow.ErrReplyTaken
	}
	six := s.Orig.Family() == flow.IPv6 || s.Reply.Family() == flow.IPv6
	if s.Flags&flow.Embryonic != 0 && !t.embryonicRoom(six, s.Orig.Proto()) {
		t.stats.EmbryonicFull++
		return 0, flow.ErrFull
	}
	h := t.allot(six)
	if h == 0 {
		t.stats.Full++
		return 0, flow.ErrFull
	}
	owner, err := t.owners.take(s.Owner)
	if err != nil {
		t.giveBack(h)
		return 0, err
	}
	// Making room may have evicted whom claimOrig found.
	if displaced != 0 && t.Live(displaced) {
		t.unindexOrig(displaced, origHash)
	}
	t.setTuples(h, s, noReply)
	t.store(h, s, owner)
	if !t.indexNew(h, s, origHash, replyHash, noReply) {
		t.stats.IndexFull++
		t.owners.drop(owner)
		t.count(t.at(h), s.Flags, -1)
		t.giveBack(h)
		return 0, flow.ErrFull
	}
	t.arm(h)
	if s.Flags&flow.Embryonic != 0 {
		t.listEmbryonic(h)
	}
	return h, nil
}

// valid says whether s can be stored: not closed (the ended cache has those), tuples of known families, different from each other, of one protocol; a reply
// tuple unless the mode does without.
func valid(s *flow.Session) bool {
	if s.Flags&flow.HardTomb != 0 || s.State >= flow.NumStates || s.Mode > flow.Tunnel || !validKey(&s.Orig) {
		return false
	}
	if (s.Reply == flow.Key{}) {
		return s.Mode == flow.DR || s.Mode == flow.Tunnel
	}
	return validKey(&s.Reply) && s.Orig != s.Reply && canonicalProto(s.Orig.Proto()) == canonicalProto(s.Reply.Proto())
}

func validKey(k *flow.Key) bool {
	if k.Proto() == 0 || uint16(k.Meta>>16) != 0 {
		return false
	}
	switch k.Family() {
	case flow.IPv4:
		return k.Addr[1]|k.Addr[2]|k.Addr[3] == 0 && k.Proto() != flow.ProtoICMPv6
	case flow.IPv6:
		return k.Proto() != flow.ProtoICMP
	}
	return false
}

// Ranks of records that want one original tuple: the higher one has it. Of equal ones who has it
// keeps it, but of reply-only ones the later birth has it, and of live ones there can be but one.
// So a reply-only record serves its client as long as nobody else is there to do so: the life that
// superseded it may have got lost on its way here.
const (
	rankReplyOnly = iota
	rankAged
	rankLive
)

func rank(f flow.Flags) int {
	switch {
	case f&flow.ReplyOnly != 0:
		return rankReplyOnly
	case f&flow.Tomb != 0:
		return rankAged
	}
	return rankLive
}

// claimOrig checks that s, whose record is own if it has one, may have its original tuple. It
// returns the record that must leave the index of original tuples for it, if any.
func (t *Table) claimOrig(s *flow.Session, hash uint64, own flow.Handle) (displaced flow.Handle, err error) {
	r := t.find(&s.Orig, hash)
	h := r.Handle()
	if r == 0 || h == own {
		return 0, nil
	}
	mine, its := rank(s.Flags), rank(t.at(h).flags)
	switch {
	case mine == rankReplyOnly && (r.Dir() == flow.Out || its != mine || s.Birth <= t.cold[h].birth):
		return 0, nil
	case r.Dir() == flow.Out: // somebody's reply tuple
		return 0, flow.ErrOrigTaken
	case mine == rankLive && its == rankLive:
		return 0, flow.ErrOrigTaken
	case mine == rankAged && its >= rankAged:
		return 0, nil
	}
	return h, nil
}

func (t *Table) unindexOrig(h flow.Handle, hash uint64) {
	t.ix.remove(hash, MakeRef(h, flow.In))
	t.at(h).local &^= localOrig
}

func (t *Table) setTuples(h flow.Handle, s *flow.Session, noReply bool) {
	r := t.at(h)
	*r = record{proto: canonicalProto(s.Orig.Proto())}
	for d, k := range [2]*flow.Key{&s.Orig, &s.Reply} {
		r.addr[d], r.ports[d] = k.Addr[0], uint32(k.Meta>>32)
		if k.Family() == flow.IPv6 {
			r.kind |= 1 << d
		}
	}
	if noReply {
		r.kind |= kindNoReply
	}
	if r.kind&(1<<flow.In|1<<flow.Out) != 0 {
		t.setWide(r, s)
	}
}

func (t *Table) indexNew(h flow.Handle, s *flow.Session, origHash, replyHash uint64, noReply bool) bool {
	if !noReply && !t.ix.insert(replyHash, MakeRef(h, flow.Out)) {
		return false
	}
	if rank(s.Flags) != rankLive && t.find(&s.Orig, origHash) != 0 {
		return true
	}
	if !t.ix.insert(origHash, MakeRef(h, flow.In)) {
		if !noReply {
			t.ix.remove(replyHash, MakeRef(h, flow.Out))
		}
		return false
	}
	t.at(h).local |= localOrig
	return true
}

// Update replaces everything of h but its tuples, which must be the same (ErrTuples). A record
// without its original tuple takes it back if its rank allows it; one that becomes live may fail
// with flow.ErrOrigTaken, and nothing has changed then. A Timeout of 0 means that of the state in
// this node's configuration.
func (t *Table) Update(h flow.Handle, s *flow.Session) error {
	if !t.Live(h) {
		return ErrGone
	}
	var k flow.Key
	if t.key(h, flow.Out, &k); k != s.Reply {
		return ErrTuples
	}
	if t.key(h, flow.In, &k); k != s.Orig {
		return ErrTuples
	}
	if !valid(s) {
		t.stats.Invalid++
		return ErrInvalid
	}
	r := t.at(h)
	lacks := r.local&localOrig == 0
	var hash uint64
	var displaced flow.Handle
	if lacks {
		hash = t.secret.hash(&s.Orig)
		var err error
		if displaced, err = t.claimOrig(s, hash, h); err != nil {
			t.stats.OrigTaken++
			return err
		}
	}
	owner, err := t.owners.take(s.Owner)
	if err != nil {
		return err
	}
	if lacks && !t.reindex(h, &s.Orig, hash, displaced) {
		t.owners.drop(owner)
		t.stats.IndexFull++
		return flow.ErrFull
	}
	was, birth := r.flags, t.cold[h].birth
	t.owners.drop(r.owner)
	t.store(h, s, owner)
	if (was^s.Flags)&flow.Tomb == 0 && s.Flags&flow.Tomb != 0 {
		return nil // a tombstone keeps the time it is kept for
	}
	t.arm(h)
	if s.Flags&flow.Embryonic != 0 && (was&flow.Embryonic == 0 || birth != s.Birth) {
		t.listEmbryonic(h)
	}
	return nil
}

func (t *Table) reindex(h flow.Handle, orig *flow.Key, hash uint64, displaced flow.Handle) bool {
	if displaced != 0 {
		t.unindexOrig(displaced, hash)
	} else if t.find(orig, hash) != 0 {
		return true // whose tuple somebody has stays without
	}
	if !t.ix.insert(hash, MakeRef(h, flow.In)) {
		if displaced != 0 && t.ix.insert(hash, MakeRef(displaced, flow.In)) {
			t.at(displaced).local |= localOrig
		}
		return false
	}
	t.at(h).local |= localOrig
	return true
}

// Remove forgets h: no tombstone stays. Removing what is gone does nothing.
func (t *Table) Remove(h flow.Handle) {
	if !t.Live(h) {
		return
	}
	r := t.at(h)
	var orig, reply flow.Key
	t.key(h, flow.In, &orig)
	t.key(h, flow.Out, &reply)
	origHash, replyHash := t.secret.hash(&orig), t.secret.hash(&reply)
	t.fetchBuckets(origHash, replyHash)
	if r.local&localOrig != 0 {
		t.ix.remove(origHash, MakeRef(h, flow.In))
	}
	if r.kind&kindNoReply == 0 {
		t.ix.remove(replyHash, MakeRef(h, flow.Out))
	}
	t.uncount(h)
	t.count(r, r.flags, -1)
	t.owners.drop(r.owner)
	t.dropExtra(r)
	t.giveBack(h)
}

// arm sets the deadline of h from its timeout, or from now for a tombstone.
func (t *Table) arm(h flow.Handle) { t.deadline[h] = expiry.Stored(t.due(h)) }

// due is when h ends if nothing is seen of it.
func (t *Table) due(h flow.Handle) expiry.Tick {
	r := t.at(h)
	if r.flags&flow.Tomb != 0 {
		return t.now.Add(tombMS)
	}
	ms := r.timeout.Millis()
	if r.local&localDoubt != 0 {
		ms = min(ms, doubtMS)
	}
	if r.flags&flow.ReplyOnly != 0 {
		ms = min(ms, replyOnlyMS)
	}
	return r.seen.Add(expiry.Jitter(ms, uint32(h)))
}
