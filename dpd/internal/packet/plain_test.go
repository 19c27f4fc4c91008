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
		addr, meta, ok := Plain(frame, MACWord(mac))
		if ok != want {
			t.Fatalf("%x: plain %v, Parse says %v %+v", frame, ok, why, info)
		}
		if !ok {
			continue
		}
		plain++
		seq, ack, payload, window, total := PlainSegment(frame)
		if addr != info.Addr[0] || meta != info.Meta || seq != info.Seq || ack != info.Ack || payload != uint32(info.PayloadLen) ||
			window != info.Window || total != int(info.End-info.L3) {
			t.Fatalf("%x:\nplain %x %x %d %d %d %d %d\nParse %+v", frame, addr, meta, seq, ack, payload, window, total, info)
		}
	}
	if plain < 50_000 {
		t.Errorf("only %d frames were plain", plain)
	}
}

func TestPlainAllocatesNothing(t *testing.T) {
	frame := make([]byte, PlainSize)
	PutEthernet(frame, [6]byte{2, 1}, [6]byte{2, 2}, 0, EtherTypeIPv4)
	PutIPv4(frame[EthernetSize:], ProtoTCP, 64, 0x0a0000010a000002, TCPSize)
	PutTCP(frame[EthernetSize+IPv4Size:], 1, 2, 3, ACK, 4)
	if n := testing.AllocsPerRun(100, func() {
		if _, _, ok := Plain(frame, MACWord([6]byte{2, 1})); !ok {
			t.Fatal("not plain")
		}
		PlainSegment(frame)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
