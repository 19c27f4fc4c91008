//go:build dpdk

package main

/*
#cgo pkg-config: libdpdk
#include <rte_config.h>
#include <rte_ethdev.h>
*/
import "C"

import (
	"context"
	"fmt"
	"unsafe"

	"github.com/yerden/go-dpdk/ethdev"
	"golang.org/x/sys/unix"

	"github.com/holdfast-lb/holdfast/dpd/internal/dpdk"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

// measureVectors compares bare receive and send calls with the burst vector in the Go heap and outside of it. The calls
// pass a vector of pointers, as bindings do: what cgo checks is the question.
func measureVectors(ctx context.Context, o *options, rt *dpdk.Runtime, rep *report) error {
	p, err := rt.OpenPort(dpdk.PortConfig{Device: "net_null8,size=64", Workers: 1})
	if err != nil {
		return err
	}
	defer p.Close()
	id, err := ethdev.GetPortByName("net_null8")
	if err != nil {
		return err
	}
	const size = port.BurstMax * int(unsafe.Sizeof(uintptr(0)))
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Munmap(mem) }() // the process ends soon; a page that stays mapped falsifies nothing
	heap := make([]*C.struct_rte_mbuf, port.BurstMax)
	off := unsafe.Slice((**C.struct_rte_mbuf)(unsafe.Pointer(&mem[0])), port.BurstMax)
	loop := func(vec []*C.struct_rte_mbuf) func() int {
		return func() int {
			n := C.rte_eth_rx_burst(C.uint16_t(id), 0, &vec[0], C.uint16_t(len(vec)))
			C.rte_eth_tx_burst(C.uint16_t(id), 0, &vec[0], n)
			return int(n)
		}
	}
	side := func(name string, vec []*C.struct_rte_mbuf) func() (float64, error) {
		return func() (float64, error) {
			var t tally
			err := onCore(rt, o.core, func() { t = poll(o.slice, loop(vec)) })
			fmt.Printf("BenchmarkBurst/vector=%s\t%d\t%.3f ns/op\t%.1f Mpps\n", name, t.packets, 1e3/t.mpps(), t.mpps())
			return t.mpps(), err
		}
	}
	a, b, err := turns(ctx, o.pairs, side("offheap", off), side("goheap", heap))
	if err != nil {
		return err
	}
	rep.compare("G2", "receive and send on net_null, vector off the Go heap / in it", "Mpps", a, b, 0, "")
	return nil
}

// turns measures a and b in pairs, A B B A, so that a drift of the machine hits both alike.
func turns(ctx context.Context, pairs int, a, b func() (float64, error)) (as, bs []float64, err error) {
	for i := range pairs {
		first, second := a, b
		if i%2 == 1 {
			first, second = b, a
		}
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		x, err := first()
		if err != nil {
			return nil, nil, err
		}
		y, err := second()
		if err != nil {
			return nil, nil, err
		}
		if i%2 == 1 {
			x, y = y, x
		}
		as, bs = append(as, x), append(bs, y)
	}
	return as, bs, nil
}
