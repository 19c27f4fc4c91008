//go:build amd64

package conntrack

import "unsafe"

// prefetch asks for the cache lines at base plus each of n offsets. A wrong address does no harm. It is assembly because Go
// offers no prefetch outside its runtime. It asks for them in the second cache: a
// processor forgets what it is asked for in the first beyond some 20 lines.
//
//go:noescape
func prefetch(base unsafe.Pointer, off *uint64, n int)
