//go:build dpdk

// Package baseline holds loops in C that benchmarks compare the Go side with, where both must run in one process on the same
// port and the same traffic.
package baseline

/*
#cgo pkg-config: libdpdk
#include <rte_ethdev.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_pause.h>
#include <rte_prefetch.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

// What a forwarding program in C has to do at the least: receive a burst, exchange the addresses of each packet, send.
static uint16_t holdfast_macswap(uint16_t port, uint16_t rxq, uint16_t txq)
{
	struct rte_mbuf *pkt[64];
	uint16_t n = rte_eth_rx_burst(port, rxq, pkt, 64);
	uint16_t i;

	for (i = 0; i < n && i < 4; i++)
		rte_prefetch0(rte_pktmbuf_mtod(pkt[i], void *));
	for (i = 0; i < n; i++) {
		struct rte_ether_hdr *h = rte_pktmbuf_mtod(pkt[i], struct rte_ether_hdr *);
		struct rte_ether_addr a;

		if (i + 4 < n)
			rte_prefetch0(rte_pktmbuf_mtod(pkt[i + 4], void *));
		rte_ether_addr_copy(&h->dst_addr, &a);
		rte_ether_addr_copy(&h->src_addr, &h->dst_addr);
		rte_ether_addr_copy(&a, &h->src_addr);
		pkt[i]->ol_flags = 0;
		pkt[i]->l2_len = sizeof(*h);
		pkt[i]->l3_len = sizeof(struct rte_ipv4_hdr);
	}
	uint16_t sent = rte_eth_tx_burst(port, txq, pkt, n);
	for (i = sent; i < n; i++)
		rte_pktmbuf_free(pkt[i]);
	return n;
}

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
	"sync/atomic"
	"unsafe"

	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

// Macswap does one turn of macswap in C: a burst of up to 64 packets from queue rx to queue tx of a DPDK port. It returns how
// many packets came.
func Macswap(port uint16, rx, tx int) int {
	return int(C.holdfast_macswap(C.uint16_t(port), C.uint16_t(rx), C.uint16_t(tx)))
}

// WaitWhile polls word until it is not value, and returns what it is.
func WaitWhile(word *atomic.Int32, value int32) int32 {
	return int32(C.holdfast_wait_while((*C.int32_t)(unsafe.Pointer(word)), C.int32_t(value)))
}

// Evict takes the bytes of packets out of all caches, where the processor can (x86).
func Evict(b *port.Batch) {
	C.holdfast_evict((*C.struct_holdfast_view)(unsafe.Pointer(&b.Pkt)), C.int(b.N))
}

// Rally passes a word to and fro, rounds times, with another thread that plays the other number, 0 or 1. The word is 0 at first.
func Rally(word *atomic.Int32, mine int32, rounds int) {
	C.holdfast_rally((*C.int32_t)(unsafe.Pointer(word)), C.int32_t(mine), C.int(rounds))
}
