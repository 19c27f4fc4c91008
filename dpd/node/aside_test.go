package node

import (
	"context"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/control"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// A joiner whose sync datagrams reach nobody is put aside, and no peer can tell it so.
func TestANodeThatTheViewCallsOverIsFencedAndJoinsAgain(t *testing.T) {
	c := newCluster(t, 1, 1, 1)
	c.show()
	c.add(2, 1, 1)
	late := c.nodes[2]
	c.states[late] = control.Joining
	late.loop.SetLoss(1, newRand())
	c.show()
	view := late.Status().View
	m := c.membership(2)
	m.View++
	m.Members = m.Members[:2]
	m.Fenced = []flow.Node{c.life(2)}
	c.apply(func(ctx context.Context) error {
		if changed, err := late.ApplyMembership(ctx, m); err != nil || !changed {
			t.Errorf("changed %v, %v", changed, err)
		}
		return nil
	})
	if s := late.Status(); s.State != control.StateFenced || s.View != view {
		t.Fatalf("state %d, view %d", s.State, s.View)
	}
	select {
	case l := <-late.rejoin:
		if l != c.life(2) {
			t.Errorf("%v is to join again", l)
		}
	default:
		t.Fatal("nobody is told to join again")
	}
	c.apply(func(ctx context.Context) error {
		if changed, err := late.ApplyMembership(ctx, m); err != nil || changed {
			t.Errorf("told again: changed %v, %v", changed, err)
		}
		return nil
	})
	// The next life is another one.
	c.incs[2]++
	late.loop.SetLoss(0, newRand())
	c.show()
	if s := late.Status().State; s != control.StateJoining && s != control.StateReady {
		t.Fatalf("state %d", s)
	}
}

// What the coordinator lets pass must pass here too: a member that gave nothing would keep the node out for ever.
func TestAJoinerGoesOnWhenTheCoordinatorAcceptsItsStock(t *testing.T) {
	c := newCluster(t, 1, 1, 1)
	c.show()
	c.add(2, 1, 1)
	late := c.nodes[2]
	c.states[late] = control.Joining
	for _, n := range c.nodes {
		n.loop.SetLoss(1, newRand())
	}
	c.show()
	lacks := c.unmet(late)
	if len(lacks) != 2 || lacks[0] != control.ConditionHello || lacks[1] != control.ConditionStock {
		t.Fatalf("lacks %v", lacks)
	}
	m := c.membership(2)
	m.View++
	m.StockAccepted = true
	c.apply(func(ctx context.Context) error { _, err := late.ApplyMembership(ctx, m); return err })
	if lacks := c.unmet(late); len(lacks) != 0 || late.Status().State != control.StateReady {
		t.Fatalf("lacks %v, state %d", lacks, late.Status().State)
	}
}
