package node

import (
	"context"
	"testing"
)

// One name given twice made Prometheus refuse the whole answer.
func TestEveryMetricIsGivenOnce(t *testing.T) {
	c := newCluster(t, 1, 2)
	c.show()
	c.apply(func(context.Context) error {
		families, err := c.nodes[0].server.reg.Gather()
		if len(families) < 3 {
			t.Errorf("%d families", len(families))
		}
		return err
	})
}
