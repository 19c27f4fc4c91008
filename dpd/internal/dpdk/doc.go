// Package dpdk runs ports, packet memory and device steering on DPDK. It is the only package that imports go-dpdk or "C".
//
// The build tag dpdk selects the real thing; without it Start says ErrNotBuilt, and everything above still compiles.
//
// Threads: a packet thread locks its goroutine to its thread, calls Pin and Runtime.RegisterThread once, and then owns
// the queues that it was given. It makes one cgo call a burst; what lies between reads and writes packet headers in plain
// Go. Control calls (opening ports, rules, counters, link state) may come from any goroutine: one locked thread, the main
// lcore of the EAL, carries them out in turn.
package dpdk

import "errors"

var (
	// ErrNotBuilt is returned by Start in a binary without DPDK.
	ErrNotBuilt = errors.New("built without DPDK (-tags dpdk)")
	// ErrStarted is returned by a second Start: the EAL starts once a process, even when the first start failed.
	ErrStarted = errors.New("DPDK was started before in this process")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("DPDK is closed")
)
