package nat_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/nat"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

// TestPlainDoesWhatRewriteDoes: of plain packets, damaged checksums of TCP and those that come to zero included.
func TestPlainDoesWhatRewriteDoes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(8, 8))
	for range 100_000 {
		frame := make([]byte, packet.PlainSize+rnd.IntN(12))
		packet.PutEthernet(frame, [6]byte{2, 1}, [6]byte{2, 2}, 0, packet.EtherTypeIPv4)
		ip := frame[packet.EthernetSize:]
		packet.PutIPv4(ip, packet.ProtoTCP, uint8(2+rnd.IntN(254)), extreme(rnd)&0x7fffffffffffffff|1<<56, len(ip)-packet.IPv4Size)
		tcp := ip[packet.IPv4Size:]
		packet.PutTCP(tcp, uint32(extreme(rnd)), rnd.Uint32(), rnd.Uint32(), packet.ACK, uint16(rnd.Uint32()))
		packet.TCP(tcp).SetChecksum(uint16(extreme(rnd)))
		h := (*packet.PlainFrame)(frame)
		if h.OddHead(packet.DoorOf(packet.MACWord([6]byte{2, 1})))|h.OddLength(len(frame))|h.OddSum() != 0 {
			continue // a source that no packet may have
		}
		to := flow.Key{Addr: [4]uint64{extreme(rnd)}, Meta: extreme(rnd)<<32 | flow.ProtoTCP<<8 | flow.IPv4}
		want := bytes.Clone(frame)
		if v := nat.Rewrite(parse(t, want), want, &to); v != nat.Done {
			t.Fatalf("Rewrite: %v", v)
		}
		got := bytes.Clone(frame)
		h = (*packet.PlainFrame)(got)
		moved := nat.Moved(h, to.Addr[0])
		nat.Network(h, to.Addr[0], moved)
		nat.Transport(h, to.Addr[0], moved, uint32(to.Meta>>32))
		if !bytes.Equal(got, want) {
			t.Fatalf("%x\nto %v\ngot  %x\nwant %x", frame, to, got, want)
		}
	}
}

// extreme is a random word, often of bytes that are all ones or all zeros.
func extreme(rnd *rand.Rand) uint64 {
	v := rnd.Uint64()
	for i := 0; i < 64; i += 8 {
		switch rnd.IntN(4) {
		case 0:
			v |= 0xff << i
		case 1:
			v &^= 0xff << i
		}
	}
	return v
}
