package node

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/control"
)

// A node whose routes were not known yet heard nobody, took that for their death after 300 ms, and was let in without a
// single session.
func TestAJoinerThatNobodyReachesYetIsNotReady(t *testing.T) {
	c := newCluster(t, 1, 1, 1)
	c.echo()
	c.show()
	c.warm()
	c.to = byPort(2)
	conns := c.dial(8)
	c.talk(conns, 300)
	c.add(2, 1, 1)
	late := c.nodes[2]
	c.states[late] = control.Joining
	for _, n := range c.nodes {
		n.loop.SetLoss(1, newRand())
	}
	c.show()
	c.run(1500) // five times the silence that makes a suspicion
	if got := c.unmet(late); len(got) == 0 || late.Status().State != control.StateJoining {
		t.Fatalf("ready without having heard anyone: state %d", late.Status().State)
	}
	for _, n := range c.nodes {
		n.loop.SetLoss(0, newRand())
	}
	c.run(500)
	c.stock(2)
	c.run(500)
	if got := c.unmet(late); len(got) != 0 || late.Status().State != control.StateReady {
		t.Errorf("not ready once the routes stand: %v, state %d", got, late.Status().State)
	}
	c.talk(conns, 300)
}
