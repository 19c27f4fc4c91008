package burst

import "unsafe"

// These are the loops in Go: what other machines run, and what the assembly is tested against.

func field[T uint16 | uint32 | uintptr](ref uintptr, off uintptr) *T {
	p := ref + off
	return *(**T)(unsafe.Pointer(&p)) // not Go memory; nothing moves
}

func unpackGo(out *[Max]View, vec *[Max]uintptr, n int) int {
	for i, ref := range vec[:n] {
		size := uintptr(*field[uint16](ref, OffDataLen))
		if *field[uint16](ref, OffSegments) != 1 || size < MinLen {
			return i
		}
		v := &out[i]
		v.Data = *field[uintptr](ref, OffBuffer) + uintptr(*field[uint16](ref, OffDataOffset))
		v.Len, v.Cap, v.Ref = size, size, ref
	}
	return n
}

func packGo(vec *[Max]uintptr, in *[Max]View, n int) {
	for i := range n {
		v := &in[i]
		vec[i] = v.Ref
		off := uint16(v.Data - *field[uintptr](v.Ref, OffBuffer))
		if p := field[uint16](v.Ref, OffDataOffset); *p != off {
			*p = off
		}
		if p := field[uint16](v.Ref, OffDataLen); *p != uint16(v.Len) {
			*p = uint16(v.Len)
			*field[uint32](v.Ref, OffPacketLen) = uint32(v.Len)
		}
	}
}
