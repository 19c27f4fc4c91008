package worker_test

import (
	"net/netip"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
)

// A stranger who knows one connection sends errors about it at a rate that would use up what a worker translates.
func TestErrorsAboutOneConnectionLeaveRoomForThoseOfOthers(t *testing.T) {
	r := newFloodRig(t, 1000)
	errors := 0
	r.sent = func(dev int, frame []byte) {
		var info packet.Info
		if packet.Parse(frame, &info) == packet.OK && info.Class == packet.ClassError {
			errors++
		} else if dev == 1 && info.Class == packet.ClassTCP {
			r.toServer = append(r.toServer, info)
		}
	}
	a, b := r.client(flow.ProtoTCP, -1), r.client(flow.ProtoTCP, -1)
	for _, c := range []netip.AddrPort{a, b} {
		if sent := r.send(syn(c, 1)); len(sent) != 1 {
			t.Fatal("no session")
		}
	}
	about := func(c netip.AddrPort) *dpdtest.Frame { // a packet of the VIP did not reach its client
		return dpdtest.ICMPError(dpdtest.Addr("203.0.113.9"), packet.ICMPUnreachable, 1, 0, dpdtest.TCP(rigVIP, c).Flags(packet.ACK).Bytes(), 28)
	}
	for range 100 {
		for range 50 {
			r.in(0, about(a))
		}
		r.run(1)
	}
	errors = 0
	for range 4 {
		r.in(0, about(b))
	}
	r.run(1)
	n := r.counts(0)
	if errors != 4 || n[stat.DropICMPLimited] != 0 || n[stat.DropICMPSession] < 4900 {
		t.Errorf("%d of 4 were translated; dropped %d and %d", errors, n[stat.DropICMPLimited], n[stat.DropICMPSession])
	}
}
