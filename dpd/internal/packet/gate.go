package packet

// Gate says of each byte of a plain frame (see PlainFrame) which bits count and between what they must lie, for processors that compare many
// bytes at once. What it does not say: that the source is not 127.0.0.0/8, and what OddLength and OddSum say of lengths and the checksum.
type Gate struct{ Mask, Low, High [64]byte }

// GateOf is the gate of the station with this MACWord.
func GateOf(mac uint64) *Gate {
	g := new(Gate)
	set := func(at int, mask, low, high byte) { g.Mask[at], g.Low[at], g.High[at] = mask, low, high }
	for i := range 6 {
		b := byte(mac >> (40 - 8*i))
		set(i, 0xff, b, b)
	}
	set(ethType, 0xff, EtherTypeIPv4>>8, EtherTypeIPv4>>8)
	set(ethType+1, 0xff, EtherTypeIPv4&0xff, EtherTypeIPv4&0xff)
	set(EthernetSize, 0xff, 0x45, 0x45)
	set(plainFrag, 0x3f, 0, 0) // more fragments, and the offset; not "don't fragment"
	set(plainFrag+1, 0xff, 0, 0)
	set(plainTTL, 0xff, 2, 255)
	set(plainTTL+1, 0xff, ProtoTCP, ProtoTCP)
	set(plainSrc, 0xff, 1, 223)
	set(plainOff, 0xf0, TCPSize/4<<4, 0xf0)
	set(plainOff+1, SYN|FIN|RST|ACK, ACK, ACK)
	return g
}
