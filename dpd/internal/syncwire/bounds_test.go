package syncwire_test

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// TestAllModesAndStatesTravel holds the codec's bounds to the words of package flow, which it doesn't import.
func TestAllModesAndStatesTravel(t *testing.T) {
	b := syncwire.NewBuilder(1, 1)
	try := func(mode flow.Mode, state flow.State) syncwire.Outcome {
		b.Reset(make([]byte, 1400), syncwire.LaneLive, 1, 1)
		k := syncwire.Key{Meta: flow.ProtoTCP<<8 | flow.IPv4}
		return b.Message(&syncwire.Message{Kind: syncwire.KindSession, Rec: syncwire.Record{
			Orig: k, Reply: k, Mode: uint8(mode), State: uint8(state),
		}})
	}
	for mode := flow.FullNAT; mode <= flow.Tunnel; mode++ {
		for state := range flow.NumStates {
			if o := try(mode, state); o != syncwire.Added {
				t.Errorf("mode %d, state %d: outcome %d", mode, state, o)
			}
		}
	}
	for _, o := range []syncwire.Outcome{try(0, 0), try(flow.Tunnel+1, 0), try(flow.FullNAT, flow.NumStates)} {
		if o != syncwire.Invalid {
			t.Errorf("outcome %d", o)
		}
	}
}
