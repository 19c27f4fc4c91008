package packet

import "encoding/binary"

// ARP operations.
const (
	ARPRequest = 1
	ARPReply   = 2
)

// ARPSize is the size in bytes of an ARP packet for Ethernet and IPv4.
const ARPSize = 28

// ARP is the view of an ARP packet for Ethernet and IPv4 (RFC 826).
//
//	 0       2       4   5   6       8
//	+-------+-------+---+---+-------+
//	| hw 1  | 0800  | 6 | 4 |  op   |
//	+-------+-------+---+---+-------+---+
//	| 8: sender MAC         | 14: sender IP |
//	| 18: target MAC        | 24: target IP |
//	+-----------------------+---------------+
type ARP []byte

const (
	arpOp        = 6
	arpSenderMAC = 8
	arpSenderIP  = 14
	arpTargetMAC = 18
	arpTargetIP  = 24
)

const arpEthernetIPv4 = 0x0001_0800_0604

// Valid says whether the fixed part names Ethernet and IPv4.
func (h ARP) Valid() bool {
	return len(h) >= ARPSize && binary.BigEndian.Uint64(h)>>16 == arpEthernetIPv4
}

// Op is the operation.
func (h ARP) Op() uint16 { return binary.BigEndian.Uint16(h[arpOp:]) }

// SenderMAC is the hardware address of the sender.
func (h ARP) SenderMAC() [6]byte { return [6]byte(h[arpSenderMAC:]) }

// SenderIP is the protocol address of the sender.
func (h ARP) SenderIP() [4]byte { return [4]byte(h[arpSenderIP:]) }

// TargetIP is the protocol address asked for.
func (h ARP) TargetIP() [4]byte { return [4]byte(h[arpTargetIP:]) }

// PutARP writes an ARP packet into b, which holds at least ARPSize bytes.
func PutARP(b []byte, op uint16, senderMAC [6]byte, senderIP [4]byte, targetMAC [6]byte, targetIP [4]byte) {
	binary.BigEndian.PutUint64(b, arpEthernetIPv4<<16|uint64(op))
	copy(b[arpSenderMAC:], senderMAC[:])
	copy(b[arpSenderIP:], senderIP[:])
	copy(b[arpTargetMAC:], targetMAC[:])
	copy(b[arpTargetIP:], targetIP[:])
}
