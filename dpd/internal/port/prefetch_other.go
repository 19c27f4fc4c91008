//go:build !amd64

package port

func prefetch(*Packet, int) {} // Go has none; what comes late is waited for
