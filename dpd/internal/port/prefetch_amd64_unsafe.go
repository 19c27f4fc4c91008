//go:build amd64

package port

import "unsafe"

// prefetch asks for the first bytes of n packets, n at least 1, to be written. It is assembly because Go offers no prefetch.
//
//go:noescape
func prefetch(p *Packet, n int)

// What the assembly takes for granted: an index of an array of one element, so any difference fails the build.
var _ = [1]struct{}{}[unsafe.Sizeof(Packet{})-32]
