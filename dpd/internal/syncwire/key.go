package syncwire

import "encoding/binary"

func (k *Key) family() uint8   { return uint8(k.Meta) }
func (k *Key) proto() uint8    { return uint8(k.Meta >> 8) }
func (k *Key) srcPort() uint16 { return uint16(k.Meta >> 48) }
func (k *Key) dstPort() uint16 { return uint16(k.Meta >> 32) }

// valid says whether the key is one that the wire can carry without loss.
func (k *Key) valid() bool {
	if k.Meta&0xffff0000 != 0 {
		return false
	}
	switch k.family() {
	case 4:
		return k.Addr[1]|k.Addr[2]|k.Addr[3] == 0
	case 6:
		return true
	}
	return false
}

// src and dst are the addresses as two words, IPv4 in the upper half of the first.
func (k *Key) src() (hi, lo uint64) {
	if k.family() == 4 {
		return k.Addr[0] &^ 0xffffffff, 0
	}
	return k.Addr[0], k.Addr[1]
}

func (k *Key) dst() (hi, lo uint64) {
	if k.family() == 4 {
		return k.Addr[0] << 32, 0
	}
	return k.Addr[2], k.Addr[3]
}

// keyMax is the length of the longest key on the wire.
const keyMax = 2 + 2*(16+2)

// appendKey writes family, protocol, source address and port, destination address and port.
func appendKey(b []byte, k *Key) []byte {
	f := k.family()
	b = append(b, f, k.proto())
	hi, lo := k.src()
	b = appendAddr(b, f, hi, lo)
	b = binary.LittleEndian.AppendUint16(b, k.srcPort())
	hi, lo = k.dst()
	b = appendAddr(b, f, hi, lo)
	return binary.LittleEndian.AppendUint16(b, k.dstPort())
}

// key reads what appendKey wrote; it assigns every field of k.
func (r *reader) key(k *Key) {
	f, proto := r.u8(), r.u8()
	shi, slo := r.addr(f)
	sport := r.u16()
	dhi, dlo := r.addr(f)
	dport := r.u16()
	*k = makeKey(f, shi, slo, dhi, dlo, uint64(sport)<<48|uint64(dport)<<32|uint64(proto)<<8|uint64(f))
}

// makeKey joins two addresses, in the form of src and dst, under a Meta word.
func makeKey(family uint8, shi, slo, dhi, dlo, meta uint64) Key {
	if family == 4 {
		return Key{Addr: [4]uint64{shi | dhi>>32}, Meta: meta}
	}
	return Key{Addr: [4]uint64{shi, slo, dhi, dlo}, Meta: meta}
}
