package burst

//go:noescape
func unpack(out *[Max]View, vec *[Max]uintptr, n int) int

//go:noescape
func pack(vec *[Max]uintptr, in *[Max]View, n int)
