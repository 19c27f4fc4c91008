//go:build dpdk

package baseline

/*
#cgo pkg-config: libdpdk
#include <stdint.h>
#include <rte_pause.h>

// A polling thread that leaves the core's units to the other one while it has nothing to do, if the two share a core.
static int32_t holdfast_wait_while(int32_t *word, int32_t value)
{
	int32_t now;

	while ((now = __atomic_load_n(word, __ATOMIC_ACQUIRE)) == value)
		rte_pause();
	return now;
}

// One side of a ball game: waits until the word is mine, then makes it the other's.
static void holdfast_rally(int32_t *word, int32_t mine, int rounds)
{
	while (rounds-- > 0) {
		while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != mine)
			rte_pause();
		__atomic_store_n(word, !mine, __ATOMIC_RELEASE);
	}
}
*/
import "C"

import (
	"sync/atomic"
	"unsafe"
)

// WaitWhile polls word until it is not value, and returns what it is.
func WaitWhile(word *atomic.Int32, value int32) int32 {
	return int32(C.holdfast_wait_while((*C.int32_t)(unsafe.Pointer(word)), C.int32_t(value)))
}

// Rally passes a word to and fro, rounds times, with another thread that plays the other number, 0 or 1. The word is 0 at first.
func Rally(word *atomic.Int32, mine int32, rounds int) {
	C.holdfast_rally((*C.int32_t)(unsafe.Pointer(word)), C.int32_t(mine), C.int(rounds))
}
