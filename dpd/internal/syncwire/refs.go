package syncwire

import (
	"encoding/binary"
	"math/bits"
)

// indexes are the dictionary entries that a builder has written into the current datagram.
type indexes struct {
	profiles index[profile]
	services index[service]
	paths    index[pathKey]
	laddrs   index[laddr]
	owners   index[owner]
}

func (x *indexes) reset() {
	x.profiles.reset()
	x.services.reset()
	x.paths.reset()
	x.laddrs.reset()
	x.owners.reset()
}

// openEntry starts an entry; closeEntry writes its tag and length.
func (b *Builder) openEntry() int {
	b.dict = append(b.dict, 0)
	return len(b.dict)
}

func (b *Builder) closeEntry(at int, tag byte) {
	b.dict[at-1] = tag<<5 | byte(len(b.dict)-at)
}

// profileRef, laddrRef, serverRef and ownerRef give the entry of what a record has in common with others, after adding
// it where needed; -1 when the dictionary is full.
func (b *Builder) profileRef(p *profile) int {
	if *p == b.lastProfile {
		return b.lastProfileRef
	}
	e, slot := b.known.profiles.find(p, mix(uint64(p.timeout)<<32|uint64(p.term),
		uint64(p.flags)<<24|uint64(p.mode)<<16|uint64(p.state)<<8|uint64(p.bits), 0, 0))
	if e >= 0 {
		b.lastProfile, b.lastProfileRef = *p, e
		return e
	}
	if b.known.profiles.n == profileMax {
		return -1
	}
	at := b.openEntry()
	b.dict = appendProfile(b.dict, p)
	b.closeEntry(at, tagProfile)
	return b.known.profiles.put(p, slot)
}

func (b *Builder) laddrRef(family uint8, hi, lo uint64) int {
	k := laddr{hi, lo, family}
	e, slot := b.known.laddrs.find(&k, mix(hi, lo, uint64(family), 0))
	if e >= 0 {
		return e
	}
	if b.known.laddrs.n == dictMax {
		return -1
	}
	at := b.openEntry()
	b.appendEntryAddr(tagLaddr, family, hi, lo, 0)
	b.closeEntry(at, tagLaddr)
	return b.known.laddrs.put(&k, slot)
}

func (b *Builder) ownerRef(r *Record) int {
	k := owner{r.OwnerInc, r.OwnerID}
	e, slot := b.known.owners.find(&k, mix(k.inc, uint64(k.id), 0, 0))
	if e >= 0 {
		return e
	}
	if b.known.owners.n == dictMax {
		return -1
	}
	at := b.openEntry()
	b.dict = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint32(b.dict, k.id), k.inc)
	b.closeEntry(at, tagOwner)
	return b.known.owners.put(&k, slot)
}

func (b *Builder) serverRef(r *Record) int {
	var k pathKey
	k.dstHi, k.dstLo = r.Orig.dst()
	k.srcHi, k.srcLo = r.Reply.src()
	k.ports = uint64(r.Orig.dstPort())<<48 | uint64(r.Reply.srcPort())<<32 | r.Orig.Meta&0xffff<<8 | uint64(r.Reply.family())
	k.ids = uint64(r.Service)<<32 | uint64(r.Server)
	hash := mix(k.srcHi^k.dstLo, k.srcLo, k.ports^k.dstHi, k.ids)
	// Nearly always the first slot holds it, and comparing words here is faster than the general comparison of find.
	x := &b.known.paths
	if s := x.slot[hash&uint32(len(x.slot)-1)]; s>>8 == x.gen {
		o := &x.keys[s&0xff]
		if (o.dstHi^k.dstHi)|(o.dstLo^k.dstLo)|(o.srcHi^k.srcHi)|(o.srcLo^k.srcLo)|(o.ports^k.ports)|(o.ids^k.ids) == 0 { // | and ^ bind alike
			return int(s & 0xff)
		}
	}
	e, slot := b.known.paths.find(&k, hash)
	if e >= 0 {
		return e
	}
	if b.known.paths.n == dictMax {
		return -1
	}
	s := b.serviceRef(r)
	if s < 0 {
		return -1
	}
	at := b.openEntry()
	b.dict = append(b.dict, byte(s))
	b.appendEntryAddr(tagServer, r.Reply.family(), k.srcHi, k.srcLo, r.Reply.srcPort())
	b.dict = appendVarint(b.dict, zigzag(r.Server-b.before.server))
	b.before.server = r.Server
	b.closeEntry(at, tagServer)
	return b.known.paths.put(&k, slot)
}

func (b *Builder) serviceRef(r *Record) int {
	k := service{id: r.Service, port: r.Orig.dstPort(), family: r.Orig.family(), proto: r.Orig.proto()}
	k.hi, k.lo = r.Orig.dst()
	e, slot := b.known.services.find(&k, mix(k.hi, k.lo, uint64(k.port)<<16|uint64(k.family)<<8|uint64(k.proto), uint64(k.id)))
	if e >= 0 {
		return e
	}
	if b.known.services.n == dictMax {
		return -1
	}
	at := b.openEntry()
	b.dict = append(b.dict, k.proto)
	b.appendEntryAddr(tagService, k.family, k.hi, k.lo, k.port)
	b.dict = appendVarint(b.dict, k.id)
	b.closeEntry(at, tagService)
	return b.known.services.put(&k, slot)
}

// appendEntryAddr writes an address, and a port unless the tag is laddr, by what they have in common with those before.
func (b *Builder) appendEntryAddr(tag int, family uint8, hi, lo uint64, port uint16) {
	last := &b.before.addr[tag-tagService][family/2-2]
	n, shared := 4, bits.LeadingZeros64(last[0]^hi)/8
	if family == 6 {
		n = 16
		if shared == 8 {
			shared += bits.LeadingZeros64(last[1]^lo) / 8
		}
	}
	shared = min(shared, n-1)
	*last = [2]uint64{hi, lo}
	form := family | byte(shared<<formShared)
	if tag != tagLaddr && b.before.port[tag-tagService] == port {
		form |= formSamePort
	}
	var a [16]byte
	binary.BigEndian.PutUint64(a[:8], hi)
	binary.BigEndian.PutUint64(a[8:], lo)
	b.dict = append(append(b.dict, form), a[shared:n]...)
	if tag != tagLaddr && form&formSamePort == 0 {
		b.dict = binary.LittleEndian.AppendUint16(b.dict, port)
		b.before.port[tag-tagService] = port
	}
}

// setBase starts short births in the middle of their reach around the first record's.
func (b *Builder) setBase(ms uint64) {
	b.base, b.hasBase = ms-min(ms, birthSpan/2), true
	at := b.openEntry()
	b.dict = binary.LittleEndian.AppendUint32(b.dict, uint32(b.base))
	b.dict = binary.LittleEndian.AppendUint16(b.dict, uint16(b.base>>32))
	b.closeEntry(at, tagBase)
}
