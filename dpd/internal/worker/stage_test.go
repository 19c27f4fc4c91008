package worker

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/checksum"
	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/neigh"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

var station = [6]byte{2, 0, 0xff, 0, 0x7f, 1}

// plainFrame is a plain frame, of random content where that does not matter.
func plainFrame(rnd *rand.Rand) []byte {
	options := 4 * rnd.IntN(4)
	frame := make([]byte, packet.PlainSize+options+rnd.IntN(20))
	at := packet.PutEthernet(frame, station, [6]byte{2, 9}, 0, packet.EtherTypeIPv4)
	ip := frame[at:]
	packet.PutIPv4(ip, packet.ProtoTCP, uint8(2+rnd.IntN(254)), rnd.Uint64()&^(0xff<<56)|uint64(1+rnd.IntN(126))<<56, len(ip)-packet.IPv4Size-rnd.IntN(len(frame)-packet.PlainSize-options+1))
	tcp := packet.TCP(ip[packet.IPv4Size:])
	packet.PutTCP(tcp, rnd.Uint32(), rnd.Uint32(), rnd.Uint32(), packet.ACK|uint8(rnd.IntN(2))*0x28, uint16(rnd.Uint32()))
	tcp[12] = uint8(packet.TCPSize+options) << 2
	tcp.SetChecksum(uint16(rnd.Uint32()))
	return frame
}

// packets puts frames one after the other, each with its last byte before memory that says nothing good.
func packets(frames [][]byte) []port.Packet {
	out := make([]port.Packet, len(frames))
	for i, f := range frames {
		room := append(bytes.Clone(f), bytes.Repeat([]byte{0xff}, 64)...)
		out[i] = port.Packet{Data: room[:len(f):len(f)], Ref: uintptr(i)}
	}
	return out
}

// TestNoteDoesWhatItsFormInGoDoes on plain frames with up to one bit, one byte or the length of some changed, sums right or not.
func TestNoteDoesWhatItsFormInGoDoes(t *testing.T) {
	if !wide {
		t.Skip("this processor takes the form in Go")
	}
	rnd := rand.New(rand.NewPCG(7, 5))
	doors := [256]packet.Door{packet.DoorOf(packet.MACWord(station))}
	gate := packet.GateOf(packet.MACWord(station))
	var from [port.BatchMax]uint8
	noted, stopped := 0, 0
	for range 60_000 {
		frames := make([][]byte, 1+rnd.IntN(5))
		for i := range frames {
			f := plainFrame(rnd)
			switch at := rnd.IntN(packet.PlainSize); rnd.IntN(6) {
			case 0:
				f[at] ^= 1 << rnd.IntN(8)
			case 1:
				f[at] = []byte{0, 1, 0x40, 0x45, 0x4f, 0x50, 0x7f, 0x80, 0xdf, 0xe0, 0xff}[rnd.IntN(11)]
			case 2:
				f = f[:rnd.IntN(len(f))]
			case 3: // the sum carries as far as it can
				ip := f[packet.EthernetSize:]
				ip[4], ip[5] = uint8(32+rnd.IntN(200)), uint8(rnd.Uint32())
				for i := range 4 {
					ip[12+i] = ^ip[4+i]
				}
			}
			if rnd.IntN(4) > 0 && len(f) >= packet.PlainSize {
				h := packet.IPv4(f[packet.EthernetSize:][:packet.IPv4Size])
				h.SetChecksum(0)
				h.SetChecksum(checksum.Of(h))
			}
			frames[i] = f
		}
		pkt := packets(frames)
		var machine, inGo [8]conntrack.Plain
		got := note(&pkt[0], len(pkt), gate, &machine[0])
		want := noteGo(pkt, from[:len(pkt)], &doors, inGo[:len(pkt)])
		if got != want || machine != inGo {
			t.Fatalf("%x\nnoted %d, in Go %d\n%+v\n%+v", frames, got, want, machine, inGo)
		}
		if noted += got; got < len(pkt) {
			stopped++
		}
	}
	if noted < 50_000 || stopped < 10_000 {
		t.Errorf("%d packets were plain, %d runs ended early", noted, stopped)
	}
}

// TestRewriteDoesWhatItsFormInGoDoes: packets with gateways, on-link and without a route; hops with tags, of devices that are not there and with
// small MTUs; full bursts; addresses and sums of all zeros and ones.
func TestRewriteDoesWhatItsFormInGoDoes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 8))
	hop := func() neigh.PlainHop {
		return neigh.PlainHop{Head: rnd.Uint64(), Tail: rnd.Uint64(), MTU: []int32{1500, 1500, 1500, 60, -1, 0}[rnd.IntN(6)], Port: int32(rnd.IntN(20) / 8)}
	}
	extreme := func() uint32 { return []uint32{0, 0xffffffff, 0xffff0000, 0xffff, rnd.Uint32()}[rnd.IntN(5)] }
	var slots [routeSlots]routeSlot4
	tx := [2][]port.Batch{make([]port.Batch, 2), make([]port.Batch, 2)}
	done, stopped := 0, 0
	for range 60_000 {
		var routes []neigh.Route4
		for range rnd.IntN(4) {
			mask := ^uint32(0) << rnd.IntN(33)
			r := neigh.Route4{Mask: mask, Net: extreme() & mask}
			if rnd.IntN(3) > 0 {
				r.Hop = &neigh.Hop{Plain: hop()}
			}
			routes = append(routes, r)
		}
		n := 1 + rnd.IntN(5)
		frames, said := make([][]byte, n), make([]conntrack.Plain, n)
		for i := range frames {
			f := plainFrame(rnd)
			ip := f[packet.EthernetSize:]
			packet.TCP(ip[packet.IPv4Size:]).SetPorts(extreme())
			packet.TCP(ip[packet.IPv4Size:]).SetChecksum(uint16(extreme()) ^ uint16(rnd.IntN(2))<<(8*rnd.IntN(2)))
			said[i] = conntrack.Plain{Addr: uint64(extreme())<<32 | uint64(extreme()), Ports: extreme(), Size: uint16(len(f) - packet.EthernetSize)}
			if rnd.IntN(4) == 0 { // the addresses that it has
				said[i].Addr = binary.BigEndian.Uint64(ip[12:])
			}
			if rnd.IntN(30) == 0 {
				f = f[:packet.PlainSize-1]
			}
			frames[i] = f
			dst := uint32(said[i].Addr)
			switch slot := &slots[slotOf(dst)]; rnd.IntN(8) {
			case 0:
				*slot = routeSlot4{hop(), dst ^ 1}
			case 1:
				*slot = routeSlot4{}
			default:
				*slot = routeSlot4{hop(), dst}
			}
		}
		level := port.BatchMax - rnd.IntN(port.BatchMax)
		var count [2]int
		pkts := [2][]port.Packet{packets(frames), packets(frames)}
		for way := range tx {
			for i := range tx[way] {
				tx[way][i].N = level
			}
			if way == 0 {
				count[way] = rewrite(&pkts[way][0], &said[0], n, routes, &slots[0], tx[way])
			} else {
				count[way] = rewriteGo(pkts[way], said, routes, &slots, tx[way])
			}
		}
		if count[0] != count[1] {
			t.Fatalf("%d of %d, in Go %d; %+v %+v", count[0], n, count[1], said, routes)
		}
		for i := range n {
			if a, b := pkts[0][i].Data, pkts[1][i].Data; !bytes.Equal(a, b) {
				t.Fatalf("packet %d of %d, %+v\n%x, in Go\n%x", i, n, said[i], a, b)
			}
		}
		for i := range tx[0] {
			a, b := &tx[0][i], &tx[1][i]
			same := func(p, q port.Packet) bool {
				return p.Ref == q.Ref && bytes.Equal(p.Data, q.Data) && cap(p.Data) == cap(q.Data)
			}
			if a.N != b.N || !slices.EqualFunc(a.Pkt[level:a.N], b.Pkt[level:b.N], same) {
				t.Fatalf("device %d: %d packets, in Go %d, from %d on", i, a.N, b.N, level)
			}
		}
		if done += count[0]; count[0] < n {
			stopped++
		}
	}
	if done < 30_000 || stopped < 10_000 {
		t.Errorf("%d packets were rewritten, %d runs ended early", done, stopped)
	}
}
