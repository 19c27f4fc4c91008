package syncseal

import (
	"math/rand/v2"
	"testing"
)

// TestWindowAgainstAMap drives the window and a map of all counters seen with the same random walk.
func TestWindowAgainstAMap(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var w Window
		seen := map[uint64]bool{}
		top := uint64(0)
		for range 20_000 {
			var c uint64
			switch rnd.IntN(10) {
			case 0:
				c = top + rnd.Uint64N(3*WindowLen)
			case 1:
				c = top + rnd.Uint64N(3)
			case 2:
				c = top - min(top, rnd.Uint64N(2*WindowLen))
			case 3:
				c = top - min(top, WindowLen-1+rnd.Uint64N(3)-1)
			default:
				c = top - min(top, rnd.Uint64N(50)) + rnd.Uint64N(20)
			}
			want := Opened
			switch {
			case c == 0 || c+WindowLen <= top:
				want = TooOld
			case seen[c]:
				want = Replayed
			}
			if got := w.Accept(c); got != want {
				t.Fatalf("seed %d: counter %d at top %d: %v, want %v", seed, c, top, got, want)
			}
			if want == Opened {
				seen[c] = true
				top = max(top, c)
			}
		}
	}
}

func TestWindowAtItsEdges(t *testing.T) {
	for _, row := range []struct {
		name string
		in   []uint64
		next uint64
		want Verdict
	}{
		{"zero is no counter", nil, 0, TooOld},
		{"the first", nil, 1, Opened},
		{"the first again", []uint64{1}, 1, Replayed},
		{"the last place of the window", []uint64{WindowLen}, 1, Opened},
		{"one below the window", []uint64{WindowLen + 1}, 1, TooOld},
		{"the last place, seen", []uint64{1, WindowLen}, 1, Replayed},
		{"a jump over the whole ring keeps nothing of it", []uint64{5, 5 + words*wordBits}, 6 + words*wordBits - WindowLen, Opened},
		{"a jump by a ring's length", []uint64{5}, 5 + words*wordBits, Opened},
		{"the greatest number", []uint64{5}, 1<<64 - 1, Opened},
		{"a number near the greatest, later", []uint64{1<<64 - 1}, 1<<64 - 2, Opened},
		{"a small number after the greatest", []uint64{1<<64 - 1}, 7, TooOld},
	} {
		t.Run(row.name, func(t *testing.T) {
			var w Window
			for _, c := range row.in {
				if v := w.Accept(c); v != Opened {
					t.Fatalf("%d: %v", c, v)
				}
			}
			if v := w.Accept(row.next); v != row.want {
				t.Errorf("got %v, want %v", v, row.want)
			}
		})
	}
}
