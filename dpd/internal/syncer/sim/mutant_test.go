package sim

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
)

// mutants switch single rules off. Each names the scenario that must break then.
var mutants = []struct {
	name string
	off  syncer.Rules
	by   string
}{
	{"no tie break by owner", syncer.NoTieBreak, "two takeovers at once"},
	{"version alone", syncer.NoTerm, "two takeovers at once"},
	{"no refutation", syncer.NoRefute, "an owner that hears nothing ages a flow that is served elsewhere"},
	{"age as a hard delete", syncer.HardAge, "an owner that hears nothing ages a flow that is served elsewhere"},
	{"no orphan adoption", syncer.NoAdopt, "an orphan is adopted and ends"},
	{"owner without incarnation", syncer.NoInc, "a fast restart orphans what the former incarnation owned"},
	{"no digest", syncer.NoDigest, "digests find what messages missed"},
	{"digest of own records only", syncer.DigestOwnOnly, "digests cover what nobody present owns"},
	{"SYN kept on the old birth", syncer.KeepBirthOnSyn, "a SYN on an established session is a new birth"},
	{"CLOSE ordered by term", syncer.CloseByTerm, "a takeover does not undo a CLOSE"},
	{"one clock for birth and takeover", syncer.OneClock, "a takeover does not undo a CLOSE"},
	{"tombstone collected by time alone", syncer.CollectByTime, "a tombstone waits for a member that hears nothing"},
	{"query blind to soft tombstones", syncer.QueryBlindToSoft, "a query finds an aged session"},
	{"the loser of a tuple is not told", syncer.SilentLoser, "a member that missed a CLOSE learns of it from digests"},
	{"lost datagrams are not asked for", syncer.NoGap, "lost datagrams are sent again within 200 ms"},
}

func TestEachMutantIsKilledByItsRun(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			for seed := uint64(1); seed <= 5; seed++ {
				if w := scenarios[m.by].run(seed, m.off); w.broken != "" {
					t.Log(w.broken)
					return
				}
			}
			t.Errorf("survives %q", m.by)
		})
	}
}
