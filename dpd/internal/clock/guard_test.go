package clock

import (
	"math/rand/v2"
	"testing"
)

func TestTheMedianClockIsOneThatANodeHas(t *testing.T) {
	for _, row := range []struct {
		name    string
		offsets []int64
		want    int64
	}{
		{"alone", nil, 0},
		{"one peer far ahead", []int64{900}, 0},
		{"one peer far behind", []int64{-900}, 0},
		{"all others agree with each other", []int64{-900, -910}, -900},
		{"one of two is off", []int64{3, 900}, 3},
		{"the one in the middle", []int64{-900, 900}, 0},
		{"two against two", []int64{0, 900, 900}, 0},
		{"three against one", []int64{880, 900, 910}, 880},
		{"four against one", []int64{-700, -800, -900, -1000}, -800},
	} {
		if got := Median(row.offsets); got != row.want {
			t.Errorf("%s: %d, want %d", row.name, got, row.want)
		}
	}
	// Whatever the clocks show, somebody may open sessions.
	rnd := rand.New(rand.NewPCG(3, 4)).Float64
	for range 2000 {
		clocks := make([]int64, 1+int(rnd()*7))
		for i := range clocks {
			clocks[i] = int64(rnd() * 5000)
		}
		well := 0
		for i, mine := range clocks {
			var offsets []int64
			for j, other := range clocks {
				if i != j {
					offsets = append(offsets, other-mine)
				}
			}
			if m := Median(offsets); m <= offMS && m >= -offMS {
				well++
			}
		}
		if well == 0 {
			t.Fatalf("no node of %v opens sessions", clocks)
		}
	}
}

func TestTheVerdictOnAClockNeedsTimeBothWays(t *testing.T) {
	type look struct {
		at, median int64
		off        bool
	}
	for _, row := range []struct {
		name  string
		looks []look
	}{
		{"off for a second", []look{{1000, 501, false}, {1999, -700, false}, {2000, 501, true}}},
		{"just not off", []look{{1000, 500, false}, {9000, -500, false}}},
		{"off for moments", []look{{1000, 900, false}, {1900, 500, false}, {2000, 900, false}, {2999, 900, false}, {3000, 900, true}}},
		{"back after five seconds", []look{{1000, 900, false}, {2000, 900, true}, {2100, 399, true}, {7099, -399, true}, {7100, 0, false}}},
		{"between the limits it stays", []look{{1000, 900, false}, {2000, 900, true}, {3000, 400, true}, {9000, 450, true}}},
		{"a relapse begins the wait anew", []look{{1000, 900, false}, {2000, 900, true}, {2100, 0, true}, {6000, 401, true}, {6100, 0, true}, {11_099, 0, true}, {11_100, 0, false}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var g Guard
			for i, l := range row.looks {
				was := g.Off
				if changed := g.Step(l.at, l.median); g.Off != l.off || changed != (was != g.Off) {
					t.Errorf("look %d: off %v, changed %v", i, g.Off, changed)
				}
			}
		})
	}
}
