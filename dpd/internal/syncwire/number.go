package syncwire

import (
	"encoding/binary"
	"math/bits"
)

// appendVarint appends v in groups of 7 bits, the lowest first, each byte but the last with its high bit set.
func appendVarint(b []byte, v uint32) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

// maxVarint is the length of the longest variable-length number.
const maxVarint = 5

// zigzag makes a difference, which wraps, a small number if it is near zero on either side.
func zigzag(v uint32) uint32   { return v<<1 ^ uint32(int32(v)>>31) }
func unzigzag(v uint32) uint32 { return v>>1 ^ -(v & 1) }

// Idle times travel in 16 bits: 5 of exponent above 11 of mantissa, exact below 2048 ms, else rounded up to the next of
// 2048 steps an octave. Rounding is up, so that a value that goes from node to node never makes a session younger.
const (
	idleMantissa = 11
	idleExact    = 1 << idleMantissa
)

// packIdle is the wire form of an idle time in milliseconds.
func packIdle(ms uint32) uint16 {
	if ms < idleExact {
		return uint16(ms)
	}
	shift := bits.Len32(ms) - idleMantissa - 1
	m := uint64(ms)>>shift + b2u(ms&(1<<shift-1) != 0)
	if m == 2*idleExact {
		m, shift = idleExact, shift+1
	}
	return uint16((shift+1)<<idleMantissa) | uint16(m-idleExact)
}

// unpackIdle is the inverse; what is beyond 32 bits is cut to their maximum.
func unpackIdle(v uint16) uint32 {
	e := int(v >> idleMantissa)
	if e == 0 {
		return uint32(v)
	}
	ms := uint64(v&(idleExact-1)|idleExact) << (e - 1)
	return uint32(min(ms, 1<<32-1))
}

func b2u(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// reader walks a body. After the first failure why is set, every further read gives 0, and the caller checks once.
type reader struct {
	b   []byte
	why Reason
}

func (r *reader) fail(why Reason) {
	if r.why == OK {
		r.why = why
	}
	r.b = nil
}

// take is the next n bytes, or nil after a failure.
func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.fail(Truncated)
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u8() uint8 {
	if len(r.b) < 1 {
		r.fail(Truncated)
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) u16() uint16 {
	if len(r.b) < 2 {
		r.fail(Truncated)
		return 0
	}
	v := binary.LittleEndian.Uint16(r.b)
	r.b = r.b[2:]
	return v
}

func (r *reader) u32() uint32 {
	if len(r.b) < 4 {
		r.fail(Truncated)
		return 0
	}
	v := binary.LittleEndian.Uint32(r.b)
	r.b = r.b[4:]
	return v
}

func (r *reader) u64() uint64 {
	if len(r.b) < 8 {
		r.fail(Truncated)
		return 0
	}
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

func (r *reader) varint() uint32 {
	if len(r.b) > 0 && r.b[0] < 0x80 {
		v := r.b[0]
		r.b = r.b[1:]
		return uint32(v)
	}
	return r.longVarint()
}

func (r *reader) longVarint() uint32 {
	var v uint64
	for i := range maxVarint {
		if len(r.b) == 0 {
			r.fail(Truncated)
			return 0
		}
		c := r.b[0]
		r.b = r.b[1:]
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			if v > 1<<32-1 {
				r.fail(BadNumber)
				return 0
			}
			return uint32(v)
		}
	}
	r.fail(BadNumber)
	return 0
}

// addr is an address of a family as two words in the layout of a Key's IPv6 source; IPv4 in the upper half of the first.
func (r *reader) addr(family uint8) (hi, lo uint64) {
	switch family {
	case 4:
		if a := r.take(4); a != nil {
			return uint64(binary.BigEndian.Uint32(a)) << 32, 0
		}
	case 6:
		if a := r.take(16); a != nil {
			return binary.BigEndian.Uint64(a), binary.BigEndian.Uint64(a[8:])
		}
	default:
		r.fail(BadFamily)
	}
	return 0, 0
}

func appendAddr(b []byte, family uint8, hi, lo uint64) []byte {
	if family == 4 {
		return binary.BigEndian.AppendUint32(b, uint32(hi>>32))
	}
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, hi), lo)
}
