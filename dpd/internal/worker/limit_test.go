package worker

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

func TestErrorsOfOneSessionTakeNothingFromAnother(t *testing.T) {
	for _, start := range []uint32{0, 5000, 0xffff_0000} {
		var m errorMeter
		for h := range flow.Handle(3) {
			n := 0
			for range 1000 {
				if m.take(h+1, start) {
					n++
				}
			}
			if n != errorBurst {
				t.Errorf("session %d got %d at once, from %d on", h, n, start)
			}
		}
		n := 0
		for ms := range uint32(10_000) {
			if m.take(1, start+1+ms) {
				n++
			}
		}
		if want := 10_000 / errorMS; n < want-1 || n > want+1 {
			t.Errorf("%d in 10 s, want %d", n, want)
		}
	}
}
