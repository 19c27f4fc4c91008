// Package packet gives byte views of the headers that the data plane reads and writes, and Parse, which checks a frame
// and puts what the packet path needs into a reused struct. It imports the standard library alone and never allocates.
package packet

// Class says what a parsed packet is and so which fields of Info mean something.
type Class uint8

const (
	Refused Class = iota // Parse gave a reason; only what was read before it is set
	ClassTCP
	ClassUDP
	ClassEcho  // ICMP or ICMPv6 echo request or reply; both ports of Meta are the identifier
	ClassError // ICMP or ICMPv6 error about the packet in Quote; the ports of Meta are zero
	ClassND    // neighbour solicitation or advertisement
	ClassARP   // Addr and Meta are zero
)

// Info is what Parse found. It is made to be reused for every packet: Parse assigns every field. Offsets and lengths
// are in bytes from the start of the data. 128 bytes, held by a test.
type Info struct {
	// Addr and Meta are the words of the packet's tuple in the layout of flow.Key:
	//	IPv4: Addr[0] = source<<32 | destination, Addr[1..3] = 0
	//	IPv6: Addr[0..1] = source, Addr[2..3] = destination
	//	Meta = source port<<48 | destination port<<32 | protocol<<8 | family (4, 6)
	Addr [4]uint64
	Meta uint64

	DstMAC     uint64 // destination MAC as a 48-bit number
	Seq        uint32 // TCP
	Ack        uint32 // TCP
	Window     uint16 // TCP, unscaled
	PayloadLen uint16 // after the transport header; of UDP by its own length field
	L3         uint16 // IP header or ARP packet; also the size of the link header
	L4         uint16 // transport header
	Payload    uint16 // first byte after the transport header; TCP options are [L4+20, Payload)
	End        uint16 // end of the IP packet
	Padding    uint16 // bytes of the frame behind End
	VLAN       uint16 // 802.1Q id; 0 for an untagged or a priority-tagged frame

	Class    Class
	TTL      uint8 // or hop limit
	Flags    uint8 // TCP
	Type     uint8 // ICMP
	Code     uint8 // ICMP
	DontFrag bool  // IPv4 DF; true for every IPv6 packet

	// Quote is the packet inside an ICMP error.
	Quote Quote
}

// Quote is the head of the packet that an ICMP error is about. Addr and Meta are its own tuple, as it was sent: it went the
// opposite way to the error that brings it. Info.Against gives the tuple of packets that go the error's way.
type Quote struct {
	Addr [4]uint64
	Meta uint64
	L3   uint16
	L4   uint16
}

// Family is 4 or 6; 0 for ARP.
func (i *Info) Family() uint8 { return uint8(i.Meta) }

// Proto is the IP protocol number.
func (i *Info) Proto() uint8 { return uint8(i.Meta >> 8) }

// SrcPort is the source port in host order.
func (i *Info) SrcPort() uint16 { return uint16(i.Meta >> 48) }

// DstPort is the destination port in host order.
func (i *Info) DstPort() uint16 { return uint16(i.Meta >> 32) }

// Against gives the words of the quoted tuple reversed: the tuple that packets of the quoted flow carry when they go
// the way this error goes. It is the key to look an ICMP error's session up with.
func (i *Info) Against() (addr [4]uint64, meta uint64) {
	q := &i.Quote
	meta = q.Meta&0xffffffff | q.Meta>>48<<32 | q.Meta>>32<<48
	if uint8(meta) == 4 {
		addr[0] = q.Addr[0]>>32 | q.Addr[0]<<32
		return addr, meta
	}
	return [4]uint64{q.Addr[2], q.Addr[3], q.Addr[0], q.Addr[1]}, meta
}

// groupBit is the multicast bit of a MAC in the form of DstMAC; broadcast has it too.
const groupBit = 1 << 40

// ForMAC says whether the frame was sent to mac (by MACWord) or to a group. A switch floods frames that are for others,
// and a node that forwarded those would send everything twice.
func (i *Info) ForMAC(mac uint64) bool { return i.DstMAC == mac || i.DstMAC&groupBit != 0 }

// Unicast says whether the frame was sent to one station.
func (i *Info) Unicast() bool { return i.DstMAC&groupBit == 0 }
