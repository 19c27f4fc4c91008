package syncwire

import "encoding/binary"

// Entries of a DICTIONARY: tag<<5 | length, then the body. Indexes count per tag over all dictionaries of a datagram.
const (
	tagProfile = 1
	tagService = 2
	tagServer  = 3
	tagLaddr   = 4
	tagOwner   = 5
	tagBase    = 6

	entryLenMask = 31

	// The form byte of an address in an entry: family, whether the port is that of the entry before of its tag, and how many
	// leading bytes are those of the address before of its tag and family.
	formFamily   = 0x07
	formSamePort = 0x08
	formShared   = 4 // bits to shift

	dictMax    = 255         // entries of one tag; reference 255 is none
	profileMax = headProfile // profiles; index 15 says that the profile stands in the record
	noRef      = 255
)

// profile is what many sessions have in common.
type profile struct {
	timeout, term     uint32
	flags             uint16
	mode, state, bits uint8
}

// Bounds of a profile's fields. Modes and states are those of package flow; later versions add to them only for peers
// whose HELLO shows that they know them.
const (
	modeMax    = 5
	stateMax   = 14
	timeoutMax = 30 * 24 * 3600 // seconds
)

func (p *profile) valid() bool {
	return p.mode-1 < modeMax && p.state <= stateMax && p.timeout <= timeoutMax
}

func appendProfile(b []byte, p *profile) []byte {
	b = append(b, p.mode, p.state, p.bits)
	b = binary.LittleEndian.AppendUint16(b, p.flags)
	return appendVarint(appendVarint(b, p.timeout), p.term)
}

func (r *reader) profile(p *profile) {
	p.mode, p.state, p.bits, p.flags, p.timeout, p.term = r.u8(), r.u8(), r.u8(), r.u16(), r.varint(), r.varint()
	if r.why == OK && !p.valid() {
		r.fail(BadValue)
	}
}

// service is a virtual service's tuple; server a real server's, with the service that it serves.
type service struct {
	hi, lo        uint64
	id            uint32
	port          uint16
	family, proto uint8
}

// path is a server entry joined with its service: all that a compact record takes from both.
type path struct {
	dstHi, dstLo        uint64 // original destination, in the form of Key.dst
	srcHi, srcLo        uint64 // reply source
	origMeta, replyMeta uint64 // without the client's and the local port
	service, server     uint32
}

type laddr struct {
	hi, lo uint64
	family uint8
}

type owner struct {
	inc uint64
	id  uint32
}

// dictionary is what a decoder learned from the dictionaries of one datagram. Entries beyond the counts are stale.
type dictionary struct {
	services                                       [dictMax]service
	paths                                          [dictMax]path
	laddrs                                         [dictMax]laddr
	owners                                         [dictMax]owner
	profiles                                       [profileMax]profile
	nServices, nPaths, nLaddrs, nOwners, nProfiles int
	base                                           uint64 // milliseconds that short births count from
	before                                         before
	hasBase                                        bool
}

// before is what an entry may refer to in those before it.
type before struct {
	addr   [3][2][2]uint64 // the last address of each tag (service, server, laddr) and family
	port   [2]uint16       // of the last service, of the last server
	server uint32          // id of the last server
}

func (d *dictionary) reset() {
	d.nServices, d.nPaths, d.nLaddrs, d.nOwners, d.nProfiles, d.base, d.hasBase = 0, 0, 0, 0, 0, 0, false
	d.before = before{}
}

// read adds the entries of one DICTIONARY body.
func (d *dictionary) read(body []byte) Reason {
	for len(body) > 0 {
		tag, n := body[0]>>5, int(body[0]&entryLenMask)
		if len(body) < 1+n {
			return Truncated
		}
		r := reader{b: body[1 : 1+n]}
		body = body[1+n:]
		switch tag {
		case 0:
			return BadDictionary
		case tagProfile:
			if d.nProfiles == profileMax {
				return TooMany
			}
			r.profile(&d.profiles[d.nProfiles])
			d.nProfiles++
		case tagService:
			if d.nServices == dictMax {
				return TooMany
			}
			s := &d.services[d.nServices]
			s.proto = r.u8()
			s.family, s.hi, s.lo, s.port = d.readAddr(&r, tagService)
			s.id = r.varint()
			d.nServices++
		case tagServer:
			if d.nPaths == dictMax {
				return TooMany
			}
			d.readServer(&r)
		case tagLaddr:
			if d.nLaddrs == dictMax {
				return TooMany
			}
			l := &d.laddrs[d.nLaddrs]
			l.family, l.hi, l.lo, _ = d.readAddr(&r, tagLaddr)
			d.nLaddrs++
		case tagOwner:
			if d.nOwners == dictMax {
				return TooMany
			}
			o := &d.owners[d.nOwners]
			o.id, o.inc = r.u32(), r.u64()
			d.nOwners++
		case tagBase:
			if d.hasBase {
				return BadDictionary
			}
			lo, hi := r.u32(), r.u16()
			d.base, d.hasBase = uint64(hi)<<32|uint64(lo), true
		}
		if r.why != OK {
			return r.why
		}
	}
	return OK
}

func (d *dictionary) readServer(r *reader) {
	ref := int(r.u8())
	family, hi, lo, port := d.readAddr(r, tagServer)
	id := d.before.server + unzigzag(r.varint())
	if r.why != OK {
		return
	}
	if ref >= d.nServices {
		r.fail(BadReference)
		return
	}
	d.before.server = id
	s := &d.services[ref]
	d.paths[d.nPaths] = path{
		dstHi: s.hi, dstLo: s.lo, srcHi: hi, srcLo: lo,
		origMeta:  uint64(s.port)<<32 | uint64(s.proto)<<8 | uint64(s.family),
		replyMeta: uint64(port)<<48 | uint64(s.proto)<<8 | uint64(family),
		service:   s.id, server: id,
	}
	d.nPaths++
}

// readAddr reads the address, and for tags other than laddr the port, of an entry.
func (d *dictionary) readAddr(r *reader, tag int) (family uint8, hi, lo uint64, port uint16) {
	form := r.u8()
	family = form & formFamily
	shared, n := int(form>>formShared), 4
	if family == 6 {
		n = 16
	}
	if r.why == OK && family != 4 && family != 6 {
		r.fail(BadFamily)
	}
	if r.why == OK && (shared >= n || tag == tagLaddr && form&formSamePort != 0) {
		r.fail(BadDictionary)
	}
	if r.why != OK {
		return 0, 0, 0, 0
	}
	rest := r.take(n - shared)
	if r.why != OK {
		return 0, 0, 0, 0
	}
	last := &d.before.addr[tag-tagService][family/2-2]
	var a [16]byte
	binary.BigEndian.PutUint64(a[:8], last[0])
	binary.BigEndian.PutUint64(a[8:], last[1])
	copy(a[shared:], rest)
	hi, lo = binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:])
	*last = [2]uint64{hi, lo}
	if tag == tagLaddr {
		return family, hi, lo, 0
	}
	p := &d.before.port[tag-tagService]
	if form&formSamePort == 0 {
		*p = r.u16()
	}
	return family, hi, lo, *p
}

// index finds the number of an entry that a builder wrote already. Its slots are cleared by moving on the generation.
type index[K comparable] struct {
	keys [dictMax]K
	slot [2 * (dictMax + 1)]uint32 // generation<<8 | entry
	gen  uint32
	n    int
}

func (x *index[K]) reset() {
	x.n = 0
	if x.gen++; x.gen == 1<<24 {
		clear(x.slot[:])
		x.gen = 1
	}
}

// find returns the entry of k, or -1 and the slot where put must note it.
func (x *index[K]) find(k *K, hash uint32) (entry, slot int) {
	for i := hash; ; i++ {
		i &= uint32(len(x.slot) - 1)
		s := x.slot[i]
		if s>>8 != x.gen {
			return -1, int(i)
		}
		if x.keys[s&0xff] == *k {
			return int(s & 0xff), int(i)
		}
	}
}

// put notes k as the next entry; the caller has seen that n is below dictMax.
func (x *index[K]) put(k *K, slot int) int {
	e := x.n
	x.keys[e] = *k
	x.slot[slot] = x.gen<<8 | uint32(e)
	x.n++
	return e
}

// mix hashes four words. The products don't wait for each other, and their upper bits depend on all bits of their words.
// It guards against no one: a table has few entries, so the worst that a chosen address can do is bounded.
func mix(a, b, c, d uint64) uint32 {
	h := a*0x9e3779b97f4a7c15 ^ b*0xc2b2ae3d27d4eb4f ^ c*0x165667b19e3779f9 ^ d*0xd6e8feb86659fd93
	return uint32(h>>32) ^ uint32(h>>47)
}
