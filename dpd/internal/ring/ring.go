// Package ring is a bounded queue between exactly two threads: one that puts, one that takes. No lock, no allocation
// after New, no wait: a full ring refuses, an empty one gives nothing, and the caller counts what that means.
package ring

import (
	"fmt"
	"math/bits"
	"sync/atomic"
)

// SPSC is a ring of values of T. Put and PutAll belong to the producing thread, Take and TakeAll to the consuming one;
// Len may be called by any thread and is a moment's estimate.
//
// Invariant: head <= tail <= head+len(slot). Slots in [head, tail) belong to the consumer, the others to the producer.
// Each side keeps a stale copy of the other's index, so that the shared cache line is read only when the ring looks
// full or empty.
type SPSC[T any] struct {
	slot []T
	mask uint64
	_    [32]byte

	tail     atomic.Uint64 // next slot to fill; written by the producer
	headSeen uint64        // producer's copy of head
	_        [48]byte

	head     atomic.Uint64 // next slot to take; written by the consumer
	tailSeen uint64        // consumer's copy of tail
	_        [48]byte
}

// New makes a ring of at least capacity slots, rounded up to a power of two. capacity is 1 to 1<<24.
func New[T any](capacity int) *SPSC[T] {
	if capacity < 1 || capacity > 1<<24 {
		panic(fmt.Sprintf("ring: capacity %d is outside 1..%d", capacity, 1<<24))
	}
	n := 1 << bits.Len(uint(capacity-1))
	return &SPSC[T]{slot: make([]T, n), mask: uint64(n - 1)}
}

// Cap is the number of slots.
func (r *SPSC[T]) Cap() int { return len(r.slot) }

// Len is the number of values inside at some moment of the call.
func (r *SPSC[T]) Len() int { return int(r.tail.Load() - r.head.Load()) }

// Put copies v into the ring, or reports false when it is full.
func (r *SPSC[T]) Put(v *T) bool {
	t := r.tail.Load()
	if t-r.headSeen == uint64(len(r.slot)) {
		if r.headSeen = r.head.Load(); t-r.headSeen == uint64(len(r.slot)) {
			return false
		}
	}
	r.slot[t&r.mask] = *v
	r.tail.Store(t + 1)
	return true
}

// Take moves the oldest value into v, or reports false when the ring is empty. The slot is not cleared: T should hold
// no pointer that keeps large things alive.
func (r *SPSC[T]) Take(v *T) bool {
	h := r.head.Load()
	if h == r.tailSeen {
		if r.tailSeen = r.tail.Load(); h == r.tailSeen {
			return false
		}
	}
	*v = r.slot[h&r.mask]
	r.head.Store(h + 1)
	return true
}

// Ahead is the value that Take gives after n others, or nil when it is not there yet. It belongs to the consuming thread, and is good until
// that value is taken.
func (r *SPSC[T]) Ahead(n int) *T {
	at := r.head.Load() + uint64(n)
	if at >= r.tailSeen {
		if r.tailSeen = r.tail.Load(); at >= r.tailSeen {
			return nil
		}
	}
	return &r.slot[at&r.mask]
}
