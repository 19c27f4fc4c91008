package worker

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

func TestFactsForTheOwner(t *testing.T) {
	seg := func(flags uint8) *conntrack.Segment { return &conntrack.Segment{Flags: flags, Seq: 1000, Payload: 10} }
	for name, c := range map[string]struct {
		seg  *conntrack.Segment
		dir  flow.Direction
		o    conntrack.Outcome
		want syncer.Packet
	}{
		"a datagram":                   {nil, flow.Out, conntrack.Foreign, syncer.Packet{Dir: flow.Out, Alive: true}},
		"data":                         {seg(conntrack.ACK), flow.In, conntrack.Foreign, syncer.Packet{Alive: true}},
		"a SYN-ACK":                    {seg(conntrack.SYN | conntrack.ACK), flow.Out, 0, syncer.Packet{Dir: flow.Out, Hint: syncwire.HintSynAck}},
		"the client's SYN":             {seg(conntrack.SYN), flow.In, 0, syncer.Packet{}},
		"the ACK that ends handshakes": {seg(conntrack.ACK), flow.In, conntrack.HandshakeDone, syncer.Packet{Hint: syncwire.HintAck, Alive: true}},
		"a FIN with data":              {seg(conntrack.FIN | conntrack.ACK), flow.In, conntrack.Ending, syncer.Packet{Hint: syncwire.HintFin, Seq: 1011}},
		"a FIN that isn't believed":    {seg(conntrack.FIN | conntrack.ACK), flow.In, conntrack.Doubted, syncer.Packet{}},
		"a FIN that acknowledges the other": {
			seg(conntrack.FIN | conntrack.ACK), flow.Out, conntrack.BitsChanged | conntrack.FinAcked,
			syncer.Packet{Dir: flow.Out, Hint: syncwire.HintFin | syncwire.HintFinAcked, Seq: 1011},
		},
		"the last ACK":              {seg(conntrack.ACK), flow.Out, conntrack.FinAcked, syncer.Packet{Dir: flow.Out, Hint: syncwire.HintFinAcked, Alive: true}},
		"a RST":                     {seg(conntrack.RST), flow.Out, conntrack.Closed, syncer.Packet{Dir: flow.Out, Hint: syncwire.HintRst}},
		"a RST that isn't believed": {seg(conntrack.RST), flow.Out, conntrack.Doubted, syncer.Packet{Dir: flow.Out}},
	} {
		if got := Facts(c.seg, c.dir, c.o); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
