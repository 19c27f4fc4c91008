package conntrack

import (
	"math/bits"

	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// record is what a packet needs of a session: one cache line, 64 bytes. Pairs are indexed by flow.Direction: [0] the
// original tuple and the client's side, [1] the reply tuple and the server's side. A record is wide if a side is IPv6.
type record struct {
	addr    [2]uint64  // addresses of both tuples; wide: the client's
	ports   [2]uint32  // of both tuples, source<<16 | destination; wide: index of the path, client's<<16 | local
	state   flow.State // state to kind are one word, which Touch tests at once
	local   uint8      // what is true of this node only: seen bits, doubt, indexing, repeated ACKs
	flags   flow.Flags
	owner   uint16 // index into Table.owners
	proto   uint8  // ICMPv6 is kept as ICMP: the family tells them apart
	kind    uint8  // bit d: tuple d is IPv6; bits 2-4: flow.Mode; then see below
	bits    flow.Bits
	bucket  flow.Bucket
	timeout expiry.Span
	seen    expiry.Tick
	next    [2]uint32 // sequence number after the last byte seen
	ack     [2]uint32 // highest acknowledgement seen
	window  [2]uint16
	side    uint32 // index into Table.extra; of a free record the next free handle
}

// Bits of record.local.
const (
	localSeenIn  = 1 << 0 // a packet of direction In was seen on this node; shifted by direction
	localSeenOut = 1 << 1
	localDoubt   = 1 << 2 // a RST or FIN was not believed: the timer is short until data comes
	localOrig    = 1 << 3 // the index holds the original tuple
	// Bits 4-6 count how often ACKs that say nothing new followed each other in opposite directions; bit 7 is the
	// direction of the latest.
	localDupUnit  = 1 << 4
	localDupCount = 7 << 4
	localDupOut   = 1 << 7
	localDupMask  = localDupCount | localDupOut
)

const (
	kindModeShift = 2
	kindNoReply   = 1 << 5
	kindToClient  = 1 << 6 // wide: the reply tuple goes to the client's address
	kindWide      = 1 << 7 // a side is IPv6: the record holds the client, its path the rest
	kindSix       = kindWide | 1<<flow.In | 1<<flow.Out
	kindEnds      = kindSix | kindToClient // kindSix of these: both sides are IPv6, the reply tuple goes to a laddr
	kindPath      = 1<<flow.In | 1<<flow.Out | kindNoReply | kindToClient
)

// cold is what versions, queries and scheduling need: 24 bytes.
type cold struct {
	birth           flow.Birth
	term, ver       uint32
	service, server uint32
}

// Ref is a record and the direction of the packet that found it; 0 is none.
type Ref uint32

// MakeRef joins a handle and a direction.
func MakeRef(h flow.Handle, d flow.Direction) Ref { return Ref(h)<<1 | Ref(d) }

// Handle is the record.
func (r Ref) Handle() flow.Handle { return flow.Handle(r >> 1) }

// Dir is the direction of packets with the tuple that was looked up.
func (r Ref) Dir() flow.Direction { return flow.Direction(r & 1) }

func (r *record) mode() flow.Mode { return flow.Mode(r.kind >> kindModeShift & 7) }

func canonicalProto(p uint8) uint8 {
	if p == flow.ProtoICMPv6 {
		return flow.ProtoICMP
	}
	return p
}

// family rebuilds protocol and family of tuple d: the low half of Meta.
func (r *record) family(d flow.Direction) uint64 {
	switch {
	case r.kind>>d&1 == 0:
		return uint64(r.proto)<<8 | flow.IPv4
	case r.proto == flow.ProtoICMP:
		return flow.ProtoICMPv6<<8 | flow.IPv6
	}
	return uint64(r.proto)<<8 | flow.IPv6
}

// key rebuilds tuple d; the zero key when there is none.
func (t *Table) key(h flow.Handle, d flow.Direction, k *flow.Key) {
	r := t.at(h)
	*k = flow.Key{}
	if d == flow.Out && r.kind&kindNoReply != 0 {
		return
	}
	k.Meta = r.family(d)
	if r.kind&kindWide != 0 {
		t.wide(r, d, k)
		return
	}
	k.Meta |= uint64(r.ports[d&1]) << 32
	k.Addr[0] = r.addr[d&1]
}

// indexed says whether the index has tuple d of the record, which is in use.
func (r *record) indexed(d flow.Direction) bool {
	if d == flow.Out {
		return r.kind&kindNoReply == 0
	}
	return r.local&localOrig != 0
}

// matches says whether ref's tuple is k. A ref of 0 matches nothing: record 0 has no protocol.
func (t *Table) matches(ref Ref, k *flow.Key) bool {
	r := t.at(ref.Handle())
	if r.kind&kindWide == 0 {
		return r.differs(ref, k) == 0
	}
	if r.kind&kindEnds == kindSix || ref.Dir() == flow.In && r.kind&(1<<flow.In) != 0 {
		if p := &t.paths.all[r.ports[0]]; p.differs(r, ref, k)|p.differsMeta(r, ref, k) == 0 {
			return true
		}
		// A tuple of ICMPv6 differs even from its own.
	}
	if r.kind>>(ref&1)&1 != uint8(k.Meta)>>1&1 {
		return false
	}
	var own flow.Key
	t.key(ref.Handle(), ref.Dir(), &own)
	return own == *k
}

// differs is 0 if tuple d of a record with IPv4 on both sides is k.
func (r *record) differs(d Ref, k *flow.Key) uint64 {
	d &= 1
	return (r.addr[d] ^ k.Addr[0]) | (k.Meta ^ (uint64(r.ports[d])<<32 | uint64(r.proto)<<8 | flow.IPv4))
}

// differs is 0 if the addresses of tuple d of a record are k's: the original tuple with a client of IPv6, or the reply tuple with IPv6 on both
// sides and a laddr. It is as Table.key has it, without branches: which direction comes next can't be predicted.
func (p *path) differs(r *record, d Ref, k *flow.Key) uint64 {
	src, dst := [2]*[2]uint64{&r.addr, &p.addr[pathServer]}[d&1], &p.addr[d&1<<1]
	return (src[0] ^ k.Addr[0]) | (src[1] ^ k.Addr[1]) | (dst[0] ^ k.Addr[2]) | (dst[1] ^ k.Addr[3])
}

// differsMeta is differs of all but the addresses.
func (p *path) differsMeta(r *record, d Ref, k *flow.Key) uint64 {
	own := uint32(0xffff0000) >> (d & 1 << 4) // which port is the record's: the client's, or the local one
	ports := p.ports ^ (r.ports[1]^p.ports)&own
	return k.Meta ^ (uint64(ports)<<32 | uint64(r.proto)<<8 | flow.IPv6)
}

// Outgoing sets k to the tuple that a packet of direction d leaves with: from laddr to the server, or from the VIP to the
// client. The zero key means that there is nothing to rewrite to (a mode without a reply tuple).
func (t *Table) Outgoing(h flow.Handle, d flow.Direction, k *flow.Key) {
	r := t.at(h)
	o := (d ^ 1) & 1
	if r.kind&(kindWide|kindNoReply) == 0 {
		k.Addr[0] = bits.RotateLeft64(r.addr[o], 32)
		k.Addr[1], k.Addr[2], k.Addr[3] = 0, 0, 0
		k.Meta = uint64(bits.RotateLeft32(r.ports[o], 16))<<32 | uint64(r.proto)<<8 | flow.IPv4
		return
	}
	var in flow.Key
	t.key(h, o, &in)
	*k = in.Reverse()
}

// Load writes the whole of record h to s, the zero Session when h names none. Idle is reckoned from the last Advance or
// Sweep.
func (t *Table) Load(h flow.Handle, s *flow.Session) {
	if !t.Live(h) {
		*s = flow.Session{}
		return
	}
	r, c := t.at(h), &t.cold[h]
	t.key(h, flow.In, &s.Orig)
	t.key(h, flow.Out, &s.Reply)
	s.Birth, s.Term, s.Ver, s.Service, s.Server = c.birth, c.term, c.ver, c.service, c.server
	s.Owner = t.owners.node(r.owner)
	s.Idle = t.now.Since(r.seen)
	s.Timeout = r.timeout.Seconds()
	for d := range s.Seq {
		s.Seq[d] = flow.SeqHint{Next: r.next[d], Ack: r.ack[d], Window: r.window[d], Seen: r.local&(localSeenIn<<d) != 0}
	}
	s.Flags, s.Mode, s.State, s.Bits, s.Bucket = r.flags, r.mode(), r.state, r.bits, r.bucket
}

// store writes everything of s but the tuples to record h, whose owner reference the caller has taken.
func (t *Table) store(h flow.Handle, s *flow.Session, owner uint16) {
	r := t.at(h)
	keep := uint8(localOrig)
	if t.cold[h].birth == s.Birth {
		keep |= localDoubt
	}
	if s.Flags&flow.Tomb != 0 || s.Server != t.cold[h].server {
		t.uncount(h)
	}
	t.cold[h] = cold{birth: s.Birth, term: s.Term, ver: s.Ver, service: s.Service, server: s.Server}
	t.count(r, r.flags, -1)
	t.count(r, s.Flags, 1)
	r.state, r.bits, r.flags, r.bucket, r.owner = s.State, s.Bits, s.Flags&^flow.Counted|r.flags&flow.Counted, s.Bucket, owner
	r.kind = r.kind&^(7<<kindModeShift) | uint8(s.Mode)<<kindModeShift
	r.seen = t.now.Sub(s.Idle)
	seconds := s.Timeout
	if seconds == 0 {
		seconds = t.seconds(s.Service, s.State)
	}
	r.timeout = expiry.SpanOf(seconds)
	r.local &= keep
	for d := range s.Seq {
		r.next[d], r.ack[d], r.window[d] = s.Seq[d].Next, s.Seq[d].Ack, s.Seq[d].Window
		if s.Seq[d].Seen {
			r.local |= localSeenIn << d
		}
	}
}
