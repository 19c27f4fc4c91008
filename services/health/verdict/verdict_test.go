package verdict

import (
	"math/rand/v2"
	"testing"
)

func TestObserve(t *testing.T) {
	for _, c := range []struct {
		name    string
		start   Verdict
		results string // + is a success, - a failure
		want    State
		changes int
	}{
		{"nothing yet", Verdict{}, "", Unknown, 0},
		{"one success of two", Verdict{}, "+", Unknown, 0},
		{"two successes", Verdict{}, "++", Up, 1},
		{"two failures of three", Verdict{}, "--", Unknown, 0},
		{"three failures", Verdict{}, "---", Down, 1},
		{"failures with a success between", Verdict{}, "--+--", Unknown, 0},
		{"up stays up through two failures", Verdict{State: Up}, "--+--+", Up, 0},
		{"up goes down at the third", Verdict{State: Up}, "---", Down, 1},
		{"down stays down through single successes", Verdict{State: Down}, "+-+-+", Down, 0},
		{"down comes up at the second", Verdict{State: Down}, "-++", Up, 1},
		{"there and back", Verdict{}, "++---++", Up, 3},
	} {
		v, changes := c.start, 0
		for _, r := range c.results {
			if v.Observe(r == '+', Rule{Rise: 2, Fall: 3}) {
				changes++
			}
		}
		if v.State != c.want || changes != c.changes {
			t.Errorf("%s: state %d after %d changes", c.name, v.State, changes)
		}
	}
}

func TestARuleOfZeroIsARuleOfOne(t *testing.T) {
	var v Verdict
	if !v.Observe(false, Rule{}) || v.State != Down {
		t.Fatalf("%+v", v)
	}
}

// TestAgainstTheWholeHistory compares with a model that looks at all results each time.
func TestAgainstTheWholeHistory(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		rule := Rule{Rise: 1 + r.Uint32N(4), Fall: 1 + r.Uint32N(4)}
		var v Verdict
		var history []bool
		want := Unknown
		for range 60 {
			good := r.IntN(3) > 0
			history = append(history, good)
			run := uint32(0)
			for i := len(history) - 1; i >= 0 && history[i] == good; i-- {
				run++
			}
			if good && run >= rule.Rise {
				want = Up
			}
			if !good && run >= rule.Fall {
				want = Down
			}
			v.Observe(good, rule)
			if v.State != want || v.Streak != run || v.Good != good {
				t.Fatalf("%+v after %v under %+v, want %d", v, history, rule, want)
			}
		}
	}
}
