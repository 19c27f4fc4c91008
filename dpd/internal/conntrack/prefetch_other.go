//go:build !amd64

package conntrack

// prefetch does nothing here: the later stages' own independent loads overlap as far as the processor allows.
func prefetch(addrs *uintptr, n int) {}
