package campaign

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
)

// mutants are faults that a run of a kind must notice within some seeds.
var mutants = []struct {
	name string
	mut  mutant
	kind string
}{
	{"ports are free when their session ends", mutant{portsNow: true}, "few ports"},
	{"the word that a life is over is ignored", mutant{deaf: true}, "zombies"},
	{"no digests", mutant{off: syncer.NoDigest}, "full"},
	{"lost datagrams are not asked for", mutant{off: syncer.NoGap}, "cuts"},
	{"orphans stay orphans", mutant{off: syncer.NoAdopt}, "kills"},
	{"a bulk leaves out orphans", mutant{off: syncer.BulkOwnOnly | syncer.DigestOwnOnly}, "kills"},
	{"the loser of a tuple is not told", mutant{off: syncer.SilentLoser}, "cuts"},
}

func TestEachMutantIsNoticed(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			for seed := uint64(1); seed <= seedsPerMutant; seed++ {
				if w := simulate(t, seed, kinds[m.kind], m.mut); w.broken != "" {
					t.Logf("seed %d: %s", seed, w.broken)
					return
				}
			}
			t.Errorf("survives %q", m.kind)
		})
	}
}
