package packet

import "encoding/binary"

// EtherTypes that Parse knows.
const (
	EtherTypeIPv4 = 0x0800
	EtherTypeARP  = 0x0806
	EtherTypeVLAN = 0x8100
	EtherTypeIPv6 = 0x86dd
)

// Sizes of the link header in bytes, without and with one 802.1Q tag.
const (
	EthernetSize = 14
	TagSize      = 4
	VLANMask     = 0x0fff // bits of the tag that hold the VLAN id
)

// Ethernet is the view of a link header (IEEE 802.3, tag by 802.1Q).
//
//	 0                   6                  12      14
//	+-------------------+-------------------+-------+
//	|    destination    |      source       | type  |
//	+-------------------+-------------------+-------+
//	                                        | 8100  | PCP:3 DEI:1 VID:12 | type |
//	                                        +-------+--------------------+------+
type Ethernet []byte

const (
	ethDst  = 0
	ethSrc  = 6
	ethType = 12
)

// Dst is the destination MAC.
func (h Ethernet) Dst() [6]byte { return [6]byte(h[ethDst:]) }

// Src is the source MAC.
func (h Ethernet) Src() [6]byte { return [6]byte(h[ethSrc:]) }

// Type is the EtherType; EtherTypeVLAN when a tag follows.
func (h Ethernet) Type() uint16 { return binary.BigEndian.Uint16(h[ethType:]) }

// SetDst sets the destination MAC.
func (h Ethernet) SetDst(mac [6]byte) { copy(h[ethDst:], mac[:]) }

// SetSrc sets the source MAC.
func (h Ethernet) SetSrc(mac [6]byte) { copy(h[ethSrc:], mac[:]) }

// SetType sets the EtherType.
func (h Ethernet) SetType(t uint16) { binary.BigEndian.PutUint16(h[ethType:], t) }

// PutEthernet writes a link header, with a tag if vlan is not zero, and returns its size in bytes.
func PutEthernet(b []byte, dst, src [6]byte, vlan, etherType uint16) int {
	h := Ethernet(b)
	h.SetDst(dst)
	h.SetSrc(src)
	if vlan == 0 {
		h.SetType(etherType)
		return EthernetSize
	}
	h.SetType(EtherTypeVLAN)
	binary.BigEndian.PutUint16(b[EthernetSize:], vlan&VLANMask)
	binary.BigEndian.PutUint16(b[EthernetSize+2:], etherType)
	return EthernetSize + TagSize
}

// MACWord is a MAC as a 48-bit number, the form of Info.DstMAC.
func MACWord(mac [6]byte) uint64 {
	return uint64(binary.BigEndian.Uint16(mac[:]))<<32 | uint64(binary.BigEndian.Uint32(mac[2:]))
}
