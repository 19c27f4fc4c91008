package sim

import (
	"flag"
	"testing"
)

var (
	runs  = flag.Int("sim.runs", 0, "how many seeds of each kind to run; 0: a few")
	from  = flag.Uint64("sim.seed", 1, "first seed")
	tail  = flag.Int("sim.tail", 150, "how many lines of trace a failure prints")
	shows = flag.Bool("sim.trace", false, "print the trace of every run")
)

// kinds are the mixtures of trouble that are run.
var kinds = map[string]options{
	"quiet network":      {nodes: 3, clients: 8, est: 120, chaos: 20_000, actions: 6, net: net{delay: 2}},
	"lossy network":      {nodes: 3, clients: 8, est: 120, chaos: 20_000, actions: 6, skew: 200, net: net{loss: 0.05, dup: 0.05, late: 0.1, delay: 4}},
	"bad network":        {nodes: 4, clients: 8, est: 120, chaos: 20_000, actions: 8, skew: 200, cuts: true, net: net{loss: 0.3, dup: 0.1, late: 0.25, delay: 8}},
	"crashes":            {nodes: 4, clients: 10, est: 120, chaos: 30_000, actions: 6, skew: 200, crashes: true, net: net{loss: 0.02, dup: 0.02, late: 0.05, delay: 3}},
	"crashes, restarts":  {nodes: 4, clients: 10, est: 120, chaos: 40_000, actions: 6, skew: 200, crashes: true, restarts: true, cuts: true, net: net{loss: 0.1, dup: 0.05, late: 0.1, delay: 4}},
	"short timeouts":     {nodes: 3, drain: true, clients: 8, est: 12, chaos: 40_000, actions: 6, skew: 200, cuts: true, net: net{loss: 0.1, dup: 0.05, late: 0.1, delay: 4}},
	"everything at once": {nodes: 4, drain: true, clients: 12, est: 15, chaos: 60_000, actions: 8, skew: 300, crashes: true, restarts: true, cuts: true, net: net{loss: 0.15, dup: 0.05, late: 0.15, delay: 6}},
	"pauses":             {nodes: 4, clients: 10, est: 30, chaos: 40_000, actions: 6, drain: true, skew: 100, pauses: true, net: net{loss: 0.05, dup: 0.05, late: 0.1, delay: 4}},
	"pauses and crashes": {nodes: 4, clients: 10, est: 60, chaos: 40_000, actions: 6, skew: 100, pauses: true, crashes: true, restarts: true, cuts: true, net: net{loss: 0.1, dup: 0.05, late: 0.1, delay: 4}},
	"pauses, renewed":    {nodes: 4, clients: 10, est: 60, chaos: 40_000, actions: 6, skew: 100, pauses: true, renews: true, cuts: true, net: net{loss: 0.1, dup: 0.05, late: 0.1, delay: 4}},
	"strangers": {nodes: 4, clients: 10, est: 60, chaos: 20_000, actions: 6, skew: 100, hostile: true, crashes: true, restarts: true, cuts: true,
		net: net{loss: 0.05, dup: 0.05, late: 0.1, delay: 4}},
	"keys rotate": {nodes: 4, clients: 10, est: 60, chaos: 20_000, actions: 6, skew: 100, rotates: true, crashes: true, restarts: true, pauses: true,
		net: net{loss: 0.05, dup: 0.05, late: 0.1, delay: 4}},
	"small rings": {nodes: 4, clients: 10, est: 60, chaos: 20_000, actions: 8, skew: 100, rings: 1024, stalls: true,
		net: net{loss: 0.05, dup: 0.05, late: 0.1, delay: 4}},
	"full tables": {nodes: 3, clients: 24, est: 15, chaos: 15_000, actions: 25, capacity: 7, drain: true,
		net: net{loss: 0.05, dup: 0.05, late: 0.1, delay: 4}},
	"rough clients": {nodes: 3, clients: 10, est: 60, chaos: 20_000, actions: 8, skew: 100, rough: 0.1, crashes: true, restarts: true,
		net: net{loss: 0.05, dup: 0.05, late: 0.1, delay: 4}},
	"clocks":              {nodes: 4, clients: 10, est: 30, chaos: 40_000, actions: 6, drain: true, skew: 100, clocks: true, net: net{loss: 0.05, dup: 0.05, late: 0.1, delay: 4}},
	"clocks and all else": {nodes: 4, clients: 10, est: 60, chaos: 40_000, actions: 6, skew: 100, clocks: true, pauses: true, crashes: true, restarts: true, cuts: true, net: net{loss: 0.1, dup: 0.05, late: 0.1, delay: 4}},
	"long cuts": {nodes: 4, clients: 8, est: 30, chaos: 40_000, actions: 8, drain: true, cuts: true, longCuts: true,
		net: net{loss: 0.1, dup: 0.05, late: 0.1, delay: 4}},
	"two nodes, restarts": {nodes: 2, clients: 8, est: 60, chaos: 40_000, actions: 6, skew: 100, crashes: true, restarts: true, net: net{loss: 0.05, dup: 0.05, late: 0.1, delay: 4}},
}

func TestInvariantsHoldUnderTrouble(t *testing.T) {
	n := *runs
	if n == 0 {
		n = seedsPerKind
	}
	for name, opt := range kinds {
		t.Run(name, func(t *testing.T) {
			for i := range n {
				seed := *from + uint64(i)
				w := mustHold(t, seed, opt)
				if *shows {
					t.Log("\n" + w.tail(1<<20))
				}
				if i < 2 {
					t.Logf("seed %d: %+v", seed, w.total)
				}
			}
		})
	}
}

func TestASeedReplaysARun(t *testing.T) {
	opt := kinds["crashes, restarts"]
	opt.chaos = 10_000
	a, b := simulate(5, opt), simulate(5, opt)
	if x, y := a.tail(1<<20), b.tail(1<<20); x != y {
		t.Fatalf("two runs of one seed differ:\n%s\n\n%s", x, y)
	}
}
