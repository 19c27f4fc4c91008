package node

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/control"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

// knock sends n SYNs from ports of their own.
func (c *cluster) knock(n int) {
	for i := range n {
		c.client.Send(dpdtest.TCP(clientAddr(false, uint16(20_000+i)), vipOf(false)).Flags(packet.SYN))
	}
}

func TestPacketsFromBeforeAStandStillAreDropped(t *testing.T) {
	for _, row := range []struct {
		name  string
		still int64 // milliseconds
		stale uint64
	}{
		{"a second and more", 1100, 300},
		{"a moment", 900, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newCluster(t, 2, 2, 1)
			c.echo()
			c.show()
			c.warm()
			n := c.nodes[0]
			opened := c.sum(n, "opened")
			for _, w := range n.workers {
				c.stuck[w] = true
			}
			c.knock(300)
			c.run(row.still)
			clear(c.stuck)
			c.run(20)
			stale, more := c.sum(n, "drop_stale"), c.sum(n, "opened")-opened
			if stale < row.stale || row.stale == 0 && stale > 0 {
				t.Errorf("%d stale packets were dropped, want %d", stale, row.stale)
			}
			if want := 300 - row.stale; more != want {
				t.Errorf("%d sessions were opened, want %d", more, want)
			}
			before := c.sum(n, "drop_stale")
			c.run(1100) // thawed
			c.talk(c.dial(8), 200)
			if d := c.sum(n, "drop_stale") - before; d != 0 {
				t.Errorf("%d fresh packets were dropped as stale", d)
			}
		})
	}
}

func TestPacketsFromBeforeTheAdmissionOpenNothing(t *testing.T) {
	c := newCluster(t, 1, 1, 1)
	c.echo()
	n := c.nodes[0]
	c.states[n] = control.Joining
	c.show()
	c.warm()
	c.onlyVia(0)
	refused, opened := c.sum(n, "drop_not_allocating"), c.sum(n, "opened")
	knocked, q := 0, n.dev.(*memory).port
	c.meanwhile = func() { // until the queue was emptied at once, by more than a turn takes
		if w := q.Waiting(0); knocked == 0 || w > 0 {
			c.knock(1000 - w)
			knocked += 1000 - w
		}
	}
	c.states[n] = control.Admitted
	c.show()
	c.meanwhile = nil
	stale, more := c.sum(n, "drop_stale"), c.sum(n, "opened")-opened
	refused = c.sum(n, "drop_not_allocating") - refused
	if stale == 0 || more != 0 || stale+refused < uint64(knocked) {
		t.Errorf("%d stale, %d refused before, %d sessions opened", stale, refused, more)
	}
	c.talk(c.dial(8), 200)
	for _, s := range []control.MemberState{control.Degraded, control.Admitted} { // it serves all the while
		c.knock(900)
		c.states[n] = s
		c.show()
	}
	if d := c.sum(n, "drop_stale") - stale; d != 0 {
		t.Errorf("%d packets dropped without an admission", d)
	}
}
