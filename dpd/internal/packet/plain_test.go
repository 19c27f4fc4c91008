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
