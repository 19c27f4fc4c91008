//go:build dpdk

package baseline

/*
#include <stddef.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

// A packet as a slice and a reference.
struct holdfast_view { char *data; size_t len, cap, ref; };

#ifdef __x86_64__
__attribute__((target("clflushopt")))
#endif
static void holdfast_evict(const struct holdfast_view *v, int n)
{
#ifdef __x86_64__
	for (int i = 0; i < n; i++)
		for (size_t at = 0; at < v[i].len; at += 64)
			_mm_clflushopt(v[i].data + at);
	_mm_sfence();
#else
	(void)v, (void)n;
#endif
}
*/
import "C"

import (
	"unsafe"

	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

// Evict takes the bytes of packets out of all caches, where the processor can (x86).
func Evict(b *port.Batch) {
	C.holdfast_evict((*C.struct_holdfast_view)(unsafe.Pointer(&b.Pkt)), C.int(b.N))
}
