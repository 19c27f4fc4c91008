//go:build !amd64

package burst

func unpack(out *[Max]View, vec *[Max]uintptr, n int) int { return unpackGo(out, vec, n) }
