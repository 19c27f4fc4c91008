//go:build amd64

package port

import "unsafe"

// prefetch asks for the first bytes of n packets, n at least 1, in the second cache: a processor forgets what it is asked for in the first
// beyond some 20 lines. It is assembly because Go offers no prefetch.
//
//go:noescape
func prefetch(p *Packet, n int)

// What the assembly takes for granted: an index of an array of one element, so any difference fails the build.
var _ = [1]struct{}{}[unsafe.Sizeof(Packet{})-32]
