package syncwire

import "encoding/binary"

// Bits of the byte that follows the key of a HINT.
const (
	hintDir      = 0x80
	hintReserved = 0x40
	hintFlags    = 0x3f
)

func (b *Builder) appendHint(m *Message) Outcome {
	if !m.Rec.Orig.valid() || m.Dir > 1 || m.Hint > hintFlags {
		return Invalid
	}
	w := appendKey(b.body, &m.Rec.Orig)
	w = append(w, byte(m.Hint)|m.Dir<<7, m.Rec.Bucket)
	w = binary.LittleEndian.AppendUint64(w, m.Rec.Birth)
	w = binary.LittleEndian.AppendUint16(w, packIdle(m.Rec.Idle))
	if m.Hint&HintFin != 0 {
		w = binary.LittleEndian.AppendUint32(w, m.Seq)
	}
	b.body = w
	return Added
}

func (r *reader) hint(m *Message) {
	r.key(&m.Rec.Orig)
	f := r.u8()
	if f&hintReserved != 0 {
		r.fail(ReservedBits)
		return
	}
	m.Dir, m.Hint, m.Rec.Bucket = f>>7, HintFlags(f&hintFlags), r.u8()
	m.Rec.Birth = r.u64()
	m.Rec.Idle = unpackIdle(r.u16())
	if m.Hint&HintFin != 0 {
		m.Seq = r.u32()
	}
}

func (b *Builder) appendAck(m *Message) {
	w := binary.LittleEndian.AppendUint64(b.body, m.Hash)
	w = binary.LittleEndian.AppendUint64(w, m.Rec.Birth)
	w = binary.LittleEndian.AppendUint64(w, m.Rec.OwnerInc)
	w = binary.LittleEndian.AppendUint32(w, m.Rec.OwnerID)
	w = append(w, m.Rec.Bucket)
	b.body = appendVarint(appendVarint(w, m.Rec.Term), m.Rec.Ver)
}

func (r *reader) ack(m *Message) {
	m.Hash, m.Rec.Birth = r.u64(), r.u64()
	m.Rec.OwnerInc, m.Rec.OwnerID, m.Rec.Bucket = r.u64(), r.u32(), r.u8()
	m.Rec.Term, m.Rec.Ver = r.varint(), r.varint()
}

func (b *Builder) appendQuery(m *Message) Outcome {
	if !m.Rec.Orig.valid() {
		return Invalid
	}
	w := binary.LittleEndian.AppendUint64(b.body, m.ID)
	b.body = appendKey(append(w, m.Rec.Bucket), &m.Rec.Orig)
	return Added
}

func (r *reader) query(m *Message) {
	m.ID, m.Rec.Bucket = r.u64(), r.u8()
	r.key(&m.Rec.Orig)
}

func (b *Builder) appendAnswer(m *Message) Outcome {
	if !m.Found && !m.Rec.Orig.valid() {
		return Invalid
	}
	at := len(b.body)
	b.body = append(binary.LittleEndian.AppendUint64(b.body, m.ID), byte(b2u(m.Found)))
	if !m.Found {
		b.body = appendKey(append(b.body, m.Rec.Bucket), &m.Rec.Orig)
		return Added
	}
	o := b.appendRecord(&m.Rec)
	if o != Added {
		b.body = b.body[:at]
	}
	return o
}

func (d *Decoder) readAnswer(r *reader, m *Message) {
	id, found := r.u64(), r.u8()
	m.ID = id
	switch found {
	case 0:
		m.Rec.Bucket = r.u8()
		r.key(&m.Rec.Orig)
	case 1:
		m.Found = true
		d.readRecord(r, &m.Rec)
	default:
		r.fail(BadValue)
	}
}

const digestReplyLen = 4 + 1 + 1

// Bits of the byte that follows the bucket of a DIGEST, below the four of Unsure.
const (
	digestAsk     = 1 << 2
	digestOrphans = 1 << 3
)

// Digest appends the sums of one bucket.
func (b *Builder) Digest(s *DigestSums) Outcome {
	if s.Of > digestOfMask || s.Unsure > 15 {
		return Invalid
	}
	if b.full {
		return Full
	}
	body, dict := len(b.body), len(b.dict)
	b.begin(KindDigest, 0)
	what := byte(s.Of) | byte(b2u(s.Ask))*digestAsk | byte(b2u(s.Orphans))*digestOrphans | s.Unsure<<4
	w := append(binary.LittleEndian.AppendUint32(b.body, s.Round), s.Bucket, what)
	for _, v := range s.Sums {
		w = binary.LittleEndian.AppendUint64(w, v)
	}
	b.body = w
	return b.end(body, dict, Added)
}

func (r *reader) digest(s *DigestSums) {
	s.Round, s.Bucket = r.u32(), r.u8()
	what := r.u8()
	s.Of, s.Unsure = DigestOf(what&digestOfMask), what>>4
	s.Ask, s.Orphans = what&digestAsk != 0, what&digestOrphans != 0
	for i := range s.Sums {
		s.Sums[i] = r.u64()
	}
}

// DigestReply appends the answer to the digest of one bucket.
func (b *Builder) DigestReply(d *DigestReply) Outcome {
	if b.full {
		return Full
	}
	body, dict := len(b.body), len(b.dict)
	b.begin(KindDigestReply, 0)
	b.body = append(binary.LittleEndian.AppendUint32(b.body, d.Round), d.Bucket, d.States)
	return b.end(body, dict, Added)
}

func (r *reader) digestReply(d *DigestReply) {
	d.Round, d.Bucket, d.States = r.u32(), r.u8(), r.u8()
}

// single appends a TLV that stands alone.
func (b *Builder) single(k Kind, write func([]byte) []byte) Outcome {
	if b.full {
		return Full
	}
	body, dict := len(b.body), len(b.dict)
	b.close()
	b.open, b.kind = len(b.body), k
	b.body = write(appendTLVHeader(b.body, k))
	o := b.end(body, dict, Added)
	b.close()
	return o
}

// Hello appends a HELLO or, with ack, a HELLO_ACK.
func (b *Builder) Hello(h *Hello, ack bool) Outcome {
	k := KindHello
	if ack {
		k = KindHelloAck
	}
	return b.single(k, func(w []byte) []byte {
		w = append(append(w, h.Nonce[:]...), h.Echo[:]...)
		w = binary.LittleEndian.AppendUint64(w, h.ConfigDigest)
		w = binary.LittleEndian.AppendUint64(w, h.Features)
		w = append(w, h.MinMajor, h.MaxMajor, h.Minor)
		return binary.LittleEndian.AppendUint16(w, h.MTU)
	})
}

func (r *reader) hello(h *Hello) {
	*h = Hello{}
	copy(h.Nonce[:], r.take(16))
	copy(h.Echo[:], r.take(16))
	h.ConfigDigest, h.Features = r.u64(), r.u64()
	h.MinMajor, h.MaxMajor, h.Minor, h.MTU = r.u8(), r.u8(), r.u8(), r.u16()
	if r.why == OK && h.MinMajor > h.MaxMajor {
		r.fail(BadValue)
	}
}

// Probe appends a PROBE.
func (b *Builder) Probe(p *Probe) Outcome {
	return b.single(KindProbe, func(w []byte) []byte {
		w = binary.LittleEndian.AppendUint32(w, p.Seq)
		w = binary.LittleEndian.AppendUint32(w, p.EchoSeq)
		w = binary.LittleEndian.AppendUint32(w, p.EchoHold)
		w = append(w, p.State)
		w = binary.LittleEndian.AppendUint64(w, p.Wall)
		for _, v := range [...]uint32{p.Closed, p.Aged, p.Floor} {
			w = binary.LittleEndian.AppendUint32(w, v)
		}
		for _, l := range p.Lane {
			w = binary.LittleEndian.AppendUint32(w, l.Salt)
			w = binary.LittleEndian.AppendUint64(w, l.Sent)
			w = binary.LittleEndian.AppendUint64(w, l.Contiguous)
		}
		return w
	})
}

func (r *reader) probe(p *Probe) {
	p.Seq, p.EchoSeq, p.EchoHold, p.State = r.u32(), r.u32(), r.u32(), r.u8()
	p.Wall, p.Closed, p.Aged, p.Floor = r.u64(), r.u32(), r.u32(), r.u32()
	for i := range p.Lane {
		p.Lane[i] = LaneMark{Salt: r.u32(), Sent: r.u64(), Contiguous: r.u64()}
	}
}

// Gap appends a GAP.
func (b *Builder) Gap(g *Gap) Outcome {
	if g.N > GapMax || g.Lane >= NumLanes {
		return Invalid
	}
	for _, x := range g.Range[:g.N] {
		if x.From > x.To {
			return Invalid
		}
	}
	return b.single(KindGap, func(w []byte) []byte {
		w = append(binary.LittleEndian.AppendUint32(w, g.Salt), byte(g.Lane), g.N)
		for _, x := range g.Range[:g.N] {
			w = binary.LittleEndian.AppendUint64(w, x.From)
			w = binary.LittleEndian.AppendUint64(w, x.To)
		}
		return w
	})
}

func (r *reader) gap(g *Gap) {
	*g = Gap{Salt: r.u32(), Lane: Lane(r.u8()), N: r.u8()}
	switch {
	case r.why != OK:
	case g.Lane >= NumLanes:
		r.fail(BadLane)
	case g.N > GapMax:
		r.fail(TooMany)
	default:
		for i := range g.Range[:g.N] {
			x := GapRange{From: r.u64(), To: r.u64()}
			if x.From > x.To {
				r.fail(BadValue)
			}
			g.Range[i] = x
		}
	}
}

// Bulk appends a BULK_BEGIN or, with end, a BULK_END.
func (b *Builder) Bulk(s *Bulk, end bool) Outcome {
	k := KindBulkBegin
	if end {
		k = KindBulkEnd
	}
	return b.single(k, func(w []byte) []byte {
		for _, v := range [...]uint64{s.Snapshot, s.Records, s.Tombstones, s.Digest} {
			w = binary.LittleEndian.AppendUint64(w, v)
		}
		return append(w, byte(b2u(s.Orphans)))
	})
}

func (r *reader) bulk(s *Bulk) {
	s.Snapshot, s.Records, s.Tombstones, s.Digest = r.u64(), r.u64(), r.u64(), r.u64()
	o := r.u8()
	if s.Orphans = o == 1; o > 1 {
		r.fail(BadValue)
	}
}

// LaddrUse appends a LADDR_USE.
func (b *Builder) LaddrUse(u *LaddrUse) Outcome {
	if u.Family != 4 && u.Family != 6 || !u.valid() {
		return Invalid
	}
	return b.single(KindLaddrUse, func(w []byte) []byte {
		w = appendAddr(append(w, u.Family, u.PrefixLen), u.Family, u.Addr[0], u.Addr[1])
		w = binary.LittleEndian.AppendUint64(w, u.HolderInc)
		for _, v := range [...]uint32{u.HolderID, u.Records, u.Tombstones, u.FencedFor} {
			w = binary.LittleEndian.AppendUint32(w, v)
		}
		return w
	})
}

func (u *LaddrUse) valid() bool {
	if u.Family == 4 {
		return u.PrefixLen <= 32 && u.Addr[1] == 0 && u.Addr[0]&0xffffffff == 0
	}
	return u.PrefixLen <= 128
}

func (r *reader) laddrUse(u *LaddrUse) {
	*u = LaddrUse{Family: r.u8(), PrefixLen: r.u8()}
	u.Addr[0], u.Addr[1] = r.addr(u.Family)
	u.HolderInc = r.u64()
	u.HolderID, u.Records, u.Tombstones, u.FencedFor = r.u32(), r.u32(), r.u32(), r.u32()
	if r.why == OK && !u.valid() {
		r.fail(BadValue)
	}
}

// Fenced appends a FENCED.
func (b *Builder) Fenced(f *Fenced) Outcome {
	return b.single(KindFenced, func(w []byte) []byte {
		for _, v := range [...]uint64{f.Inc, f.ByInc, f.View} {
			w = binary.LittleEndian.AppendUint64(w, v)
		}
		return append(w, f.Echo[:]...)
	})
}

func (r *reader) fenced(f *Fenced) {
	*f = Fenced{Inc: r.u64(), ByInc: r.u64(), View: r.u64()}
	copy(f.Echo[:], r.take(16))
}

// Pad fills the datagram up to the MTU with a PAD, for probing a path's MTU. Nothing can be added after it.
func (b *Builder) Pad() {
	n := b.Room() - tlvHeaderLen
	if b.full || n < 0 {
		return
	}
	b.single(KindPad, func(w []byte) []byte { return append(w, make([]byte, n)...) })
	b.full = true
}
