package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// What a run may show at most, or must show at least.
const (
	leastOpened = 0.9
	mostGrown   = 32 << 20 // bytes
)

// trial is what came of one kind.
type trial struct {
	kind          string
	reached       float64 // packets a second
	lost          int     // established connections that broke
	tried, opened int     // new connections
	memory        int64   // the most that a data plane had at the end, bytes
	reasons       map[string]uint64
	ended         int // data planes that ended
	example       string
}

func (t *trial) share() float64 { return share(t.opened, t.tried) }

func share(n, of int) float64 {
	if of == 0 {
		return 0
	}
	return float64(n) / float64(of)
}

// result is what came of a run.
type result struct {
	rate   int
	trials []trial
	after  trial // a minute later, without a flood
}

// grown is by how many bytes memory grew after the first flood: that one touches what is set aside.
func (r *result) grown() (most int64) {
	for i := range r.trials {
		most = max(most, r.trials[i].memory-r.trials[0].memory)
	}
	return most
}

func (r *result) faults() (list []string) {
	if len(r.trials) < len(kinds) {
		list = append(list, fmt.Sprintf("%d of %d kinds were run", len(r.trials), len(kinds)))
	}
	for i := range r.trials {
		t := &r.trials[i]
		if t.lost > 0 || t.ended > 0 {
			list = append(list, fmt.Sprintf("%s: %d connections lost, %d data planes ended: %s", t.kind, t.lost, t.ended, t.example))
		}
		if t.share() < leastOpened {
			list = append(list, fmt.Sprintf("%s: %d of %d new connections: %s", t.kind, t.opened, t.tried, t.example))
		}
		if len(t.reasons) == 0 {
			list = append(list, t.kind+": nothing was counted")
		}
	}
	if g := r.grown(); g > mostGrown {
		list = append(list, fmt.Sprintf("memory grew by %d MB", g>>20))
	}
	if len(r.trials) == len(kinds) && (r.after.lost > 0 || r.after.share() < 1) {
		list = append(list, fmt.Sprintf("afterwards %d lost, %d of %d new connections: %s", r.after.lost, r.after.opened, r.after.tried, r.after.example))
	}
	return list
}

// row is what one kind came to, for people.
func (t *trial) row() string {
	names := slices.SortedFunc(maps.Keys(t.reasons), func(a, b string) int {
		return cmp.Or(cmp.Compare(t.reasons[b], t.reasons[a]), cmp.Compare(a, b))
	})
	var list []string
	for _, n := range names[:min(len(names), 6)] {
		list = append(list, fmt.Sprintf("%s %d", n, t.reasons[n]))
	}
	return fmt.Sprintf("%-10s %.0f/s, lost %d, opened %d of %d, %d MB; %s", t.kind, t.reached, t.lost, t.opened, t.tried, t.memory>>20, strings.Join(list, ", "))
}

func (r *result) line() string {
	lost, worst, reached := r.after.lost, 1.0, 0.0
	for i := range r.trials {
		t := &r.trials[i]
		lost += t.lost
		worst = min(worst, t.share())
		if reached == 0 || t.reached < reached {
			reached = t.reached
		}
	}
	return fmt.Sprintf("flood: kinds=%d rate=%d reached=%.0f lost=%d opened_worst=%.2f memory_grown_mb=%d after=%.2f",
		len(r.trials), r.rate, reached, lost, worst, r.grown()>>20, r.after.share())
}
