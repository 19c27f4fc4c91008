package sim

import (
	"sort"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
)

var mutants = map[string]syncer.Rules{
	"no tie break by owner":             syncer.NoTieBreak,
	"version alone":                     syncer.NoTerm,
	"no refutation":                     syncer.NoRefute,
	"no orphan adoption":                syncer.NoAdopt,
	"no digest":                         syncer.NoDigest,
	"digest of own records only":        syncer.DigestOwnOnly,
	"bulk of own records only":          syncer.BulkOwnOnly,
	"owner without incarnation":         syncer.NoInc,
	"age as a hard delete":              syncer.HardAge,
	"SYN kept on the old birth":         syncer.KeepBirthOnSyn,
	"CLOSE ordered by term":             syncer.CloseByTerm,
	"tombstone collected by time alone": syncer.CollectByTime,
	"query blind to soft tombstones":    syncer.QueryBlindToSoft,
	"reply-only not on the wire":        syncer.ReplyOnlyLocal,
	"no fencing by a higher HELLO":      syncer.NoFence,
	"unbounded clock skew":              syncer.UnboundedSkew,
	"one clock for birth and takeover":  syncer.OneClock,
	"the loser of a tuple is not told":  syncer.SilentLoser,
	"lost datagrams are not asked for":  syncer.NoGap,
}

func TestFindMutants(t *testing.T) {
	if *runs == 0 {
		t.Skip()
	}
	var names []string
	for n := range mutants {
		names = append(names, n)
	}
	sort.Strings(names)
	var ks []string
	for k := range kinds {
		ks = append(ks, k)
	}
	sort.Strings(ks)
	for _, n := range names {
		found := 0
		for _, k := range ks {
			for i := range *runs {
				opt := kinds[k]
				opt.off = mutants[n]
				w := simulate(uint64(i+1), opt)
				if w.broken != "" {
					t.Logf("%s: %q seed %d: %s", n, k, i+1, w.broken)
					found++
					break
				}
			}
		}
		if found == 0 {
			t.Logf("%s: SURVIVES", n)
		}
	}
}
