package node

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/holdfast-lb/holdfast/dpd/internal/control"
)

func TestADrainedNodeLosesNoPacket(t *testing.T) {
	c := newCluster(t, 1, 2, 1, 2)
	c.echo()
	c.show()
	c.warm()
	n := c.nodes[0]
	c.onlyVia(0)
	conns := c.dial(24)
	c.talk(conns, 200)
	c.apply(func(context.Context) error { return n.Drain(60_000) })
	if s := n.Status().State; s != control.StateDraining {
		t.Fatalf("state %d", s)
	}
	refused := c.sum(n, "drop_not_allocating")
	k := c.client.Dial(clientAddr(false, 9000), vipOf(false))
	c.talk(conns, 200) // what it has goes on
	if k.Established() || c.sum(n, "drop_not_allocating") == refused {
		t.Error("a draining node opened a session")
	}
	c.states[n] = control.Draining
	c.show()
	c.watch(n)
	if s := n.Status().State; s != control.StateDraining {
		t.Errorf("the view ended the drain: state %d", s)
	}
	c.to = byPort(2)
	c.talk(conns, 500)
	c.onlyVia(1)
	c.talk(conns, 500)
	c.out[n] = true
	c.show()
	c.kill(0)
	c.talk(conns, 500)
	c.run(3000)
	if !k.Established() {
		t.Error("the connection that the draining node refused found no other")
	}
	for i, x := range conns {
		if x.Repeats() > 0 {
			t.Errorf("connection %d repeated %d times", i, x.Repeats())
		}
		if s := c.only(c.nodes[1], uint16(4000+i)); s.Owner.ID == 1 {
			t.Errorf("%s is still the drained node's", s.Orig)
		}
	}
}

func TestADrainThatAThreadDoesNotHearIsNoDrain(t *testing.T) {
	c := newCluster(t, 1, 2)
	c.echo()
	c.show()
	c.warm()
	n := c.nodes[0]
	c.stuck[n.workers[1]] = true
	began := time.Now()
	c.apply(func(context.Context) error {
		if err := n.Drain(0); !errors.Is(err, control.ErrBusy) {
			t.Errorf("got %v", err)
		}
		return nil
	})
	if d := time.Since(began); d > 3*attendTimeout {
		t.Errorf("refused after %v", d)
	}
	clear(c.stuck)
	if s := n.Status().State; s != control.StateAdmitted {
		t.Errorf("state %d", s)
	}
	c.talk(c.dial(8), 200)
}
