package ethdev

/*
#include <stdlib.h>
#include <string.h>
#include <rte_config.h>
#include <rte_ethdev.h>
*/
import "C"

import (
	"unsafe"

	"github.com/yerden/go-dpdk/internal/errno"
	"github.com/yerden/go-dpdk/mempool"
)

// RssConf says how received packets are spread over the queues: Key is the Toeplitz key, Hf the set of RTE_ETH_RSS bits.
type RssConf struct {
	Key []byte
	Hf  uint64
}

// RxMode are the receive settings of a port.
type RxMode struct {
	MqMode       uint
	MTU          uint32
	SplitHdrSize uint16 // DPDK 22.11 has no such setting any more; it is ignored
	Offloads     uint64
}

// TxMode are the transmit settings of a port.
type TxMode struct {
	MqMode   uint
	Offloads uint64
	Pvid     uint16
}

type conf struct {
	c   C.struct_rte_eth_conf
	key []byte
}

// Option changes how a port is configured.
type Option struct{ set func(*conf) }

// OptRss sets the RSS key and hash functions.
func OptRss(r RssConf) Option {
	return Option{func(c *conf) {
		c.key = r.Key
		c.c.rx_adv_conf.rss_conf.rss_hf = C.uint64_t(r.Hf)
	}}
}

// OptRxMode sets the receive settings.
func OptRxMode(m RxMode) Option {
	return Option{func(c *conf) {
		c.c.rxmode.mq_mode = uint32(m.MqMode)
		c.c.rxmode.mtu = C.uint32_t(m.MTU)
		c.c.rxmode.offloads = C.uint64_t(m.Offloads)
	}}
}

// OptTxMode sets the transmit settings.
func OptTxMode(m TxMode) Option {
	return Option{func(c *conf) {
		c.c.txmode.mq_mode = uint32(m.MqMode)
		c.c.txmode.offloads = C.uint64_t(m.Offloads)
		c.c.txmode.pvid = C.uint16_t(m.Pvid)
	}}
}

// DevConfigure sets up the port with nrxq receive and ntxq transmit queues.
func (p Port) DevConfigure(nrxq, ntxq uint16, opts ...Option) error {
	var c conf
	for _, o := range opts {
		o.set(&c)
	}
	if len(c.key) > 0 {
		key := C.CBytes(c.key)
		defer C.free(key)
		c.c.rx_adv_conf.rss_conf.rss_key = (*C.uint8_t)(key)
		c.c.rx_adv_conf.rss_conf.rss_key_len = C.uint8_t(len(c.key))
	}
	return errno.Err(int(C.rte_eth_dev_configure(C.uint16_t(p), C.uint16_t(nrxq), C.uint16_t(ntxq), &c.c)))
}

// QueueOption changes how a queue is set up.
type QueueOption struct{ set func(*queueConf) }

type queueConf struct{ socket C.uint }

// RxqSetup sets up a receive queue of nDesc descriptors that takes its buffers from mp.
func (p Port) RxqSetup(qid, nDesc uint16, mp *mempool.Mempool, opts ...QueueOption) error {
	q := p.queue(opts)
	return errno.Err(int(C.rte_eth_rx_queue_setup(C.uint16_t(p), C.uint16_t(qid), C.uint16_t(nDesc), q.socket, nil,
		(*C.struct_rte_mempool)(unsafe.Pointer(mp)))))
}

// TxqSetup sets up a transmit queue of nDesc descriptors.
func (p Port) TxqSetup(qid, nDesc uint16, opts ...QueueOption) error {
	q := p.queue(opts)
	return errno.Err(int(C.rte_eth_tx_queue_setup(C.uint16_t(p), C.uint16_t(qid), C.uint16_t(nDesc), q.socket, nil)))
}

func (p Port) queue(opts []QueueOption) queueConf {
	socket := C.int(p.SocketID())
	q := queueConf{socket: C.uint(socket)}
	for _, o := range opts {
		o.set(&q)
	}
	return q
}

// RssRetaEntry64 is a group of 64 entries of the redirection table, with a mask of those that count.
type RssRetaEntry64 C.struct_rte_eth_rss_reta_entry64

// RssRetaUpdate changes the redirection table, which has size entries.
func (p Port) RssRetaUpdate(conf []RssRetaEntry64, size uint16) error {
	return errno.Err(int(C.rte_eth_dev_rss_reta_update(C.uint16_t(p),
		(*C.struct_rte_eth_rss_reta_entry64)(unsafe.Pointer(unsafe.SliceData(conf))), C.uint16_t(size))))
}
