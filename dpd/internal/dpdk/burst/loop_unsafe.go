package burst

import "unsafe"

// The loop in Go: what other machines run, and what the assembly is tested against.

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
