package packet

import "encoding/binary"

func parseICMP(data []byte, info *Info, l4, end int, proto uint8) Reason {
	if (proto == ProtoICMP) != (info.Family() == 4) {
		return UnknownProto
	}
	h := ICMP(data[l4:end])
	if len(h) < ICMPSize {
		return Truncated
	}
	info.Type, info.Code = h.Type(), h.Code()
	info.Payload = uint16(l4 + ICMPSize)
	info.PayloadLen = uint16(len(h) - ICMPSize)
	class := icmpClass(proto, info.Type)
	if info.Family() == 6 && info.Addr[0]|info.Addr[1] == 0 && class != ClassND {
		return BadSource
	}
	switch class {
	case ClassEcho:
		id := uint64(binary.BigEndian.Uint16(h[ICMPIDOff:]))
		info.Meta |= id<<48 | id<<32
	case ClassND:
		if len(h) < NDSize {
			return Truncated
		}
	case ClassError:
		if why := parseQuote(data[:end], info, l4+ICMPSize); why != OK {
			return why
		}
		if !info.answersQuote() {
			return ForeignQuote
		}
	default:
		return UnknownICMP
	}
	info.Class = class
	return OK
}

// answersQuote says whether an ICMP error goes to whoever sent the packet that it quotes.
func (i *Info) answersQuote() bool {
	q := &i.Quote
	if i.Family() == 4 {
		return uint32(i.Addr[0]) == uint32(q.Addr[0]>>32)
	}
	return i.Addr[2] == q.Addr[0] && i.Addr[3] == q.Addr[1]
}

func icmpClass(proto, typ uint8) Class {
	if proto == ProtoICMP {
		switch typ {
		case ICMPEcho, ICMPEchoReply:
			return ClassEcho
		case ICMPUnreachable, ICMPTimeExceeded, ICMPParameter:
			return ClassError
		}
		return Refused
	}
	switch typ {
	case ICMPv6Echo, ICMPv6EchoReply:
		return ClassEcho
	case ICMPv6Unreachable, ICMPv6TooBig, ICMPv6TimeExceeded, ICMPv6Parameter:
		return ClassError
	case ICMPv6Solicit, ICMPv6Advertise:
		return ClassND
	}
	return Refused
}

// parseQuote reads the packet inside an ICMP error. Its lengths may point past the quote, and its checksums need not
// hold (RFC 5508 4.2): only what names the flow is required, the addresses and the first eight transport bytes.
func parseQuote(data []byte, info *Info, l3 int) Reason {
	q := &info.Quote
	h := data[l3:]
	var proto uint8
	var l4 int
	if info.Family() == 4 {
		if len(h) < IPv4Size || h[0]>>4 != 4 {
			return BadQuote
		}
		ip := IPv4(h)
		size := ip.HeaderLen()
		if size < IPv4Size || size > len(h) || binary.BigEndian.Uint16(h[ip4Frag:])&ip4OffsetMask != 0 {
			return BadQuote
		}
		proto, l4 = ip.Proto(), l3+size
		q.Addr[0] = ip.Addr()
	} else {
		if len(h) < IPv6Size || h[0]>>4 != 6 {
			return BadQuote
		}
		ip := IPv6(h)
		q.Addr = ip.Addr()
		var why Reason
		if proto, l4, why = walk6(data, l3+IPv6Size, ip.Next(), true); why != OK {
			return BadQuote
		}
	}
	if len(data)-l4 < ICMPSize {
		return BadQuote
	}
	h = data[l4:]
	var ports uint32
	switch {
	case proto == ProtoTCP || proto == ProtoUDP:
		ports = binary.BigEndian.Uint32(h)
	case proto == info.Proto() && icmpClass(proto, h[0]) == ClassEcho:
		id := uint32(binary.BigEndian.Uint16(h[ICMPIDOff:]))
		ports = id<<16 | id
	default:
		return BadQuote
	}
	q.Meta = uint64(ports)<<32 | uint64(proto)<<8 | uint64(info.Family())
	q.L3, q.L4 = uint16(l3), uint16(l4)
	return OK
}

// maxExtensions bounds the walk: no honest packet carries more headers than the four kinds that are walked.
const maxExtensions = 4

func extension6(next uint8) bool {
	return next == protoHopByHop || next == protoRouting || next == protoFragment || next == protoDestOpts
}

// walk6 passes the extension headers from off on and returns the transport protocol and its offset. A fragment
// header with offset zero and no more fragments is no fragment (RFC 6946); of a quoted packet the first fragment will do.
func walk6(data []byte, off int, next uint8, quoted bool) (proto uint8, l4 int, why Reason) {
	for range maxExtensions {
		if !extension6(next) {
			return next, off, OK
		}
		if len(data)-off < 8 {
			return next, off, BadExtension
		}
		h := data[off:]
		size := (int(h[1]) + 1) * 8
		switch next {
		case protoFragment:
			size = 8
			frag := binary.BigEndian.Uint16(h[2:])
			if frag&^7 != 0 || (frag&1 != 0 && !quoted) {
				return next, off, Fragment
			}
		case protoRouting:
			// With segments left the destination is not the final one, and the checksum is over the final one.
			// Type 0 is refused in any case (RFC 5095).
			if h[3] != 0 || h[2] == 0 && !quoted {
				return next, off, BadExtension
			}
		}
		if len(data)-off < size {
			return next, off, BadExtension
		}
		next = h[0]
		off += size
	}
	if extension6(next) {
		return next, off, BadExtension
	}
	return next, off, OK
}
