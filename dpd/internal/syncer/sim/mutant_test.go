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
	{"unbounded clock skew", syncer.UnboundedSkew, "a clock that is an hour ahead does not take the others along"},
	{"bulk of own records only", syncer.BulkOwnOnly, "a joiner gets what nobody owns with the stock"},
	{"no fencing by a higher HELLO", syncer.NoFence, "a HELLO of a new life orphans what the former owned before a view says so"},
	{"reply-only not on the wire", syncer.ReplyOnlyLocal, "a joiner knows a superseded session for one"},
	{"the loser of a tuple is not told", syncer.SilentLoser, "a member that missed a CLOSE learns of it from digests"},
	{"lost datagrams are not asked for", syncer.NoGap, "lost datagrams are sent again within 200 ms"},
	{"bits of the newer version alone", syncer.BitsOfNewer, "what passed here is not forgotten for a newer version"},
	{"last-seen of the newer version", syncer.IdleOfNewer, "who adopts a session does not age it by what it saw itself"},
	{"an aged orphan is not adopted", syncer.AgedStayOrphans, "what aged is forgotten in time although its owner is gone"},
	{"a revival in the same term", syncer.ReviveInTerm, "a revival needs no second word"},
	{"two FINs close", syncer.CloseUnacked, "a FIN that nobody acknowledged may come again"},
	{"thaw by any echo", syncer.ThawByAnyEcho, "who stood still opens nothing before it is answered"},
	{"an older view is taken", syncer.AnyView, "a view that comes late brings nobody back"},
}

func TestEachMutantIsKilledByItsRun(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			for seed := uint64(1); seed <= 5; seed++ {
				if w := scenarios[m.by].run(seed, m.off); w.broken != "" {
					t.Logf("seed %d: %s", seed, w.broken)
					return
				}
			}
			t.Errorf("survives %q", m.by)
		})
	}
}

func TestEveryRuleHasItsMutant(t *testing.T) {
	var all syncer.Rules
	for _, m := range mutants {
		all |= m.off
	}
	if want := syncer.AnyView<<1 - 1; all != want { // AnyView is the last rule
		t.Errorf("no mutant switches off rules %x", want&^all)
	}
}
