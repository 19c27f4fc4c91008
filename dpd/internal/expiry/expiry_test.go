package expiry

import (
	"math/rand/v2"
	"testing"
)

func TestTicksCompareOverTheWrap(t *testing.T) {
	for _, base := range []Tick{0, 1, 1 << 31, 0xffffffff, 0xfffffff0} {
		for _, ms := range []uint32{1, 1000, Horizon} {
			later := base.Add(ms)
			if !base.Before(later) || later.Before(base) || later.Since(base) != ms || base.Since(later) != 0 || later.Sub(ms) != base {
				t.Errorf("%d and %d ms later", base, ms)
			}
		}
		if base.Before(base) || base.Since(base) != 0 {
			t.Errorf("%d compares with itself", base)
		}
	}
	if Tick(5).Add(0xffffffff) != 5+Horizon || Tick(5).Sub(0xffffffff) != 0xc0000005 {
		t.Error("distances aren't bounded")
	}
}

func TestSpanIsExactWhileSmallAndNeverShort(t *testing.T) {
	for s := range uint32(8192) {
		if SpanOf(s).Seconds() != s {
			t.Fatalf("%d s become %d", s, SpanOf(s).Seconds())
		}
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 100_000 {
		s := rnd.Uint32() >> rnd.UintN(32)
		got := SpanOf(s).Seconds()
		if s >= SpanMax {
			if got != SpanMax {
				t.Fatalf("%d s become %d", s, got)
			}
			continue
		}
		if got < s || got-s > s/2048 {
			t.Fatalf("%d s become %d", s, got)
		}
		if SpanOf(got).Seconds() != got {
			t.Fatalf("%d s aren't stable", got)
		}
	}
	if SpanOf(0).Millis() != 0 || SpanOf(3).Millis() != 3000 || SpanOf(SpanMax).Millis() != Horizon {
		t.Error("milliseconds")
	}
}

func TestJitterLengthensByASixteenthAtMost(t *testing.T) {
	for _, ms := range []uint32{0, 15, 16, 2000, 3_600_000, Horizon, 0xffffffff} {
		lo, hi := uint32(0xffffffff), uint32(0)
		for salt := range uint32(1000) {
			j := Jitter(ms, salt)
			lo, hi = min(lo, j), max(hi, j)
		}
		if ms <= Horizon/2 && (lo < ms || hi > ms+ms/16) || hi > Horizon {
			t.Errorf("%d ms become %d to %d", ms, lo, hi)
		}
		if ms >= 2000 && hi-lo < min(ms, Horizon)/20 {
			t.Errorf("%d ms are spread from %d to %d alone", ms, lo, hi)
		}
	}
}

func TestSweepMeetsEveryEntryOnceARound(t *testing.T) {
	const now = Tick(1000)
	rnd := rand.New(rand.NewPCG(2, 2))
	for _, n := range []int{1, 2, 63, 1000} {
		deadlines := make([]uint32, n)
		due := map[int]int{}
		for i := range deadlines {
			deadlines[i] = []uint32{0, 0xfffffff0, 1, uint32(now), uint32(now) + 1, 1 << 30}[rnd.IntN(6)]
			if d := deadlines[i]; d != 0 && !now.Before(Tick(d)) {
				due[i] = 0
			}
		}
		var s Sweeper
		for looked := 0; looked < n; {
			budget := min(1+rnd.IntN(7), n-looked)
			looked += budget
			for budget > 0 {
				before := budget
				i := s.Next(deadlines, now, &budget)
				if budget >= before {
					t.Fatal("the budget doesn't shrink")
				}
				if i < 0 {
					break
				}
				due[i]++
			}
		}
		for i, times := range due {
			if times != 1 {
				t.Errorf("%d entries: number %d was met %d times", n, i, times)
			}
		}
	}
}

func TestSweepOfNothingEnds(t *testing.T) {
	var s Sweeper
	budget := 10
	if s.Next(nil, 5, &budget) != -1 || budget != 0 {
		t.Error("an empty array is swept")
	}
	budget = 0
	if s.Next([]uint32{1}, 5, &budget) != -1 {
		t.Error("no budget, and an entry")
	}
}

func TestLagIsKept(t *testing.T) {
	var s Sweeper
	s.Late(100, 40)
	s.Late(100, 90)
	if s.Lag != 10 || s.MaxLag != 60 {
		t.Errorf("%+v", s)
	}
	if Stored(0) != 1 || Stored(7) != 7 {
		t.Error("a stored tick must not look unused")
	}
}
