package syncwire

// Key is one side's tuple: five words in the layout of flow.Key, so that it converts by copying. Comparable.
//
//	IPv4: Addr[0] = source<<32 | destination, Addr[1..3] = 0
//	IPv6: Addr[0..1] = source, Addr[2..3] = destination, each half as a big-endian number
//	Meta = source port<<48 | destination port<<32 | protocol<<8 | family (4 or 6)
type Key struct {
	Addr [4]uint64
	Meta uint64
}

// Seq is what was last seen of one direction of a TCP session. It is a hint only, and it doesn't travel in LaneBulk.
type Seq struct {
	Next  uint32 // sequence number after the last byte seen
	Ack   uint32 // highest acknowledgement seen
	Scale uint8  // window scale that the sender of the direction announced, plus one; 0: not known
	Seen  uint8  // 1: the direction was seen; 0: the other fields are 0
}

// scaleMax is the greatest Scale: 14, plus one (RFC 7323, section 2.3).
const scaleMax = 15

// Record is a session as it travels: the same facts as flow.Session with the same meanings and units. 160 bytes.
type Record struct {
	Orig     Key
	Reply    Key
	Birth    uint64
	OwnerInc uint64
	OwnerID  uint32
	Term     uint32
	Ver      uint32
	Service  uint32
	Server   uint32
	Idle     uint32 // milliseconds; from 2048 on it arrives rounded up by at most 1/2048, see doc.go
	Timeout  uint32 // seconds
	Seq      [2]Seq // by direction: client to server, server to client
	Flags    uint16
	Mode     uint8
	State    uint8
	Bits     uint8
	Bucket   uint8
}

// FlagAck in the Flags of a Record asks its receiver for an ACK. It is no flag of the session: who doesn't know it ignores it.
const FlagAck uint16 = 1 << 15

// HintFlags are what a HINT tells the owner about the packets that passed here.
type HintFlags uint8

const (
	HintSynAck   HintFlags = 1 << iota // SYN-ACK seen (direction out)
	HintAck                            // the handshake's ACK seen (direction in)
	HintFin                            // FIN seen; Message.Seq is the sequence number after it
	HintFinAcked                       // the FIN of the other direction was acknowledged
	HintRst                            // believed RST seen
	HintActive                         // packets pass here
)

// Message is one message about one session, for the Shard of its bucket: pointer-free, fixed size, copied through rings.
// Which fields count depends on Kind; the others are zero.
//
//	SESSION, CLOSE, AGE,
//	NACK_VERSION   Rec (of CLOSE too: both tuples name the birth, Flags and Bits say how it ended)
//	DIGEST_LIST    Rec, Round: one record of a leaf that was listed in that round
//	HINT           Rec.Orig, Rec.Birth, Rec.Bucket, Dir, Hint, Seq, Rec.Idle
//	ACK            of the version held, to a record with FlagAck: Hash (cluster hash of the original tuple), Rec.Birth, Rec.Term, Rec.OwnerInc, Rec.OwnerID, Rec.Ver, Rec.Bucket
//	QUERY          ID, Rec.Orig (the tuple of the packet that missed, of either direction), Rec.Bucket
//	ANSWER         ID, Found; Rec if Found, else Rec.Orig (as asked) and Rec.Bucket
type Message struct {
	Kind  Kind
	Dir   uint8 // 0 client to server, 1 server to client
	Hint  HintFlags
	Found bool
	Round uint32
	ID    uint64 // chosen by who asks, echoed by who answers
	Hash  uint64
	Seq   uint32
	Rec   Record
}

// DigestOf says which records a digest covers.
type DigestOf uint8

// What a digest covers, of the records with a mapping that the sender holds. A receiver skips the rest of the two bits.
const (
	DigestOwn     DigestOf = iota // the sender owns them
	DigestOrphans                 // nobody in the sender's view owns them
	DigestAll                     // all
	digestOfMask  = 3
)

// DigestSums are the four leaf sums of one bucket as the sender holds them.
type DigestSums struct {
	Round  uint32 // of the sender's worker that has the bucket, rising
	Bucket uint8
	Of     DigestOf
	// Unsure has a bit for each leaf that others than the sender's own stream changed at the sender lately, so that a
	// difference proves nothing.
	Unsure uint8
	// Ask wants the receiver's own digests soon. With DigestOwn.
	Ask bool
	// Orphans says that another body with the sums of orphans follows; else the sender holds none in the bucket. With DigestOwn.
	Orphans bool
	Sums    [4]uint64 // additive over identity and version, by the two bits of the cluster hash
}

// LeafState is what the receiver of a digest found of one leaf.
type LeafState uint8

const (
	LeafUnequal LeafState = iota
	LeafUnsure            // it can't tell
	LeafEqual
	LeafWhole // equal, and the receiver misses nothing of the leaf from any other member either, as far as it knows
)

// DigestReply answers a digest of DigestOwn: what the receiver holds of the sender's records.
type DigestReply struct {
	Round  uint32 // of the digest
	Bucket uint8
	States uint8 // two bits for each leaf, the lowest first
}

// Leaf is the state of leaf i, below 4.
func (d *DigestReply) Leaf(i int) LeafState { return LeafState(d.States >> (2 * i) & 3) }

// SetLeaf sets the state of leaf i, which was not set before.
func (d *DigestReply) SetLeaf(i int, s LeafState) { d.States |= uint8(s) << (2 * i) }

// Hello opens a link. HELLO carries Nonce; HELLO_ACK answers with Echo, and asks with a Nonce of its own until it was
// echoed (a zero Nonce asks nothing). Both have one size, so an answer is never larger than what asked for it.
type Hello struct {
	Nonce        [16]byte // of the sender, under the salt of this datagram's header
	Echo         [16]byte // the receiver's nonce that this answers; zero in HELLO
	ConfigDigest uint64   // of the configuration revision in force; differing ones interoperate. A HELLO on a standing link brings a new one.
	Features     uint64   // bits of optional abilities; none are defined, unknown bits are ignored
	MinMajor     uint8    // a peer whose range leaves out this side's Major is not linked
	MaxMajor     uint8
	Minor        uint8
	MTU          uint16 // greatest datagram (UDP payload) that the sender takes
}

// LaneMark is how far one lane got, as the sender of a PROBE sees it.
type LaneMark struct {
	Salt       uint32 // of the receiver's datagrams that Contiguous speaks of; 0: none believed yet
	Sent       uint64 // highest counter sent to the receiver of the PROBE
	Contiguous uint64 // all counters up to this one were received from the receiver of the PROBE
}

// Probe goes out each 100 ms: liveness, round trip, clock offset, lane positions.
type Probe struct {
	Seq      uint32 // rising
	EchoSeq  uint32 // the last Seq received from the peer; 0: none
	EchoHold uint32 // milliseconds between receiving that PROBE and sending this one
	State    uint8  // bits of ProbeState
	Wall     uint64 // unix milliseconds of the sender's wall clock
	// What the receiver's tombstones wait for, as ages in milliseconds, each plus one; 0: not known yet, as before each worker
	// has spoken. Closed and Aged are those of the moments before which every member has what the sender closed, and what it
	// aged; Floor is that of the oldest aged session that it holds and that does not wait for all others to go.
	Closed, Aged, Floor uint32
	Lane                [NumLanes]LaneMark
}

// ProbeState bits tell a peer how the sender is.
const (
	ProbeReady    uint8 = 1 << iota // admitted: the stock is here
	ProbeDegraded                   // clock or links are off; allocates nothing
	ProbeDesync                     // a drop or overrun is being repaired
	ProbeDraining                   // leaving
)

// GapMax bounds the ranges of one GAP.
const GapMax = 16

// Gap asks for what was not received of one lane of the receiver's datagrams.
type Gap struct {
	Salt  uint32 // of the datagrams asked for; 0: the sender believes none yet, say HELLO
	Lane  Lane
	N     uint8
	Range [GapMax]GapRange
}

// GapRange is the counters From to To, both included, From <= To.
type GapRange struct {
	From, To uint64
}

// Bulk is the body of BULK_BEGIN (what will come) and BULK_END (what was sent).
type Bulk struct {
	Snapshot   uint64 // names the bulk; rising per sender
	Records    uint64 // records with a mapping
	Tombstones uint64
	Digest     uint64 // additive over identity and version of Records, see doc.go; 0: not said, as in BULK_BEGIN
	Orphans    bool   // the records of the receiver's former incarnations are included
}

// LaddrUseMax bounds the LADDR_USE of one datagram.
const LaddrUseMax = 64

// LaddrUse reports what the sender holds of a block of local addresses, for its return after the death of its holder.
type LaddrUse struct {
	Addr       [2]uint64 // the lowest of the block, in the layout of a Key's IPv6 source; IPv4: in the upper half of Addr[0]
	HolderInc  uint64    // the dead incarnation that held it
	HolderID   uint32
	Records    uint32 // with a local address of the block
	Tombstones uint32
	FencedFor  uint32 // milliseconds from the sender's fencing of that incarnation to its count; 0: not fenced
	Family     uint8  // 4 or 6
	PrefixLen  uint8  // of the least prefix that covers the block
}

// Fenced tells an incarnation that it was fenced: nothing it sends is taken any more.
type Fenced struct {
	Inc   uint64   // the incarnation that is fenced, of the receiver
	ByInc uint64   // the higher incarnation of the same node that fenced it; 0: fenced by removal from the view
	View  uint64   // the sender's view
	Echo  [16]byte // the nonce of the HELLO that this answers; zero if it answers another datagram
}
