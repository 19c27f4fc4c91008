package packet

import (
	"math/rand/v2"
	"testing"
)

// TestTheShortWayOfParseAgreesWithTheLongOne: what the short way takes the long one takes too and finds the same in it;
// what the short way refuses it leaves alone.
func TestTheShortWayOfParseAgreesWithTheLongOne(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 3))
	plain := 0
	for range 20_000 {
		frame := make([]byte, plainSize+rnd.IntN(20))
		PutEthernet(frame, [6]byte{2, 1}, [6]byte{2, 2}, 0, EtherTypeIPv4)
		ip := frame[EthernetSize:]
		PutIPv4(ip, ProtoTCP, uint8(rnd.IntN(256)), rnd.Uint64(), len(ip)-IPv4Size+1-rnd.IntN(5))
		PutTCP(ip[IPv4Size:], rnd.Uint32(), rnd.Uint32(), rnd.Uint32(), uint8(rnd.IntN(64))&^uint8(rnd.IntN(8)), uint16(rnd.Uint32()))
		if rnd.IntN(3) == 0 {
			ip[rnd.IntN(IPv4Size+TCPSize)] ^= 1 << rnd.IntN(8)
		} else if rnd.IntN(4) == 0 {
			ip[IPv4Size+tcpOffset] = byte(rnd.IntN(16)) << 4
		}
		var short, long Info
		if !plainTCP4((*[plainSize]byte)(frame), len(frame), &short) {
			if short != (Info{}) {
				t.Fatalf("%x: refused, yet %+v", frame, short)
			}
			continue
		}
		plain++
		if why := parse4(frame, &long, EthernetSize); why != OK {
			t.Fatalf("%x: the long way says %v", frame, why)
		}
		long.L3 = EthernetSize // Parse sets it before
		if short != long {
			t.Fatalf("%x:\nshort %+v\nlong  %+v", frame, short, long)
		}
	}
	if plain < 2000 {
		t.Errorf("only %d frames took the short way", plain)
	}
}

// TestPlainSaysYesToWhatParseFindsPlain: Plain says yes to exactly the packets that Parse finds to be what a plain packet is, and both
// find the same in them.
func TestPlainSaysYesToWhatParseFindsPlain(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 3))
	mac := [6]byte{2, 1}
	plain := 0
	for range 200_000 {
		frame := make([]byte, PlainSize+rnd.IntN(20))
		vlan := uint16(0)
		if rnd.IntN(20) == 0 {
			vlan = uint16(rnd.IntN(5))
		}
		at := PutEthernet(frame, mac, [6]byte{2, 2}, vlan, EtherTypeIPv4)
		ip := frame[at:]
		ttl := uint8(rnd.IntN(4))
		if rnd.IntN(4) > 0 {
			ttl = uint8(rnd.IntN(256))
		}
		flags := uint8(ACK)
		if rnd.IntN(3) == 0 {
			flags = uint8(rnd.IntN(64))
		}
		if len(ip) < IPv4Size+TCPSize {
			ip = append(ip, make([]byte, 4)...)
			frame = append(frame[:at], ip...)
		}
		PutIPv4(ip, ProtoTCP, ttl, rnd.Uint64(), len(ip)-IPv4Size+1-rnd.IntN(4))
		PutTCP(ip[IPv4Size:], rnd.Uint32(), rnd.Uint32(), rnd.Uint32(), flags, uint16(rnd.Uint32()))
		switch rnd.IntN(8) {
		case 0:
			frame[rnd.IntN(PlainSize)] ^= 1 << rnd.IntN(8)
		case 1:
			ip[IPv4Size+tcpOffset] = byte(rnd.IntN(16)) << 4
		case 2:
			frame = frame[:rnd.IntN(len(frame))]
		}
		var info Info
		why := Parse(frame, &info)
		want := why == OK && info.Class == ClassTCP && info.Family() == 4 && info.L3 == EthernetSize && info.L4 == EthernetSize+IPv4Size &&
			info.DstMAC == MACWord(mac) && info.TTL > 1 && info.Flags&(SYN|FIN|RST|ACK) == ACK
		ok := false
		var h *PlainFrame
		if len(frame) >= PlainSize {
			h = (*PlainFrame)(frame)
			ok = h.OddHead(DoorOf(MACWord(mac)))|h.OddLength(len(frame))|h.OddSum() == 0
			if h.OddHead(0) == 0 {
				t.Fatalf("%x came in without a door", frame)
			}
		}
		if ok != want {
			t.Fatalf("%x: plain %v, Parse says %v %+v", frame, ok, why, info)
		}
		if !ok {
			continue
		}
		plain++
		addr, ports := h.Tuple()
		seq, ack, payload, window := h.Segment()
		total := h.Total()
		if addr != info.Addr[0] || ports != uint32(info.Meta>>32) || seq != info.Seq || ack != info.Ack || payload != uint32(info.PayloadLen) ||
			window != info.Window || total != int(info.End-info.L3) {
			t.Fatalf("%x:\nplain %x %x %d %d %d %d %d\nParse %+v", frame, addr, ports, seq, ack, payload, window, total, info)
		}
	}
	if plain < 50_000 {
		t.Errorf("only %d frames were plain", plain)
	}
}
