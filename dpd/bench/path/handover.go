//go:build dpdk

package main

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/holdfast-lb/holdfast/dpd/internal/dpdk/baseline"
)

// handOver measures what it takes to hand a cache line from one thread to the other: below a hundred nanoseconds the host runs the two
// CPUs on cores that share a cache, above on ones that do not. A virtual machine may be moved between the two at any time, so it
// stands beside the results.
func handOver(subject, feeder on) (time.Duration, error) {
	const rounds = 100_000
	var word atomic.Int32
	played := make(chan error, 1)
	go func() {
		played <- feeder(func() error { baseline.Rally(&word, 1, rounds); return nil })
	}()
	var took time.Duration
	err := subject(func() error {
		baseline.Rally(&word, 0, 1) // both are there
		start := time.Now()
		baseline.Rally(&word, 0, rounds-1)
		took = time.Since(start) / (2 * (rounds - 1))
		return nil
	})
	return took, errors.Join(err, <-played)
}
