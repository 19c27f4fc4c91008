package syncwire

import "encoding/binary"

// Head and more bytes of a record.
const (
	headProfile = 0x0f
	headLaddr   = 4 // bits to shift
	laddrByte   = 3 // the laddr reference has a byte of its own
	headMore    = 0x40
	headFull    = 0x80

	moreSeq      = 0x01
	moreOwner    = 0x02
	moreBucket   = 0x04
	moreExt      = 0x08
	moreLong     = 0x10
	moreReserved = 0xe0

	birthMilliMax = 1<<48 - 1
	birthSpan     = 1 << 24 // milliseconds that a short birth reaches beyond the base
	counterSpan   = 1 << 8
)

// recordMax bounds the wire length of one record with its own dictionary entries; recordMin is the shortest record.
const (
	recordMax = 2 + 15 + 2*keyMax + 2*maxVarint + 8 + 2 + maxVarint + 2 + seqsMax + 6*32
	recordMin = 1 + 2 + 4 + 2 + 4 + 2 + 1
)

// readRecord reads one record and assigns every field of m.
func (d *Decoder) readRecord(r *reader, m *Record) {
	head := r.u8()
	var more uint8
	if head&headMore != 0 {
		if more = r.u8(); more&moreReserved != 0 {
			r.fail(ReservedBits)
			return
		}
	}
	p := &d.inline
	if i := int(head & headProfile); i == headProfile {
		r.profile(p)
	} else if i < d.dict.nProfiles {
		p = &d.dict.profiles[i]
	} else {
		r.fail(BadReference)
		return
	}
	m.Timeout, m.Term, m.Flags, m.Mode, m.State, m.Bits = p.timeout, p.term, p.flags, p.mode, p.state, p.bits
	if head&headFull == 0 {
		d.readRefs(r, m, head>>headLaddr&laddrByte)
	} else {
		if head>>headLaddr&laddrByte != 0 {
			r.fail(ReservedBits)
			return
		}
		r.key(&m.Orig)
		r.key(&m.Reply)
		m.Service, m.Server = r.varint(), r.varint()
	}
	if more&moreLong != 0 {
		m.Birth = r.u64()
		m.Idle = unpackIdle(r.u16())
	} else {
		b := r.fixed(6)
		v := uint64(binary.LittleEndian.Uint32(b))
		ms := d.dict.base + v>>8
		if !d.dict.hasBase || ms > birthMilliMax {
			r.fail(BadReference)
			return
		}
		m.Birth = ms<<16 | v&(counterSpan-1)
		m.Idle = unpackIdle(binary.LittleEndian.Uint16(b[4:]))
	}
	m.Ver = r.varint()
	m.Bucket = uint8(m.Reply.Meta >> 32)
	m.OwnerInc, m.OwnerID = d.sender.inc, d.sender.id
	m.Seq = [2]Seq{}
	if more&^moreLong != 0 {
		d.readMore(r, m, more)
	}
}

// readRefs reads the tuples of a compact record.
func (d *Decoder) readRefs(r *reader, m *Record, laddr uint8) {
	server, local := int(r.u8()), int(laddr)
	if laddr == laddrByte {
		local = int(r.u8())
	}
	if server >= d.dict.nPaths || local >= d.dict.nLaddrs && local != noRef {
		r.fail(BadReference)
		return
	}
	p := &d.dict.paths[server]
	m.Service, m.Server = p.service, p.server
	n := 4 + 2
	v4 := uint8(p.origMeta) == 4
	if !v4 {
		n = 16 + 2
	}
	if local != noRef {
		n += 2
	}
	b := r.fixed(n)
	var hi, lo uint64
	if v4 {
		hi = uint64(binary.BigEndian.Uint32(b)) << 32
		m.Orig.Addr = [4]uint64{hi | p.dstHi>>32}
		b = b[4:]
	} else {
		hi, lo = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
		m.Orig.Addr = [4]uint64{hi, lo, p.dstHi, p.dstLo}
		b = b[16:]
	}
	port := binary.LittleEndian.Uint16(b)
	m.Orig.Meta = p.origMeta | uint64(port)<<48
	family := uint8(p.replyMeta)
	if local != noRef {
		l := &d.dict.laddrs[local]
		if l.family != family {
			r.fail(BadReference)
			return
		}
		hi, lo, port = l.hi, l.lo, binary.LittleEndian.Uint16(b[2:])
	} else if family != uint8(p.origMeta) {
		r.fail(BadReference)
		return
	}
	m.Reply.Meta = p.replyMeta | uint64(port)<<32
	if family == 4 {
		m.Reply.Addr = [4]uint64{p.srcHi | hi>>32}
	} else {
		m.Reply.Addr = [4]uint64{p.srcHi, p.srcLo, hi, lo}
	}
}

var zeros [20]byte

// fixed is take that gives zeros after a failure.
func (r *reader) fixed(n int) []byte {
	if len(r.b) < n {
		r.fail(Truncated)
		return zeros[:n]
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

// readMore reads what few records have.
func (d *Decoder) readMore(r *reader, m *Record, more uint8) {
	if more&moreBucket != 0 {
		m.Bucket = r.u8()
	}
	if more&moreOwner != 0 {
		i := int(r.u8())
		if i >= d.dict.nOwners {
			r.fail(BadReference)
			return
		}
		m.OwnerInc, m.OwnerID = d.dict.owners[i].inc, d.dict.owners[i].id
	}
	if more&moreSeq != 0 {
		r.seqs(&m.Seq)
	}
	if more&moreExt != 0 {
		r.take(int(r.u8()))
	}
}

// pathKey is what makes two records use the same server entry.
type pathKey struct {
	dstHi, dstLo, srcHi, srcLo uint64
	ports                      uint64 // original destination and reply source port, protocol, families
	ids                        uint64
}

// appendRecord writes r behind the open TLV, and its dictionary entries into the dictionary. It doesn't look at the limit.
func (b *Builder) appendRecord(r *Record) Outcome {
	if r.Seq[0].Scale > scaleMax || r.Seq[1].Scale > scaleMax {
		return Invalid
	}
	p := profile{timeout: r.Timeout, term: r.Term, flags: r.Flags, mode: r.Mode, state: r.State, bits: r.Bits}
	if !p.valid() || !r.Orig.valid() || !r.Reply.valid() {
		return Invalid
	}
	if !b.hasBase {
		b.setBase(r.Birth >> 16)
	}
	var more byte
	off := r.Birth>>16 - b.base
	if off >= birthSpan || r.Birth&0xffff >= counterSpan {
		more |= moreLong
	}
	if r.Bucket != uint8(r.Reply.Meta>>32) {
		more |= moreBucket
	}
	if b.lane != LaneBulk && r.Seq[0].Seen|r.Seq[1].Seen != 0 {
		more |= moreSeq
	}
	ownerRef := 0
	if r.OwnerInc != b.self.inc || r.OwnerID != b.self.id {
		if ownerRef = b.ownerRef(r); ownerRef < 0 {
			return Full
		}
		more |= moreOwner
	}
	profileRef := b.profileRef(&p)
	server, local := b.tupleRefs(r)
	if more == 0 && profileRef >= 0 && server >= 0 && local < laddrByte {
		b.appendPlain(r, byte(profileRef|local<<headLaddr), byte(server), uint32(off<<8|r.Birth&0xff))
		return Added
	}
	at := len(b.body)
	w := append(b.body, 0)
	var head byte
	if more != 0 {
		head = headMore
		w = append(w, more)
	}
	if profileRef >= 0 {
		head |= byte(profileRef)
	} else {
		head |= headProfile
		w = appendProfile(w, &p)
	}
	w, head = appendTuples(w, r, head, server, local)
	if more&moreLong == 0 {
		w = binary.LittleEndian.AppendUint32(w, uint32(off<<8|r.Birth&0xff))
	} else {
		w = binary.LittleEndian.AppendUint64(w, r.Birth)
	}
	w = binary.LittleEndian.AppendUint16(w, packIdle(r.Idle))
	w = appendVarint(w, r.Ver)
	if more&^moreLong != 0 {
		w = appendMore(w, r, more, ownerRef)
	}
	w[at] = head
	b.body = w
	return Added
}

// appendPlain writes a record as most are: by references alone, without a more byte.
func (b *Builder) appendPlain(r *Record, head, server byte, birth uint32) {
	n := len(b.body)
	q := (*[40]byte)(b.body[n : n+40]) // there is room for any record beyond the limit
	q[0], q[1] = head, server
	idle := packIdle(r.Idle)
	if r.Orig.family() == 4 {
		binary.BigEndian.PutUint32(q[2:], uint32(r.Orig.Addr[0]>>32))
		binary.LittleEndian.PutUint16(q[6:], r.Orig.srcPort())
		binary.LittleEndian.PutUint16(q[8:], r.Reply.dstPort())
		binary.LittleEndian.PutUint32(q[10:], birth)
		binary.LittleEndian.PutUint16(q[14:], idle)
		n += 16
	} else {
		binary.BigEndian.PutUint64(q[2:], r.Orig.Addr[0])
		binary.BigEndian.PutUint64(q[10:], r.Orig.Addr[1])
		binary.LittleEndian.PutUint16(q[18:], r.Orig.srcPort())
		binary.LittleEndian.PutUint16(q[20:], r.Reply.dstPort())
		binary.LittleEndian.PutUint32(q[22:], birth)
		binary.LittleEndian.PutUint16(q[26:], idle)
		n += 28
	}
	b.body = appendVarint(b.body[:n], r.Ver)
}

// tupleRefs gives the references of tuples that have the usual shape; server is -1 if they don't, or the dictionary is full.
func (b *Builder) tupleRefs(r *Record) (server, local int) {
	if (r.Orig.Meta^r.Reply.Meta)&0xff00 != 0 {
		return -1, noRef
	}
	of, rf := r.Orig.family(), r.Reply.family()
	shi, slo := r.Orig.src()
	dhi, dlo := r.Reply.dst()
	local = noRef
	if of != rf || shi != dhi || slo != dlo || r.Orig.srcPort() != r.Reply.dstPort() {
		if local = b.laddrRef(rf, dhi, dlo); local < 0 {
			return -1, noRef
		}
	}
	return b.serverRef(r), local
}

// appendTuples writes the tuples by reference, or in full if server is -1.
func appendTuples(w []byte, r *Record, head byte, server, local int) ([]byte, byte) {
	if server < 0 {
		w = appendKey(appendKey(w, &r.Orig), &r.Reply)
		return appendVarint(appendVarint(w, r.Service), r.Server), head | headFull
	}
	w = append(w, byte(server))
	if local < laddrByte {
		head |= byte(local << headLaddr)
	} else {
		head |= laddrByte << headLaddr
		w = append(w, byte(local))
	}
	hi, lo := r.Orig.src()
	w = appendAddr(w, r.Orig.family(), hi, lo)
	w = binary.LittleEndian.AppendUint16(w, r.Orig.srcPort())
	if local != noRef {
		w = binary.LittleEndian.AppendUint16(w, r.Reply.dstPort())
	}
	return w, head
}

func appendMore(w []byte, r *Record, more byte, ownerRef int) []byte {
	if more&moreBucket != 0 {
		w = append(w, r.Bucket)
	}
	if more&moreOwner != 0 {
		w = append(w, byte(ownerRef))
	}
	if more&moreSeq != 0 {
		w = appendSeqs(w, &r.Seq)
	}
	return w
}
