//go:build amd64

package conntrack

import "unsafe"

// prefetch asks for the cache lines at base plus each of n offsets. A wrong address does no harm. It is assembly because Go
// offers no prefetch outside its runtime, and it takes a whole burst because the call isn't inlined.
//
//go:noescape
func prefetch(base unsafe.Pointer, off *uint64, n int)
