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
#include <rte_prefetch.h>

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
*/
import "C"

// Macswap does one turn of macswap in C: a burst of up to 64 packets from queue rx to queue tx of a DPDK port. It returns how
// many packets came.
func Macswap(port uint16, rx, tx int) int {
	return int(C.holdfast_macswap(C.uint16_t(port), C.uint16_t(rx), C.uint16_t(tx)))
}
