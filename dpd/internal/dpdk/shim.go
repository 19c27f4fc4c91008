//go:build dpdk

package dpdk

/*
#cgo pkg-config: libdpdk
#cgo noescape hf_free_bulk
#cgo nocallback hf_free_bulk
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <rte_config.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>

static int hf_errno(void) { return rte_errno; }

static void hf_free_bulk(uintptr_t *refs, unsigned int n) {
	rte_pktmbuf_free_bulk((struct rte_mbuf **)refs, n);
}

// A device that strips VLAN tags puts them into the mbuf; packets are handed on as they were on the wire.
static int hf_vlan_restore(uintptr_t ref) {
	struct rte_mbuf *m = (struct rte_mbuf *)ref;
	m->ol_flags &= ~(uint64_t)(RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED);
	struct rte_ether_hdr *old = rte_pktmbuf_mtod(m, struct rte_ether_hdr *);
	char *start = rte_pktmbuf_prepend(m, sizeof(struct rte_vlan_hdr));
	if (start == NULL)
		return -1;
	memmove(start, old, 2 * RTE_ETHER_ADDR_LEN);
	struct rte_ether_hdr *eh = (struct rte_ether_hdr *)start;
	struct rte_vlan_hdr *vh = (struct rte_vlan_hdr *)(eh + 1);
	eh->ether_type = rte_cpu_to_be_16(RTE_ETHER_TYPE_VLAN);
	vh->vlan_tci = rte_cpu_to_be_16(m->vlan_tci);
	return 0;
}

// What net_af_xdp will show the kernel of a pool: from the page of its first chunk on, as many bytes as the buffers have by
// their size. Takes the buffers that do not lie in there out of the pool for good. -1: no memory.
static int hf_withhold(uintptr_t pool) {
	struct rte_mempool *mp = (struct rte_mempool *)pool;
	size_t size = mp->header_size + mp->elt_size + mp->trailer_size;
	uintptr_t first = (uintptr_t)STAILQ_FIRST(&mp->mem_list)->addr;
	uintptr_t end = first + (size_t)mp->populated_size * size;
	void **seen = malloc(mp->populated_size * sizeof *seen);
	unsigned int n = 0, i;
	if (seen == NULL)
		return -1;
	while (n < mp->populated_size && rte_mempool_get(mp, &seen[n]) == 0)
		n++;
	for (i = 0; i < n; i++) {
		uintptr_t at = (uintptr_t)seen[i] - mp->header_size;
		if (at >= first && at + size <= end)
			rte_mempool_put(mp, seen[i]);
	}
	free(seen);
	return 0;
}

static int hf_link_up(uint16_t port) {
	struct rte_eth_link link;
	memset(&link, 0, sizeof link);
	if (rte_eth_link_get_nowait(port, &link) != 0)
		return 0;
	return link.link_status == RTE_ETH_LINK_UP;
}

*/
import "C"

import (
	"fmt"
	"syscall"
	"unsafe"

	"github.com/yerden/go-dpdk/ethdev"
	"github.com/yerden/go-dpdk/mempool"

	"github.com/holdfast-lb/holdfast/dpd/internal/dpdk/burst"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

// This file is what go-dpdk lacks: probing of single devices, thread registration, allmulticast, link state, descriptor
// limits, and a bulk free that takes its vector from the Go stack.

func rteError(code C.int) error {
	if code >= 0 {
		return nil
	}
	if code == -1 {
		if e := C.hf_errno(); e > 0 {
			return syscall.Errno(e)
		}
	}
	return syscall.Errno(-code)
}

func probe(devargs string) error {
	s := C.CString(devargs)
	defer C.free(unsafe.Pointer(s))
	return rteError(C.rte_dev_probe(s))
}

func allMulticast(p ethdev.Port) error {
	return rteError(C.rte_eth_allmulticast_enable(C.uint16_t(p)))
}

// withhold takes the buffers out of the pool that net_af_xdp cannot show the kernel.
func withhold(mp *mempool.Mempool) error {
	if C.hf_withhold(C.uintptr_t(uintptr(unsafe.Pointer(mp)))) != 0 {
		return syscall.ENOMEM
	}
	return nil
}

func linkUp(p ethdev.Port) bool { return C.hf_link_up(C.uint16_t(p)) != 0 }

// adjustDesc fits descriptor counts to the device's limits.
func adjustDesc(p ethdev.Port, rx, tx int) (uint16, uint16, error) {
	r, t := C.uint16_t(rx), C.uint16_t(tx)
	err := rteError(C.rte_eth_dev_adjust_nb_rx_tx_desc(C.uint16_t(p), &r, &t))
	return uint16(r), uint16(t), err
}

func registerThread() error {
	if C.rte_thread_register() < 0 {
		return fmt.Errorf("register thread with DPDK: %w", syscall.Errno(C.hf_errno()))
	}
	return nil
}

func unregisterThread() { C.rte_thread_unregister() }

func freeBulk(refs []uintptr) {
	if len(refs) > 0 {
		C.hf_free_bulk((*C.uintptr_t)(unsafe.Pointer(unsafe.SliceData(refs))), C.uint(len(refs)))
	}
}

// vlanRestore puts a stripped VLAN tag back in front of the payload; false when there is no room.
func vlanRestore(m *mbuf) bool {
	return C.hf_vlan_restore(C.uintptr_t(uintptr(unsafe.Pointer(m)))) == 0
}

// mbuf is DPDK's packet buffer, for reading and writing its fields without a call.
type mbuf = C.struct_rte_mbuf

func mbufOf(ref uintptr) *mbuf { return *(**mbuf)(unsafe.Pointer(&ref)) }

// views are the packets of a batch as plain words.
func views(b *port.Batch) *[port.BatchMax]burst.View {
	return (*[port.BatchMax]burst.View)(unsafe.Pointer(&b.Pkt))
}

// cut makes the bytes from start to end of a buffer its packet.
func cut(m *mbuf, start, end int) []byte {
	m.data_off, m.data_len, m.pkt_len = C.uint16_t(start), C.uint16_t(end-start), C.uint32_t(end-start)
	return packetOf(m).Data
}

// Package burst works on memory layouts that it does not see. These check them: they are indexes of arrays of one element, so any difference
// fails the build.
var (
	_ = [1]struct{}{}[port.BurstMax-burst.Max]
	_ = [1]struct{}{}[unsafe.Sizeof(port.Packet{})-unsafe.Sizeof(burst.View{})]
	_ = [1]struct{}{}[unsafe.Offsetof(port.Packet{}.Ref)-unsafe.Offsetof(burst.View{}.Ref)]
	_ = [1]struct{}{}[unsafe.Offsetof(mbuf{}.buf_addr)-burst.OffBuffer]
	_ = [1]struct{}{}[unsafe.Offsetof(mbuf{}.data_off)-burst.OffDataOffset]
	_ = [1]struct{}{}[unsafe.Offsetof(mbuf{}.nb_segs)-burst.OffSegments]
	_ = [1]struct{}{}[unsafe.Offsetof(mbuf{}.data_len)-burst.OffDataLen]
	_ = [1]struct{}{}[headroom-C.RTE_PKTMBUF_HEADROOM]
	// go-dpdk's own types are read here as DPDK's, whatever go-dpdk calls their fields.
	_ = [1]struct{}{}[unsafe.Sizeof(ethdev.DevInfo{})-unsafe.Sizeof(C.struct_rte_eth_dev_info{})]
	_ = [1]struct{}{}[unsafe.Sizeof(ethdev.Stats{})-unsafe.Sizeof(C.struct_rte_eth_stats{})]
	_ = [1]struct{}{}[unsafe.Sizeof(ethdev.MACAddr{})-unsafe.Sizeof([6]byte{})]
	_ = [1]struct{}{}[unsafe.Sizeof(ethdev.RssRetaEntry64{})-unsafe.Sizeof(C.struct_rte_eth_rss_reta_entry64{})]
)

// packetOf is the packet in a buffer of one segment.
func packetOf(m *mbuf) port.Packet {
	return port.Packet{Data: unsafe.Slice((*byte)(unsafe.Add(m.buf_addr, m.data_off)), m.data_len), Ref: uintptr(unsafe.Pointer(m))}
}

const (
	mqRSS        = C.RTE_ETH_MQ_RX_RSS
	vlanStripped = C.RTE_MBUF_F_RX_VLAN_STRIPPED
	rssTypes     = C.RTE_ETH_RSS_IP | C.RTE_ETH_RSS_TCP | C.RTE_ETH_RSS_UDP
	rssSource    = C.RTE_ETH_RSS_L3_SRC_ONLY | C.RTE_ETH_RSS_L4_SRC_ONLY
)

// limits is what a device says of itself.
type limits struct {
	driver   string
	device   *C.struct_rte_device
	ifIndex  int
	rxq, txq int
	minMTU   int
	maxMTU   int
	reta     int
	keySize  int
	rss      uint64
}

// spreadsByItself reports that the device hands packets to all the queue pairs that its arguments name, whether they
// are set up or not: the kernel's fan-out and the queues of an AF_XDP socket know nothing of what DPDK configured.
func (l *limits) spreadsByItself() bool {
	return l.driver == "net_af_packet" || l.driver == "net_af_xdp"
}

func limitsOf(p ethdev.Port) (limits, error) {
	var raw ethdev.DevInfo
	if err := p.InfoGet(&raw); err != nil {
		return limits{}, err
	}
	i := (*C.struct_rte_eth_dev_info)(unsafe.Pointer(&raw))
	return limits{
		driver: C.GoString(i.driver_name), device: i.device, ifIndex: int(i.if_index),
		rxq: int(i.max_rx_queues), txq: int(i.max_tx_queues),
		minMTU: int(i.min_mtu), maxMTU: int(i.max_mtu),
		reta: int(i.reta_size), keySize: int(i.hash_key_size), rss: uint64(i.flow_type_rss_offloads),
	}, nil
}

// runtimeDir is the folder that the EAL made for this process.
func runtimeDir() string { return C.GoString(C.rte_eal_get_runtime_dir()) }

func removeDevice(d *C.struct_rte_device) error { return rteError(C.rte_dev_remove(d)) }

// counters are a device's basic statistics.
type counters struct{ ipackets, opackets, ibytes, obytes, imissed, ierrors, oerrors, nombuf uint64 }

func countersOf(p ethdev.Port) (counters, error) {
	var raw ethdev.Stats
	if err := p.StatsGet(&raw); err != nil {
		return counters{}, err
	}
	s := (*C.struct_rte_eth_stats)(unsafe.Pointer(&raw))
	return counters{uint64(s.ipackets), uint64(s.opackets), uint64(s.ibytes), uint64(s.obytes), uint64(s.imissed),
		uint64(s.ierrors), uint64(s.oerrors), uint64(s.rx_nombuf)}, nil
}

// setReta writes the redirection table.
func setReta(p ethdev.Port, queue []uint16) error {
	groups := make([]ethdev.RssRetaEntry64, (len(queue)+63)/64)
	for i, q := range queue {
		g := (*C.struct_rte_eth_rss_reta_entry64)(unsafe.Pointer(&groups[i/64]))
		g.mask |= 1 << (i % 64)
		g.reta[i%64] = C.uint16_t(q)
	}
	return p.RssRetaUpdate(groups, uint16(len(queue)))
}

// reta reads the redirection table of size entries back.
func reta(p ethdev.Port, size int) ([]uint16, error) {
	groups := make([]C.struct_rte_eth_rss_reta_entry64, (size+63)/64)
	for i := range groups {
		groups[i].mask = 1<<64 - 1
	}
	if err := rteError(C.rte_eth_dev_rss_reta_query(C.uint16_t(p), &groups[0], C.uint16_t(size))); err != nil {
		return nil, err
	}
	table := make([]uint16, size)
	for i := range table {
		table[i] = uint16(groups[i/64].reta[i%64])
	}
	return table, nil
}
