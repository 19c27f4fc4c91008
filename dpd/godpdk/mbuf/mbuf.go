// Package mbuf handles packet buffers.
package mbuf

/*
#cgo pkg-config: libdpdk
#include <rte_config.h>
#include <rte_mbuf.h>
*/
import "C"

import (
	"unsafe"

	"github.com/yerden/go-dpdk/internal/errno"
	"github.com/yerden/go-dpdk/mempool"
)

// Mbuf is a packet buffer, one segment of a packet.
type Mbuf C.struct_rte_mbuf

// PktMbufAlloc takes an empty packet from mp, or nil when there is none.
func PktMbufAlloc(mp *mempool.Mempool) *Mbuf {
	return (*Mbuf)(C.rte_pktmbuf_alloc((*C.struct_rte_mempool)(unsafe.Pointer(mp))))
}

// PktMbufAllocBulk fills ms with empty packets of mp: all of them or none.
func PktMbufAllocBulk(mp *mempool.Mempool, ms []*Mbuf) error {
	if len(ms) == 0 {
		return nil
	}
	return errno.Err(int(C.rte_pktmbuf_alloc_bulk(
		(*C.struct_rte_mempool)(unsafe.Pointer(mp)), vec(ms), C.uint(len(ms)))))
}

// PktMbufFreeBulk returns packets, all their segments, to their pools.
func PktMbufFreeBulk(ms []*Mbuf) {
	if len(ms) > 0 {
		C.rte_pktmbuf_free_bulk(vec(ms), C.uint(len(ms)))
	}
}

// PktMbufFree returns the packet, all its segments, to its pool.
func (m *Mbuf) PktMbufFree() { C.rte_pktmbuf_free((*C.struct_rte_mbuf)(m)) }

func vec(ms []*Mbuf) **C.struct_rte_mbuf {
	return (**C.struct_rte_mbuf)(unsafe.Pointer(unsafe.SliceData(ms)))
}
