package syncer

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// ActionKind says what a Shard asks of its worker.
type ActionKind uint8

// What a Shard asks for and, from ActTakenOver on, the events that it tells to those who watch: Msg.Rec is the record after
// the event.
const (
	// ActSend asks to queue Msg for node To (AllNodes: every member) in Lane, with Ref and Seq. Hand it to Sync.Queue.
	ActSend ActionKind = 1 + iota
	// ActDigest asks to send the leaf sums Digest to node To or all, behind every message so far. Hand it to Sync.Queue.
	ActDigest
	// ActDigestReply asks to answer node To's digest by Reply. Hand it to Sync.Queue.
	ActDigestReply
	// ActBulkBegin opens this shard's part of the bulk to node To, which owns Records. Hand it to Sync.Queue.
	ActBulkBegin
	// ActBulkEnd ends that part and tells Records, Tombstones and Sum of it. Hand it to Sync.Queue.
	ActBulkEnd
	// ActTombs tells what this shard's tombstones wait for, ClosedAt, AgedAt and FloorAt, and the life whose claims members have. Hand it to Sync.Queue.
	ActTombs
	// ActInstalled says that Msg.Rec, which was asked for, can translate packets now; packets waiting for either tuple may go.
	ActInstalled
	// ActMissed says that no peer that was asked has a record of Msg.Rec.Orig; packets waiting for it may go.
	ActMissed
	ActTakenOver
	ActAdopted
	ActReborn
	ActRefuted
	ActAged
	ActClosed
	ActRemoved
)

// AllNodes as a destination is every member but this node. Node ids begin at 1.
const AllNodes = 0

// Ref names the record that a message speaks of, so that its present state can be sent again when a datagram is lost.
type Ref struct {
	Birth  flow.Birth
	Handle flow.Handle
}

// Action is one output of a Shard: pointer-free, so that it can be copied through a ring.
type Action struct {
	Kind ActionKind
	Lane syncwire.Lane
	To   uint32 // node id or AllNodes
	// Seq numbers the messages of one shard; what a peer received is reported back by it.
	Seq        uint64
	Ref        Ref
	Msg        syncwire.Message
	Digest     syncwire.DigestSums
	Reply      syncwire.DigestReply
	Records    uint64
	Tombstones uint64
	Sum        uint64 // of the records of this shard's part of a bulk
	// What this node closed before ClosedAt, and aged before AgedAt, every member has. It holds nothing aged from before FloorAt.
	ClosedAt, AgedAt, FloorAt int64
	// Claimed is this node's life if every member has what it claimed from its former one.
	Claimed flow.Node
}

// Actions are what happened since Done, in order. The slice is the Shard's; it is valid until Done.
func (s *Shard) Actions() []Action { return s.out }

// Done forgets the actions that were handed out.
func (s *Shard) Done() { s.out = s.out[:0] }

func (s *Shard) emit(k ActionKind) *Action {
	if len(s.out) == cap(s.out) {
		s.out = append(s.out, Action{})
	} else {
		s.out = s.out[:len(s.out)+1]
		s.out[len(s.out)-1] = Action{}
	}
	a := &s.out[len(s.out)-1]
	a.Kind = k
	return a
}

func (s *Shard) event(k ActionKind, x *flow.Session) {
	toWire(&s.emit(k).Msg.Rec, x)
}

// send queues a message about x.
func (s *Shard) send(to uint32, lane syncwire.Lane, kind syncwire.Kind, h flow.Handle, x *flow.Session) *Action {
	if len(s.members) == 0 && to == AllNodes {
		s.idle = Action{}
		return &s.idle
	}
	a := s.emit(ActSend)
	a.To, a.Lane, a.Seq = to, lane, s.nextSeq(to, lane)
	a.Ref = Ref{Birth: x.Birth, Handle: h}
	a.Msg.Kind = kind
	toWire(&a.Msg.Rec, x)
	if !numbered(kind, lane, x) {
		a.Msg.Rec.Seq = [2]syncwire.Seq{}
	}
	if s.off(ReplyOnlyLocal) || x.Flags&flow.ReplyOnly != 0 && s.tentative(x) {
		a.Msg.Rec.Flags &^= uint16(flow.ReplyOnly)
	}
	return a
}

// tentative says whether x yielded to a life that nobody was told of: its server has not answered, and may never. Elsewhere x is
// still the one that serves the client. When that life is told, it says by itself that it is the later one.
func (s *Shard) tentative(x *flow.Session) bool {
	h, d, ok := s.store.Find(&x.Orig)
	if !ok || d != flow.In {
		return false
	}
	s.store.Load(h, &s.above)
	return s.above.Birth > x.Birth && !announced(&s.above)
}

// nextSeq numbers a message to a node or to all. What is received is confirmed of the live lane alone.
func (s *Shard) nextSeq(to uint32, lane syncwire.Lane) uint64 {
	s.seq++
	switch {
	case lane != syncwire.LaneLive:
	case to == AllNodes:
		s.seqAll = s.seq
	default:
		for _, m := range s.members {
			if m.node.ID == to {
				m.last = s.seq
			}
		}
	}
	return s.seq
}

// numbered says whether a message carries sequence hints. These use them at a receiver:
//
//   - a FIN's acknowledgement, which passes there, is known by where the FIN ends: next of its direction (finEnds, and the table's
//     FinAcked; with the first FIN, and with the second where it is told);
//   - a SYN on a closing session is a new connection if its number lies beyond: next of client to server (Syn);
//   - a repeated SYN on an embryonic session is no other one (the same, of an ANSWER);
//   - the RSTs to both sides of an aged session have the numbers that their receivers expect (next and ack of both, of who adopts
//     what was idle since). RSTs that pass are judged by what passed here alone.
//
// Window numbers are of no use to any of them: they are true for a round trip. So hints travel with live records whose handshake,
// first FIN, takeover, adoption, refutation or revival is told, and with answers to who lacks these. A closed session has no
// use for them; an aged one gets them from the packet that revives it, and its holders keep what they have. Stock and lists, which
// are most bytes, leave them out: the first packet of a direction sets them.
func numbered(kind syncwire.Kind, lane syncwire.Lane, x *flow.Session) bool {
	switch kind {
	case syncwire.KindSession, syncwire.KindNackVersion, syncwire.KindAnswer:
		return lane != syncwire.LaneBulk && live(x)
	}
	return false
}

// kindOf is the kind of message that tells a record's present state.
func kindOf(x *flow.Session) syncwire.Kind {
	switch {
	case x.Flags&flow.HardTomb != 0:
		return syncwire.KindClose
	case x.Flags&flow.SoftTomb != 0:
		return syncwire.KindAge
	}
	return syncwire.KindSession
}

// tell sends a record's present state to every member.
func (s *Shard) tell(h flow.Handle, x *flow.Session) uint64 {
	return s.send(AllNodes, syncwire.LaneLive, kindOf(x), h, x).Seq
}
