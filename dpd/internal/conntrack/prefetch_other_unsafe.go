//go:build !amd64

package conntrack

import "unsafe"

// prefetch does nothing here: the later stages' own independent loads overlap as far as the processor allows.
func prefetch(base unsafe.Pointer, off *uint64, n int) {}
