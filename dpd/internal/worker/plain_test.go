package worker_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
)

// TestTheShortWayForwardsAsTheLongOneDoes sends the same packets, good ones, odd ones and broken ones, through a worker that takes the
// short way where it can and one that never does. What comes out, in what order, and what is counted must be the same.
func TestTheShortWayForwardsAsTheLongOneDoes(t *testing.T) {
	var out [2][][]byte
	var counts [2][stat.NumCounters]uint64
	for way := range out {
		c := newCourse(t, 2000, 100)
		if way == 1 {
			c.Worker.LongWay()
		}
		rnd := rand.New(rand.NewPCG(4, 2))
		for range 20 {
			c.Lap()
			if _, err := c.FeedBy(func(data []byte) { out[way] = append(out[way], bytes.Clone(data)) }, func(data []byte) { spoil(rnd, data) }); err != nil {
				t.Fatal(err)
			}
		}
		c.Publish()
		for n := range counts[way] {
			counts[way][n] = c.Counter(stat.Counter(n))
		}
	}
	if len(out[0]) < 10_000 || len(out[0]) != len(out[1]) {
		t.Fatalf("%d and %d packets came out", len(out[0]), len(out[1]))
	}
	for i := range out[0] {
		forgetPort(out[0][i])
		forgetPort(out[1][i])
		if !bytes.Equal(out[0][i], out[1][i]) {
			t.Fatalf("packet %d:\nshort %x\nlong  %x", i, out[0][i], out[1][i])
		}
	}
	for _, n := range []stat.Counter{stat.Hits, stat.DropTTL, stat.DropNoSession, stat.DropNotForUs, stat.DropNoService} {
		if counts[0][n] != counts[1][n] {
			t.Errorf("%v: %d and %d", n, counts[0][n], counts[1][n])
		}
	}
	if counts[0][stat.Hits] < 5000 {
		t.Errorf("%d hits", counts[0][stat.Hits])
	}
}

// forgetPort makes packets to servers equal that differ in the local port, which each run draws anew.
func forgetPort(data []byte) {
	if data[packet.EthernetSize+12] == 10 { // from a local address
		clear(data[packet.EthernetSize+packet.IPv4Size:][:2])
		packet.TCP(data[packet.EthernetSize+packet.IPv4Size:]).SetChecksum(0)
	}
}

// spoil makes one packet in two something else than data of an open connection, mostly with sums that are still right.
func spoil(rnd *rand.Rand, data []byte) {
	ip := data[packet.EthernetSize:]
	tcp := packet.TCP(ip[packet.IPv4Size:])
	switch rnd.IntN(16) {
	case 0:
		tcp[13] = packet.FIN | packet.ACK
	case 1:
		tcp[13] = packet.RST
	case 2:
		tcp[13] = packet.SYN
	case 3:
		ip[8] = uint8(rnd.IntN(3)) // TTL
		resum(ip)
	case 4:
		ip[rnd.IntN(packet.IPv4Size)] ^= 1 << rnd.IntN(8)
	case 5:
		data[rnd.IntN(6)] ^= 1 << rnd.IntN(8) // another station
	case 6:
		binary.BigEndian.PutUint32(tcp[4:], rnd.Uint32())
	case 7:
		binary.BigEndian.PutUint32(tcp[8:], rnd.Uint32())
	}
}

func resum(ip []byte) {
	h := packet.IPv4(ip[:packet.IPv4Size])
	h.SetChecksum(0)
	var sum uint32
	for i := 0; i < packet.IPv4Size; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(h[i:]))
	}
	h.SetChecksum(^uint16(sum + sum>>16))
}
