package syncwire

import "encoding/binary"

// Outcome says what became of an append.
type Outcome uint8

const (
	Added   Outcome = iota
	Full            // nothing was added, nothing more will be: Finish, Reset, append again
	Invalid         // the value can't travel (a family, mode or state that isn't one); nothing was added
)

// Builder fills one datagram at a time into the caller's buffer. It is about 80 KiB, allocates nothing after NewBuilder
// and belongs to one thread. Every body fits into an empty datagram of MinMTU bytes.
//
//	b.Reset(buf, lane, view, sent)
//	for b.Message(&m) == syncwire.Added { … }
//	datagram := sealer.Seal(b.Finish())
type Builder struct {
	out    []byte
	body   []byte // TLVs behind the dictionary
	dict   []byte // body of the dictionary
	known  indexes
	before before
	// The profile of the record before, which most records share.
	lastProfile    profile
	lastProfileRef int
	base           uint64
	self           owner
	room           int // for body and dictionary
	open           int // offset of the open TLV in body, -1: none
	round          uint32
	kind           Kind // of the open TLV
	lane           Lane
	hasBase        bool
	full           bool
}

// NewBuilder makes a builder for what this node, in this incarnation, sends. Records of that owner travel without it.
func NewBuilder(inc uint64, id uint32) *Builder {
	return &Builder{
		self: owner{inc, id},
		body: make([]byte, 0, MaxDatagram+recordMax),
		dict: make([]byte, 0, MaxDatagram+recordMax),
		full: true,
	}
}

// Reset starts a datagram in buf, whose length (MinMTU to MaxDatagram) is the sync MTU: the whole UDP payload, header and
// tag included. The buffer is lent until Finish. sent is milliseconds since the start of this incarnation.
func (b *Builder) Reset(buf []byte, lane Lane, view, sent uint64) {
	if len(buf) > MaxDatagram {
		buf = buf[:MaxDatagram]
	}
	b.out, b.lane = buf, lane
	b.body, b.dict = b.body[:0], b.dict[:0]
	b.known.reset()
	b.before = before{}
	b.lastProfile = profile{} // no valid one: its mode is 0
	b.open, b.kind, b.round, b.base, b.hasBase = -1, KindNone, 0, 0, false
	b.room = len(buf) - HeaderLen - tlvHeaderLen - clockLen - TagLen - tlvHeaderLen
	b.full = len(buf) < MinMTU
	if b.full {
		return
	}
	clear(buf[:HeaderLen])
	w := appendTLVHeader(buf[:HeaderLen:HeaderLen+tlvHeaderLen+clockLen], KindClock)
	w = binary.LittleEndian.AppendUint64(w, view)
	w = binary.LittleEndian.AppendUint64(w, sent)
	closeTLV(w, HeaderLen)
}

// Room is the number of bytes that are left.
func (b *Builder) Room() int { return max(0, b.room-len(b.body)-len(b.dict)) }

// Finish ends the datagram: header bytes (zero, the sealer's to fill) and TLVs. The tag goes behind them, into the same
// buffer. The builder is full until the next Reset.
func (b *Builder) Finish() []byte {
	b.close()
	b.full = true
	n := HeaderLen + tlvHeaderLen + clockLen
	w := b.out[:n]
	if len(b.dict) > 0 {
		w = appendTLVHeader(w, KindDictionary)
		w = append(w, b.dict...)
		closeTLV(w, n)
	}
	return append(w, b.body...)
}

// begin opens a TLV of kind k, or goes on with the open one if that may hold more of them.
func (b *Builder) begin(k Kind, round uint32) {
	if b.open >= 0 && b.kind == k && b.round == round {
		return
	}
	b.close()
	b.open, b.kind, b.round = len(b.body), k, round
	b.body = appendTLVHeader(b.body, k)
	if k == KindDigestList {
		b.body = binary.LittleEndian.AppendUint32(b.body, round)
	}
}

func (b *Builder) close() {
	if b.open >= 0 {
		closeTLV(b.body, b.open)
	}
	b.open = -1
}

// end keeps what was written since the mark if it fits and the outcome is Added.
func (b *Builder) end(body, dict int, o Outcome) Outcome {
	if o == Added && len(b.body)+len(b.dict) <= b.room {
		return Added
	}
	if o == Invalid {
		// Only a TLV header can have been written: every value is checked before its dictionary entries are made.
		if b.open == body {
			b.open = -1
		}
		b.body = b.body[:body]
		return Invalid
	}
	if b.open == body {
		b.open = -1
	}
	b.body, b.dict, b.full = b.body[:body], b.dict[:dict], true
	return Full
}

// Message appends m, which is of a kind that Message describes.
func (b *Builder) Message(m *Message) Outcome {
	if b.full {
		return Full
	}
	body, dict := len(b.body), len(b.dict)
	o := Added
	switch m.Kind {
	case KindSession, KindClose, KindAge, KindNackVersion:
		b.begin(m.Kind, 0)
		o = b.appendRecord(&m.Rec)
	case KindDigestList:
		b.begin(m.Kind, m.Round)
		o = b.appendRecord(&m.Rec)
	case KindHint:
		b.begin(m.Kind, 0)
		o = b.appendHint(m)
	case KindAck:
		b.begin(m.Kind, 0)
		b.appendAck(m)
	case KindQuery:
		b.begin(m.Kind, 0)
		o = b.appendQuery(m)
	case KindAnswer:
		b.begin(m.Kind, 0)
		o = b.appendAnswer(m)
	default:
		o = Invalid
	}
	return b.end(body, dict, o)
}
