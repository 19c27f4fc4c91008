package syncwire

import "encoding/binary"

// Bounds of what one datagram may hold.
const (
	maxMessages = MaxDatagram / recordMin
	maxDigests  = 256
	maxReplies  = MaxDatagram / digestReplyLen
	maxGaps     = 2 * NumLanes
)

// Frame is a decoded datagram, wholly validated. It belongs to its Decoder and holds until the next Decode.
type Frame struct {
	View      uint64 // membership epoch of the sender
	Sent      uint64 // milliseconds since the start of the sender's incarnation
	Messages  []Message
	Digests   []DigestSums
	Replies   []DigestReply
	Gaps      []Gap
	LaddrUses []LaddrUse
	// Each of these counts if Has says that it was there.
	Hello, HelloAck    Hello
	Probe              Probe
	BulkBegin, BulkEnd Bulk
	Fenced             Fenced

	Skipped int // TLVs of kinds that this version doesn't know, and may skip
	has     uint32
}

// Has says whether a TLV of this kind was in the datagram.
func (f *Frame) Has(k Kind) bool { return f.has>>k&1 != 0 }

// Decoder decodes datagrams without allocation, about 190 KiB. It belongs to one thread.
type Decoder struct {
	frame    Frame
	dict     dictionary
	inline   profile
	sender   owner
	messages [maxMessages]Message
	digests  [maxDigests]DigestSums
	replies  [maxReplies]DigestReply
	gaps     [maxGaps]Gap
	uses     [LaddrUseMax]LaddrUse
}

// NewDecoder makes a decoder.
func NewDecoder() *Decoder { return new(Decoder) }

// Decode reads the TLVs of an opened datagram under its header. It reads and checks all of them before it returns any, and
// assigns every field of what it returns. The frame is nil if the reason isn't OK.
func (d *Decoder) Decode(h *Header, tlvs []byte) (*Frame, Reason) {
	if len(tlvs) > MaxDatagram {
		return nil, Long
	}
	d.frame = Frame{}
	d.dict.reset()
	d.sender = owner{h.Inc, h.Sender}
	f := &d.frame
	f.Messages, f.Digests, f.Replies, f.Gaps, f.LaddrUses = d.messages[:0], d.digests[:0], d.replies[:0], d.gaps[:0], d.uses[:0]
	for first := true; len(tlvs) > 0; first = false {
		if len(tlvs) < tlvHeaderLen {
			return nil, Truncated
		}
		t, n := tlvs[0], int(binary.LittleEndian.Uint16(tlvs[1:]))
		if n > len(tlvs)-tlvHeaderLen {
			return nil, Truncated
		}
		body := tlvs[tlvHeaderLen : tlvHeaderLen+n]
		tlvs = tlvs[tlvHeaderLen+n:]
		k := Kind(t &^ critical)
		if first != (k == KindClock) {
			if first {
				return nil, NoClock
			}
			return nil, Repeated
		}
		if why := d.tlv(k, t&critical != 0, body); why != OK {
			return nil, why
		}
	}
	if !f.Has(KindClock) {
		return nil, NoClock
	}
	return f, OK
}

// onceKinds may stand once in a datagram.
const onceKinds = 1<<KindClock | 1<<KindHello | 1<<KindHelloAck | 1<<KindProbe | 1<<KindBulkBegin | 1<<KindBulkEnd | 1<<KindFenced

// tlv reads one TLV. A body of one value may be longer than this version knows; what follows is skipped.
func (d *Decoder) tlv(k Kind, must bool, body []byte) Reason {
	f := &d.frame
	if k < NumKinds {
		if onceKinds>>k&1 != 0 && f.Has(k) {
			return Repeated
		}
		f.has |= 1 << k
	}
	r := reader{b: body}
	switch k {
	case KindClock:
		f.View, f.Sent = r.u64(), r.u64()
	case KindHello:
		r.hello(&f.Hello)
	case KindHelloAck:
		r.hello(&f.HelloAck)
	case KindProbe:
		r.probe(&f.Probe)
	case KindBulkBegin:
		r.bulk(&f.BulkBegin)
	case KindBulkEnd:
		r.bulk(&f.BulkEnd)
	case KindFenced:
		r.fenced(&f.Fenced)
	case KindGap:
		if len(f.Gaps) == maxGaps {
			return TooMany
		}
		f.Gaps = f.Gaps[:len(f.Gaps)+1]
		r.gap(&f.Gaps[len(f.Gaps)-1])
	case KindLaddrUse:
		if len(f.LaddrUses) == LaddrUseMax {
			return TooMany
		}
		f.LaddrUses = f.LaddrUses[:len(f.LaddrUses)+1]
		r.laddrUse(&f.LaddrUses[len(f.LaddrUses)-1])
	case KindDigest:
		for len(r.b) > 0 {
			if len(f.Digests) == maxDigests {
				return TooMany
			}
			f.Digests = f.Digests[:len(f.Digests)+1]
			r.digest(&f.Digests[len(f.Digests)-1])
		}
	case KindDigestReply:
		for len(r.b) > 0 {
			if len(f.Replies) == maxReplies {
				return TooMany
			}
			f.Replies = f.Replies[:len(f.Replies)+1]
			r.digestReply(&f.Replies[len(f.Replies)-1])
		}
	case KindSession, KindClose, KindAge, KindNackVersion, KindDigestList, KindHint, KindAck, KindQuery, KindAnswer:
		d.readMessages(&r, k)
	case KindDictionary:
		return d.dict.read(body)
	case KindPad:
	default:
		if must {
			return UnknownKind
		}
		f.Skipped++
	}
	return r.why
}

// readMessages reads the messages that fill one TLV.
func (d *Decoder) readMessages(r *reader, k Kind) {
	var round uint32
	if k == KindDigestList {
		round = r.u32()
	}
	for len(r.b) > 0 {
		n := len(d.frame.Messages)
		if n == maxMessages {
			r.fail(TooMany)
			return
		}
		m := &d.messages[n]
		m.Kind, m.Dir, m.Hint, m.Found, m.Round, m.ID, m.Hash, m.Seq = k, 0, 0, false, round, 0, 0, 0
		switch k {
		case KindHint, KindAck, KindQuery, KindAnswer:
			m.Rec = Record{}
		}
		switch k {
		case KindHint:
			r.hint(m)
		case KindAck:
			r.ack(m)
		case KindQuery:
			r.query(m)
		case KindAnswer:
			d.readAnswer(r, m)
		default:
			d.readRecord(r, &m.Rec)
		}
		d.frame.Messages = d.messages[:n+1]
	}
}
