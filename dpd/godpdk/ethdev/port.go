// Package ethdev drives Ethernet devices.
package ethdev

/*
#cgo pkg-config: libdpdk
#include <stdlib.h>
#include <string.h>
#include <rte_config.h>
#include <rte_ethdev.h>

#cgo noescape rx_burst
#cgo nocallback rx_burst
#cgo noescape tx_burst
#cgo nocallback tx_burst

// The vectors go over as integers: cgo would look at each element of a vector of pointers, on each call.
static uint16_t rx_burst(uint16_t port, uint16_t queue, uintptr_t *pkts, uint16_t n) {
	return rte_eth_rx_burst(port, queue, (struct rte_mbuf **)pkts, n);
}

static uint16_t tx_burst(uint16_t port, uint16_t queue, uintptr_t *pkts, uint16_t n) {
	return rte_eth_tx_burst(port, queue, (struct rte_mbuf **)pkts, n);
}
*/
import "C"

import (
	"unsafe"

	"github.com/yerden/go-dpdk/internal/errno"
	"github.com/yerden/go-dpdk/mbuf"
)

// Port is the number of a device.
type Port uint16

// MACAddr is an Ethernet address.
type MACAddr C.struct_rte_ether_addr

// DevInfo is what a device says of itself.
type DevInfo C.struct_rte_eth_dev_info

// Stats are the basic counters of a device.
type Stats C.struct_rte_eth_stats

// GetPortByName finds the port of a device: a vdev's name or a PCI address.
func GetPortByName(name string) (Port, error) {
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	var id C.uint16_t
	err := errno.Err(int(C.rte_eth_dev_get_port_by_name(cname, &id)))
	return Port(id), err
}

// Start lets the device move packets.
func (p Port) Start() error { return errno.Err(int(C.rte_eth_dev_start(C.uint16_t(p)))) }

// Stop ends what Start began; the port may be started again.
func (p Port) Stop() { C.rte_eth_dev_stop(C.uint16_t(p)) }

// Close releases a stopped port for good.
func (p Port) Close() { C.rte_eth_dev_close(C.uint16_t(p)) }

// PromiscEnable makes the device receive frames for all addresses.
func (p Port) PromiscEnable() error {
	return errno.Err(int(C.rte_eth_promiscuous_enable(C.uint16_t(p))))
}

// MACAddrGet reads the device's Ethernet address.
func (p Port) MACAddrGet(a *MACAddr) error {
	return errno.Err(int(C.rte_eth_macaddr_get(C.uint16_t(p), (*C.struct_rte_ether_addr)(a))))
}

// GetMTU reads the device's MTU in bytes.
func (p Port) GetMTU() (uint16, error) {
	var mtu C.uint16_t
	err := errno.Err(int(C.rte_eth_dev_get_mtu(C.uint16_t(p), &mtu)))
	return uint16(mtu), err
}

// SetMTU sets the device's MTU in bytes.
func (p Port) SetMTU(mtu uint16) error {
	return errno.Err(int(C.rte_eth_dev_set_mtu(C.uint16_t(p), C.uint16_t(mtu))))
}

// InfoGet reads the device's abilities and limits.
func (p Port) InfoGet(info *DevInfo) error {
	return errno.Err(int(C.rte_eth_dev_info_get(C.uint16_t(p), (*C.struct_rte_eth_dev_info)(info))))
}

// SocketID is the NUMA socket of the device, or -1.
func (p Port) SocketID() int { return int(C.rte_eth_dev_socket_id(C.uint16_t(p))) }

// StatsGet reads the device's basic counters.
func (p Port) StatsGet(s *Stats) error {
	return errno.Err(int(C.rte_eth_stats_get(C.uint16_t(p), (*C.struct_rte_eth_stats)(s))))
}

// RxBurst receives packets of queue qid into pkts and returns how many. Keep pkts outside of the Go heap: cgo checks each
// element of a vector that lies there.
func (p Port) RxBurst(qid uint16, pkts []*mbuf.Mbuf) uint16 {
	return uint16(C.rx_burst(C.uint16_t(p), C.uint16_t(qid), vec(pkts), C.uint16_t(len(pkts))))
}

// TxBurst sends pkts on queue qid and returns how many the device took, always the first ones.
func (p Port) TxBurst(qid uint16, pkts []*mbuf.Mbuf) uint16 {
	return uint16(C.tx_burst(C.uint16_t(p), C.uint16_t(qid), vec(pkts), C.uint16_t(len(pkts))))
}

func vec(pkts []*mbuf.Mbuf) *C.uintptr_t {
	return (*C.uintptr_t)(unsafe.Pointer(unsafe.SliceData(pkts)))
}
