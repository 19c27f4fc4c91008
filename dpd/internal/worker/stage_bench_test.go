package worker

import (
	"math/rand/v2"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/neigh"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

// BenchmarkStage is two stages of the short way, with all that they touch in the first cache, beside their forms in Go.
func BenchmarkStage(b *testing.B) {
	const n = 16 // few, for all to be in the first cache
	rnd := rand.New(rand.NewPCG(1, 1))
	frames := make([][]byte, n)
	for i := range frames {
		frames[i] = plainFrame(rnd)
	}
	pkt := packets(frames)
	var said [n]conntrack.Plain
	gate, from := packet.GateOf(packet.MACWord(station)), [n]uint8{}
	doors := [256]packet.Door{packet.DoorOf(packet.MACWord(station))}
	tx := make([]port.Batch, 1)
	// As in a data plane: two networks and a default route.
	routes := []neigh.Route4{{Mask: ^uint32(0)}, {Mask: ^uint32(0)}, {Hop: &neigh.Hop{Plain: neigh.PlainHop{MTU: 1500}}}}
	var slots [routeSlots]routeSlot4
	for _, row := range []struct {
		name string
		do   func() int
	}{
		{"note/by=machine", func() int { return note(&pkt[0], n, gate, &said[0]) }},
		{"note/by=go", func() int { return noteGo(pkt, from[:], &doors, said[:]) }},
		{"rewrite/by=machine", func() int { return rewrite(&pkt[0], &said[0], n, routes, &slots[0], tx) }},
		{"rewrite/by=go", func() int { return rewriteGo(pkt, said[:], routes, &slots, tx) }},
	} {
		b.Run(row.name, func(b *testing.B) {
			if !wide && row.name == "note/by=machine" {
				b.Skip("this processor takes the form in Go")
			}
			b.ReportAllocs()
			for b.Loop() {
				tx[0].N = 0
				if done := row.do(); done != n {
					b.Fatalf("%d of %d", done, n)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/packet")
		})
	}
}
