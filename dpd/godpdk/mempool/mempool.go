// Package mempool makes pools of packet buffers.
package mempool

/*
#cgo pkg-config: libdpdk
#include <stdlib.h>
#include <rte_config.h>
#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

static int last_errno(void) { return rte_errno; }
*/
import "C"

import (
	"unsafe"

	"github.com/yerden/go-dpdk/internal/errno"
)

// Mempool is a pool of objects of one size.
type Mempool C.struct_rte_mempool

type conf struct {
	cache  C.uint
	priv   C.uint16_t
	socket C.int
}

// Option changes how a pool is made.
type Option struct{ set func(*conf) }

// OptCacheSize sets how many objects each lcore keeps for itself; 0 means none.
func OptCacheSize(n uint32) Option { return Option{func(c *conf) { c.cache = C.uint(n) }} }

// OptSocket sets the NUMA socket of the memory; -1 means any.
func OptSocket(socket int) Option { return Option{func(c *conf) { c.socket = C.int(socket) }} }

// OptPrivateDataSize sets the bytes of private data in each buffer.
func OptPrivateDataSize(n uint32) Option { return Option{func(c *conf) { c.priv = C.uint16_t(n) }} }

// CreateMbufPool makes a pool of n packet buffers with dataRoomSize bytes of room each, the headroom included.
func CreateMbufPool(name string, n uint32, dataRoomSize uint16, opts ...Option) (*Mempool, error) {
	c := conf{socket: C.SOCKET_ID_ANY}
	for _, o := range opts {
		o.set(&c)
	}
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	mp := C.rte_pktmbuf_pool_create(cname, C.uint(n), c.cache, c.priv, C.uint16_t(dataRoomSize), c.socket)
	if mp == nil {
		return nil, errno.Or(int(C.last_errno()))
	}
	return (*Mempool)(mp), nil
}

func (mp *Mempool) c() *C.struct_rte_mempool { return (*C.struct_rte_mempool)(mp) }

// Free returns the pool's memory. All of its objects must be back.
func (mp *Mempool) Free() { C.rte_mempool_free(mp.c()) }

// AvailCount is the number of objects in the pool, the lcore caches included.
func (mp *Mempool) AvailCount() int { return int(C.rte_mempool_avail_count(mp.c())) }

// InUseCount is the number of objects that are out.
func (mp *Mempool) InUseCount() int { return int(C.rte_mempool_in_use_count(mp.c())) }
