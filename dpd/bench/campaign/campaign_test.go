package campaign

import (
	"flag"
	"maps"
	"slices"
	"testing"
)

var (
	runs  = flag.Int("campaign.runs", 0, "how many seeds of each kind to run; 0: a few")
	from  = flag.Uint64("campaign.seed", 1, "first seed")
	shows = flag.Bool("campaign.trace", false, "print the trace of every run")
)

var good = lossy{loss: 0.01, dup: 0.01, late: 0.02, most: 20}
var bad = lossy{loss: 0.1, dup: 0.05, late: 0.1, most: 60}

// kinds are the mixtures of trouble that are run.
var kinds = map[string]options{
	"quiet": {nodes: 2, workers: 1, room: 512, rings: 1024, rate: 100, chaos: 8_000, moves: 500, net: good, clients: good},
	"kills": {nodes: 3, workers: 1, room: 512, rings: 1024, rate: 60, chaos: 40_000, kills: 6_000, moves: 400, net: good, clients: bad},
	"stops": {nodes: 3, workers: 2, room: 512, rings: 1024, rate: 60, chaos: 30_000, stops: 5_000, threads: 2_000, moves: 400, net: good,
		clients: good},
	"threads": {nodes: 3, workers: 2, room: 512, rings: 1024, rate: 100, chaos: 20_000, threads: 500, moves: 100, net: bad, clients: bad},
	"zombies": {nodes: 3, workers: 1, room: 512, rings: 1024, rate: 100, chaos: 40_000, stops: 5_000, kills: 15_000, moves: 400, net: good,
		clients: bad},
	"few ports": {nodes: 2, workers: 1, room: 512, rings: 1024, ports: 64, rate: 400, chaos: 20_000, threads: 800, cuts: 3_000, moves: 200,
		net: bad, clients: bad},
	"sick joiner": {nodes: 3, workers: 1, room: 512, rings: 1024, rate: 60, chaos: 40_000, kills: 8_000, sick: 1, moves: 400, net: good,
		clients: good},
	"keys, clocks, control": {nodes: 3, workers: 1, room: 512, rings: 1024, rate: 60, chaos: 40_000, kills: 9_000, keys: 12_000, clocks: 9_000,
		control: 6_000, full: 6_000, moves: 400, net: good, clients: bad},
	"cuts": {nodes: 3, workers: 1, room: 512, rings: 1024, rate: 60, chaos: 30_000, cuts: 3_000, moves: 400, net: bad, clients: good},
	"full": {nodes: 2, workers: 2, room: 24, rings: 512, ports: 96, rate: 200, chaos: 20_000, full: 1_000, moves: 400, net: good, clients: bad},
	"all": {nodes: 4, workers: 2, room: 256, rings: 512, rate: 60, chaos: 60_000, kills: 12_000, stops: 9_000, threads: 4_000, cuts: 8_000,
		moves: 500, keys: 15_000, clocks: 20_000, sick: 1, control: 15_000, full: 6_000, net: bad, clients: bad},
}

func TestCampaign(t *testing.T) {
	n := *runs
	if n == 0 {
		n = seedsPerKind
	}
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		t.Run(name, func(t *testing.T) {
			for i := range n {
				seed := *from + uint64(i)
				w := simulate(t, seed, kinds[name], mutant{})
				if *shows || w.broken != "" {
					t.Logf("seed %d of %q:\n%s", seed, name, w.tail())
				}
				if w.broken != "" {
					t.Errorf("seed %d of %q: %s", seed, name, w.broken)
				}
				if i < 2 {
					t.Logf("seed %d: %+v, %d s", seed, w.total, w.now/1000)
				}
			}
		})
	}
}

func TestASeedReplaysARun(t *testing.T) {
	opt := kinds["kills"]
	opt.chaos = 15_000
	a, b := simulate(t, 5, opt, mutant{}), simulate(t, 5, opt, mutant{})
	if !slices.Equal(a.log, b.log) || a.total != b.total {
		t.Fatalf("two runs of one seed differ:\n%s\n\n%s", a.tail(), b.tail())
	}
}
