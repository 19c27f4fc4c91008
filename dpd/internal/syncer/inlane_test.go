package syncer

import (
	"math/rand/v2"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// laneModel is what an inLane stands for: which counters up to the highest are missing.
type laneModel struct {
	high    uint64
	missing map[uint64]bool
}

func (m *laneModel) exist(c uint64) {
	for ; m.high < c; m.high++ {
		m.missing[m.high+1] = true
	}
}

func (m *laneModel) contiguous() uint64 {
	for c := range m.high {
		if m.missing[c+1] {
			return c
		}
	}
	return m.high
}

func TestALaneKnowsWhichCountersAreMissing(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var l inLane
		m := laneModel{missing: map[uint64]bool{}}
		for step := range 300 {
			switch rng.IntN(6) {
			case 0, 1:
				l.got(1, l.high+1)
				m.high++
			case 2:
				c := l.high + 1 + rng.Uint64N(4)
				l.got(1, c)
				m.exist(c)
				delete(m.missing, c)
			case 3:
				c := 1 + rng.Uint64N(l.high+1)
				l.got(1, c)
				m.exist(c)
				delete(m.missing, c)
			case 4:
				c := rng.Uint64N(l.high + 3)
				l.missing(1, c)
				m.exist(c)
			default:
				from := 1 + rng.Uint64N(l.high+1)
				to := from + rng.Uint64N(5)
				l.fill(from, to)
				for c := from; c <= to; c++ {
					delete(m.missing, c)
				}
			}
			n, last := 0, uint64(0)
			for _, h := range l.holes {
				if h.from <= last || h.to < h.from {
					t.Fatalf("seed %d, step %d: holes %+v", seed, step, l.holes)
				}
				last = h.to
				for c := h.from; c <= h.to; c++ {
					if n++; !m.missing[c] {
						t.Fatalf("seed %d, step %d: %d is not missing", seed, step, c)
					}
				}
			}
			if n != len(m.missing) || l.high != m.high || l.contiguous() != m.contiguous() || l.lost {
				t.Fatalf("seed %d, step %d: %d missing, want %d; up to %d of %d, want %d of %d", seed, step, n, len(m.missing),
					l.contiguous(), l.high, m.contiguous(), m.high)
			}
		}
	}
}

// What is missing is asked for after 5 ms and thrice, 50 ms apart; then it is given up.
func TestWhenMissingDatagramsAreAskedFor(t *testing.T) {
	var l inLane
	l.missing(0, 2)
	l.got(3, 5) // 3 and 4 later
	asked := map[uint64][]int64{}
	for now := range int64(300) {
		var g syncwire.Gap
		l.ask(now, &g)
		for _, r := range g.Range[:g.N] {
			asked[r.From] = append(asked[r.From], now)
		}
	}
	for from, want := range map[uint64]int64{1: 5, 3: 8} {
		at := asked[from]
		if len(at) != 3 || at[0] != want || at[1] != want+50 || at[2] != want+100 {
			t.Errorf("%d was asked for at %v, want %d and each 50 ms", from, at, want)
		}
	}
	if !l.lost || len(l.holes) != 0 || l.contiguous() != 5 {
		t.Errorf("given up %v, holes %+v", l.lost, l.holes)
	}
}

func TestALaneKeepsSoManyHolesAndNoMore(t *testing.T) {
	var l inLane
	for c := uint64(2); c <= 2*maxHoles; c += 2 {
		l.got(0, c)
	}
	if len(l.holes) != maxHoles || l.lost {
		t.Fatalf("%d holes, lost %v", len(l.holes), l.lost)
	}
	l.got(0, 2*maxHoles+2)
	if len(l.holes) != maxHoles || !l.lost || l.holes[0].from != 3 {
		t.Errorf("%d holes from %d, lost %v", len(l.holes), l.holes[0].from, l.lost)
	}
	// One that splits is cut short, at the cost of its front.
	l = inLane{}
	l.missing(0, 100)
	for c := uint64(102); len(l.holes) < maxHoles; c += 2 {
		l.got(0, c)
	}
	l.fill(50, 50)
	if len(l.holes) != maxHoles || !l.lost || l.holes[0].from != 51 || l.holes[0].to != 100 {
		t.Errorf("%d holes, the first %+v, lost %v", len(l.holes), l.holes[0], l.lost)
	}
	// No more than a GAP holds is asked for at a time, the oldest first.
	var g syncwire.Gap
	if l.ask(10, &g); g.N != syncwire.GapMax || g.Range[0].From != 51 {
		t.Errorf("%d ranges from %d", g.N, g.Range[0].From)
	}
	if l.ask(10, &g); g.N != syncwire.GapMax || g.Range[0].From == 51 {
		t.Errorf("then %d ranges from %d", g.N, g.Range[0].From)
	}
}
