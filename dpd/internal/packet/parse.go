package packet

import "encoding/binary"

const maxFrame = 1<<16 - 1

// Parse checks the frame in data and fills info, all of it. It returns OK, or why the packet must be dropped; then
// info.Class is Refused. It neither keeps data nor writes to it, and does not verify transport checksums: they
// are end to end, and nat keeps an error in them visible.
func Parse(data []byte, info *Info) Reason {
	*info = Info{}
	if len(data) < EthernetSize {
		return Runt
	}
	if len(data) > maxFrame {
		return Oversize
	}
	info.DstMAC = binary.BigEndian.Uint64(data) >> 16
	if len(data) >= plainSize && plainTCP4((*[plainSize]byte)(data), len(data), info) {
		return OK
	}
	etherType := binary.BigEndian.Uint16(data[ethType:])
	l3 := EthernetSize
	if etherType == EtherTypeVLAN {
		if len(data) < EthernetSize+TagSize {
			return Runt
		}
		info.VLAN = binary.BigEndian.Uint16(data[EthernetSize:]) & VLANMask
		etherType = binary.BigEndian.Uint16(data[EthernetSize+2:])
		l3 = EthernetSize + TagSize
	}
	info.L3 = uint16(l3)
	switch etherType {
	case EtherTypeIPv4:
		return parse4(data, info, l3)
	case EtherTypeIPv6:
		return parse6(data, info, l3)
	case EtherTypeARP:
		if !ARP(data[l3:]).Valid() {
			return BadARP
		}
		info.Class = ClassARP
		info.setEnd(data, l3+ARPSize)
		return OK
	}
	return UnknownEtherType
}

// plainSize is the least length of an untagged frame with IPv4 and TCP headers without options.
const plainSize = EthernetSize + IPv4Size + TCPSize

// plainTCP4 is the short way for what most packets are: untagged, IPv4 without options or fragments, TCP. It reports false,
// and has assigned nothing, for all others and for everything that is wrong: the long way finds out what.
func plainTCP4(h *[plainSize]byte, n int, info *Info) bool {
	const l3, l4 = EthernetSize, EthernetSize + IPv4Size
	w0 := binary.BigEndian.Uint64(h[l3:])
	w1 := binary.BigEndian.Uint64(h[l3+8:])
	addr := binary.BigEndian.Uint64(h[l3+ip4Addr:])
	if uint16(h[ethType])<<8|uint16(h[ethType+1]) != EtherTypeIPv4 || w0>>56 != 0x45 || w0&ip4FragMask != 0 || w1>>48&0xff != ProtoTCP {
		return false
	}
	total := int(w0 >> 32 & 0xffff)
	w := binary.BigEndian.Uint32(h[l4+tcpOffset:])
	size := int(w>>28) * 4
	flags, ttl, src := uint8(w>>16), uint8(w1>>56), uint8(addr>>56)
	if l3+total > n || size < TCPSize || IPv4Size+size > total || flags&SYN != 0 && flags&(FIN|RST) != 0 || ttl == 0 ||
		src-1 >= 223 || src == 127 || fold(w0>>32+w0&0xffffffff+w1>>32+addr>>32+addr&0xffffffff) != 0xffff {
		return false
	}
	info.Addr[0] = addr
	info.Meta = uint64(binary.BigEndian.Uint32(h[l4:]))<<32 | ProtoTCP<<8 | 4
	info.Seq = binary.BigEndian.Uint32(h[l4+tcpSeq:])
	info.Ack = binary.BigEndian.Uint32(h[l4+tcpAck:])
	info.Window, info.Flags, info.TTL = uint16(w), flags, ttl
	info.L3, info.L4, info.Payload = l3, l4, uint16(l4+size)
	info.PayloadLen = uint16(total - IPv4Size - size)
	info.End, info.Padding = uint16(l3+total), uint16(n-l3-total)
	info.DontFrag = w0&ip4DontFrag != 0
	info.Class = ClassTCP
	return true
}

func (i *Info) setEnd(data []byte, end int) {
	i.End = uint16(end)
	i.Padding = uint16(len(data) - end)
}

func parse4(data []byte, info *Info, l3 int) Reason {
	h := data[l3:]
	if len(h) < IPv4Size {
		return Truncated
	}
	w0 := binary.BigEndian.Uint64(h)
	w1 := binary.BigEndian.Uint64(h[8:])
	if w0>>60 != 4 {
		return BadVersion
	}
	ihl := int(w0>>56&15) * 4
	total := int(w0 >> 32 & 0xffff)
	switch {
	case ihl < IPv4Size || ihl > total:
		return BadIHL
	case total > len(h):
		return Truncated
	}
	addr := binary.BigEndian.Uint64(h[ip4Addr:])
	if ihl == IPv4Size {
		// The 20 bytes are w0, the upper half of w1 and addr.
		if fold(w0>>32+w0&0xffffffff+w1>>32+addr>>32+addr&0xffffffff) != 0xffff {
			return BadHeaderChecksum
		}
	} else if headerSum(h[:ihl]) != 0xffff {
		return BadHeaderChecksum
	}
	proto := uint8(w1 >> 48)
	info.Addr[0] = addr
	info.Meta = uint64(proto)<<8 | 4
	info.TTL = uint8(w1 >> 56)
	info.DontFrag = w0&ip4DontFrag != 0
	info.setEnd(data, l3+total)
	if src := uint8(addr >> 56); src == 0 || src == 127 || src >= 224 {
		return BadSource
	}
	if info.TTL == 0 {
		return ZeroTTL
	}
	if ihl > IPv4Size && badOptions(h[IPv4Size:ihl]) {
		return BadOptions
	}
	if w0&ip4FragMask != 0 {
		return Fragment
	}
	return parseL4(data, info, l3+ihl, l3+total, proto)
}

// IPv4 options (RFC 791 3.1).
const (
	optEnd         = 0
	optNop         = 1
	optLooseSource = 131
	optStrictRoute = 137
)

// badOptions says whether options are malformed, or tell by which way the packet is to go: who may say that passes filters.
func badOptions(o []byte) bool {
	for len(o) > 0 {
		switch o[0] {
		case optEnd:
			return false
		case optNop:
			o = o[1:]
			continue
		case optLooseSource, optStrictRoute:
			return true
		}
		if len(o) < 2 || o[1] < 2 || int(o[1]) > len(o) {
			return true
		}
		o = o[o[1]:]
	}
	return false
}

func parse6(data []byte, info *Info, l3 int) Reason {
	h := data[l3:]
	if len(h) < IPv6Size {
		return Truncated
	}
	w0 := binary.BigEndian.Uint64(h)
	if w0>>60 != 6 {
		return BadVersion
	}
	end := l3 + IPv6Size + int(w0>>16&0xffff)
	if end > len(data) {
		return Truncated
	}
	info.Addr = IPv6(h).Addr()
	info.TTL = uint8(w0)
	info.DontFrag = true
	info.setEnd(data, end)
	proto, l4 := uint8(w0>>8), l3+IPv6Size
	if extension6(proto) {
		var why Reason
		if proto, l4, why = walk6(data[:end], l4, proto, false); why != OK {
			info.Meta = uint64(proto)<<8 | 6
			return why
		}
	}
	info.Meta = uint64(proto)<<8 | 6
	// An unspecified source is left to neighbour discovery: duplicate address detection uses it.
	if info.Addr[0]>>56 == 0xff || (info.Addr[0] == 0 && (info.Addr[1] == 1 || info.Addr[1] == 0 && proto != ProtoICMPv6)) {
		return BadSource
	}
	if info.TTL == 0 {
		return ZeroTTL
	}
	return parseL4(data, info, l4, end, proto)
}

func parseL4(data []byte, info *Info, l4, end int, proto uint8) Reason {
	info.L4 = uint16(l4)
	h := data[l4:end]
	switch proto {
	case ProtoTCP:
		if len(h) < TCPSize {
			return Truncated
		}
		info.Meta |= uint64(binary.BigEndian.Uint32(h)) << 32
		w := binary.BigEndian.Uint32(h[tcpOffset:])
		size := int(w>>28) * 4
		if size < TCPSize || size > len(h) {
			return BadTCPOffset
		}
		flags := uint8(w >> 16)
		if flags&SYN != 0 && flags&(FIN|RST) != 0 {
			return BadTCPFlags
		}
		info.Seq = binary.BigEndian.Uint32(h[tcpSeq:])
		info.Ack = binary.BigEndian.Uint32(h[tcpAck:])
		info.Flags = flags
		info.Window = uint16(w)
		info.Payload = uint16(l4 + size)
		info.PayloadLen = uint16(len(h) - size)
		info.Class = ClassTCP
		return OK
	case ProtoUDP:
		if len(h) < UDPSize {
			return Truncated
		}
		size := int(binary.BigEndian.Uint16(h[4:]))
		if size < UDPSize || size > len(h) {
			return BadUDPLength
		}
		info.Meta |= uint64(binary.BigEndian.Uint32(h)) << 32
		info.Payload = uint16(l4 + UDPSize)
		info.PayloadLen = uint16(size - UDPSize)
		info.Class = ClassUDP
		return OK
	case ProtoICMP, ProtoICMPv6:
		return parseICMP(data, info, l4, end, proto)
	}
	return UnknownProto
}
