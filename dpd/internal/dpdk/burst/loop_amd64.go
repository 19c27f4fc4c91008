package burst

//go:noescape
func unpack(out *[Max]View, vec *[Max]uintptr, n int) int
