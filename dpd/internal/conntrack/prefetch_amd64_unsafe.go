//go:build amd64

package conntrack

import "unsafe"

// prefetch asks for the cache lines at base plus each of n offsets. A wrong address does no harm. It is assembly because Go
// offers no prefetch outside its runtime, and it takes a whole burst because the call isn't inlined. It asks for them in the first cache
// alone: a large table's lines are not met again there, and the outer caches are better used by the page tables that lead to them.
//
//go:noescape
func prefetch(base unsafe.Pointer, off *uint64, n int)
