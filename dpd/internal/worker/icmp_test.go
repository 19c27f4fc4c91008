package worker

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/nat"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
)

func TestEveryRefusalOfARewriteHasAReasonOfItsOwn(t *testing.T) {
	seen := map[stat.Counter]nat.Verdict{}
	for v := nat.Done + 1; v < nat.NumVerdicts; v++ {
		c := untranslated[v]
		if o, ok := seen[c]; ok || c == 0 {
			t.Errorf("%v is counted as %v, as is %v", v, c, o)
		}
		seen[c] = v
	}
}
