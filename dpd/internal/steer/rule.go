// Package steer decides which thread of a data plane a received packet belongs to.
//
// One pure function, Rules, turns the configuration into a list of Rule. The device gets the list through rte_flow as
// far as it accepts it; Interpreter applies the same list in software, so what the device refused or got wrong is put
// right by a ring between threads. Queue numbers are those of one node and never travel.
//
//	sync datagram    -> sync queue       by destination sip and port               Sync
//	server to laddr  -> worker of bucket by the low 8 bits of the destination port LocalPort
//	client to VIP    -> worker of bucket by Toeplitz of the source address, port   ClientHash
//	everything else  -> queue 0, the host part (ARP, ND, echo, BFD, strays)        CatchAll
package steer

import (
	"fmt"
	"net/netip"
)

// Purpose says what a rule is for; it also names the rule in metrics and in GetInfo.
type Purpose uint8

const (
	// Sync takes session sync datagrams to the sync queue, and nothing else may land there.
	Sync Purpose = 1 + iota
	// LocalPort takes what servers send to one of our local ports to the worker of the bucket in the port's low bits.
	LocalPort
	// ClientHash spreads what clients send by Toeplitz of the client's address and port.
	ClientHash
	// CatchAll holds every other packet away from the sync queue: without it a device spreads unmatched packets over
	// all its queues.
	CatchAll
)

// String is the purpose's name in metrics.
func (p Purpose) String() string {
	switch p {
	case Sync:
		return "sync"
	case LocalPort:
		return "local_port"
	case ClientHash:
		return "client_hash"
	case CatchAll:
		return "catch_all"
	}
	return "unknown"
}

// Priorities, as rte_flow counts them: the lowest number wins. They are dense, because devices know few.
const (
	prioSync uint32 = iota
	prioLocalPort
	prioClientHash
	prioCatchAll
)

// RSS spreads packets over the queues of a table: queue = RETA[hash % len(RETA)], where hash is Toeplitz over the source
// address followed by the source port (in DPDK's words RTE_ETH_RSS_L3_SRC_ONLY | RTE_ETH_RSS_L4_SRC_ONLY with the IPv4 or
// IPv6 TCP or UDP type of the rule). Shared by all rules of a list; never written after Rules returned.
type RSS struct {
	Key  Key
	RETA [Buckets]uint16 // by bucket; shorter tables of the device: see Map.RETA
}

// Rule is one line of the steering list. A packet matches when it matches every field that is not a wildcard.
//
//	Family 0: any Ethernet packet, IP or not; Dst, Proto and port are then wildcards too.
//	Proto 0: any protocol. PortMask 0: any port; else destination port & PortMask == Port.
//
// Of the rules that match, the lowest Priority applies; no two rules of one list and one priority overlap.
type Rule struct {
	Dst      netip.Prefix // of Family; the zero Prefix if Family is 0
	RSS      *RSS         // if set, spreads over worker queues and Queue is not used
	Priority uint32
	Port     uint16
	PortMask uint16
	Queue    uint16
	Purpose  Purpose
	Family   uint8 // 0, flow.IPv4 or flow.IPv6
	Proto    uint8 // 0, flow.ProtoTCP or flow.ProtoUDP
}

// String is "local_port p1 udp 192.0.2.1/32 port 0x0003/0x00ff -> queue 1": the rule's name in logs. Cold path.
func (r Rule) String() string {
	s := fmt.Sprintf("%v p%d", r.Purpose, r.Priority)
	switch r.Proto {
	case 6:
		s += " tcp"
	case 17:
		s += " udp"
	}
	if r.Family != 0 {
		s += " " + r.Dst.String()
	}
	if r.PortMask != 0 {
		s += fmt.Sprintf(" port %#04x/%#04x", r.Port, r.PortMask)
	}
	if r.RSS != nil {
		return s + " -> rss"
	}
	return s + fmt.Sprintf(" -> queue %d", r.Queue)
}
