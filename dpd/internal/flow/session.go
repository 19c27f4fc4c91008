package flow

// Handle names a record of one table while that record lives; 0 is none. It never leaves the process.
type Handle uint32

// Direction of a packet within its session.
type Direction uint8

const (
	In  Direction = 0 // client to server
	Out Direction = 1 // server to client
)

// Bucket is the steering unit: the low 8 bits of Toeplitz(cluster RSS key, client address, client port), and of the
// local port that a FullNAT session takes, so that both directions name it. Each node maps buckets to workers by itself.
type Bucket uint8

// Birth is the hybrid logical clock of a session's creation: 48 bits of unix milliseconds, 16 bits of counter. The
// higher birth is the later life of a tuple.
type Birth uint64

// Node names one life of a node: its id, given once, and its incarnation, strictly rising at each start.
type Node struct {
	Inc uint64
	ID  uint32
}

// Mode is how packets of a session are forwarded.
type Mode uint8

const (
	FullNAT Mode = 1 + iota
	SNAT
	NAT
	DR
	Tunnel
)

// State is the protocol state of a session, under the names of IPVS.
type State uint8

const (
	TCPNone State = iota
	TCPEstablished
	TCPSynSent
	TCPSynRecv
	TCPFinWait
	TCPTimeWait
	TCPClose
	TCPCloseWait
	TCPLastAck
	TCPListen
	TCPSynAck
	UDPNone
	UDPOneWay
	UDPNormal
	ICMPNormal
	NumStates
)

// Bits are the sticky facts of a TCP session: once set in a birth they stay, and replicas merge them by OR.
type Bits uint8

const (
	SynIn Bits = 1 << iota
	SynOut
	FinIn
	FinOut
	FinAckedIn  // the FIN of the In direction was acknowledged
	FinAckedOut // the FIN of the Out direction was acknowledged
	RstIn       // a believed RST
	RstOut
)

// Ending selects the bits by which the end of a session begins.
const Ending = FinIn | FinOut | RstIn | RstOut

// Flags of a session.
type Flags uint16

const (
	// Unbound says that the service or server is not in this node's configuration; the mapping serves all the same. No
	// table holds it: node says it of what it shows, since a configuration may come at any time.
	Unbound Flags = 1 << iota
	// ReplyOnly says that a higher birth owns the original tuple. Where that birth is, only the
	// reply tuple finds this record; where it is not, as when it never came, both do. Travels,
	// sticky.
	ReplyOnly
	// SoftTomb is an aged session (AGE). The mapping is kept; a data packet revives it with term+1.
	SoftTomb
	// HardTomb is a closed session (CLOSE). Final within its birth; no table holds one.
	HardTomb
	// Synced says that the record came from a peer and no packet of it was seen here yet.
	Synced
	// Embryonic says that the server has not agreed to the session: TCP whose handshake is not done, or UDP without an answer. It
	// travels only as an answer or under defer.
	Embryonic
	// Confirmed says that at least one peer acknowledged a version of this birth.
	Confirmed
	// Counted says that the session counts on its server's load on this node. The table's own; others leave it as it is.
	Counted
	// Shared says that this node owns the session and another one serves packets of it, which it said by HINT. Doesn't travel.
	Shared
	// Probed says that a SYN on this session went to its server, which takes no new ones, and that no packet of the server came since.
	// Doesn't travel.
	Probed
)

// Tomb selects the tombstone kinds.
const Tomb = SoftTomb | HardTomb

// SeqHint is what was last seen of one direction of a TCP session. Values that came by sync are hints only: Seen says
// that this node itself saw the direction.
type SeqHint struct {
	Next   uint32 // sequence number after the last byte seen
	Ack    uint32 // highest acknowledgement seen
	Window uint16 // last window, unscaled; of this node alone, since it does not travel
	Seen   bool
}

// Session is a session as a plain value: what the table stores compactly, what travels between nodes, what a query
// shows. It is for cold paths; the packet path works on the table's own records.
//
// Order of versions within one Birth: HardTomb beats all, then Term, then (Owner.Inc, Owner.ID), then Ver.
type Session struct {
	Orig  Key // client -> VIP, as the client sends it
	Reply Key // server -> laddr (FullNAT, SNAT) or client (NAT), as the server sends it
	Birth Birth
	Owner Node
	Term  uint32
	Ver   uint32
	// Service and Server are ids of the cluster's configuration, whether this node has it or not. Ids are never used again.
	Service uint32
	Server  uint32
	Idle    uint32 // milliseconds since the last packet seen by anyone, as far as known here
	Timeout uint32 // seconds of idleness after which the owner ages the session
	Seq     [2]SeqHint
	Flags   Flags
	Mode    Mode
	State   State
	Bits    Bits
	Bucket  Bucket
}

// SameLife says whether two values speak of the same birth: equal Birth and equal tuples.
func (s *Session) SameLife(o *Session) bool {
	return s.Birth == o.Birth && s.Orig == o.Orig && s.Reply == o.Reply
}

// CompareLife orders two different lives that want one tuple: the higher birth is the later one, and of equal births
// the greater reply tuple counts as higher.
func (s *Session) CompareLife(o *Session) int {
	switch {
	case s.Birth < o.Birth:
		return -1
	case s.Birth > o.Birth:
		return 1
	}
	if c := s.Reply.Compare(&o.Reply); c != 0 {
		return c
	}
	return s.Orig.Compare(&o.Orig)
}

// CompareVersion orders two versions of one life: -1, 0 or 1.
func (s *Session) CompareVersion(o *Session) int {
	if a, b := s.Flags&HardTomb != 0, o.Flags&HardTomb != 0; a != b {
		if a {
			return 1
		}
		return -1
	}
	for _, p := range [...][2]uint64{
		{uint64(s.Term), uint64(o.Term)},
		{s.Owner.Inc, o.Owner.Inc},
		{uint64(s.Owner.ID), uint64(o.Owner.ID)},
		{uint64(s.Ver), uint64(o.Ver)},
	} {
		switch {
		case p[0] < p[1]:
			return -1
		case p[0] > p[1]:
			return 1
		}
	}
	return 0
}
