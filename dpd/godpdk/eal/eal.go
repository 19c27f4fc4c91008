// Package eal starts and ends DPDK's environment abstraction layer.
package eal

/*
#cgo pkg-config: libdpdk
#include <stdlib.h>
#include <rte_config.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>

static int last_errno(void) { return rte_errno; }
*/
import "C"

import (
	"unsafe"

	"github.com/yerden/go-dpdk/internal/errno"
)

// Init starts the EAL with the arguments of a command line, the program's name first, and returns how many of them the
// EAL took. The calling thread becomes the main lcore, so the caller locks its goroutine to it.
func Init(args []string) (n int, err error) {
	// The EAL may keep pointers into argv for the life of the process, so this memory is never freed.
	size := C.size_t(len(args)+1) * C.size_t(unsafe.Sizeof((*C.char)(nil)))
	argv := (**C.char)(C.malloc(size))
	vec := unsafe.Slice(argv, len(args)+1)
	for i, a := range args {
		vec[i] = C.CString(a)
	}
	vec[len(args)] = nil
	n = int(C.rte_eal_init(C.int(len(args)), argv))
	if n < 0 {
		return n, errno.Or(int(C.last_errno()))
	}
	return n, nil
}

// Cleanup releases what Init took. No DPDK call may follow it.
func Cleanup() error { return errno.Err(int(C.rte_eal_cleanup())) }

// HasHugePages reports whether the EAL runs on huge pages.
func HasHugePages() bool { return C.rte_eal_has_hugepages() != 0 }
