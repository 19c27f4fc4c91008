package node

import (
	"fmt"
	"slices"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/control"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

func TestANodeWhoseClockIsOffOpensNothing(t *testing.T) {
	for _, row := range []struct {
		nodes int
		skew  int64 // of the last node's clock
		off   bool
	}{{3, -900, true}, {3, 900, true}, {3, -450, false}, {2, -900, false}} {
		t.Run(fmt.Sprintf("%d nodes, %d ms", row.nodes, row.skew), func(t *testing.T) {
			c := newCluster(t, 1, slices.Repeat([]int{1}, row.nodes)...)
			n := c.nodes[row.nodes-1]
			skew := row.skew
			n.rewind(func() (uint32, int64) { return firstTick + uint32(c.now), 1_700_000_000_000 + c.now + skew })
			c.echo()
			c.show()
			c.warm()
			all := func(ms int64) {
				for end := c.now + ms; c.now < end; {
					c.run(20)
					for _, x := range c.nodes {
						c.watch(x)
					}
				}
			}
			port := uint16(9000)
			opens := func(x int) uint64 {
				c.onlyVia(x)
				before := c.sum(c.nodes[x], "opened")
				for range 10 {
					port++
					c.client.Send(dpdtest.TCP(clientAddr(false, port), vipOf(false)).Flags(packet.SYN))
				}
				c.run(5)
				return c.sum(c.nodes[x], "opened") - before
			}
			c.onlyVia(0)
			conns := c.dial(8)
			all(1500)
			want := control.StateAdmitted
			if row.off {
				want = control.StateDegraded
			}
			if s := n.Status(); s.ClockOff != row.off || s.State != want {
				t.Errorf("clock off: %v, state %d", s.ClockOff, s.State)
			}
			if o := opens(row.nodes - 1); (o == 0) != row.off {
				t.Errorf("%d of 10 sessions opened", o)
			}
			c.onlyVia(row.nodes - 1)
			c.talk(conns, 600) // what is there, it translates
			for i, x := range c.nodes[:row.nodes-1] {
				if s := x.Status(); s.ClockOff || s.State != control.StateAdmitted || opens(i) != 10 {
					t.Errorf("%s: clock off %v, state %d", x.cfg.Node.Name, s.ClockOff, s.State)
				}
			}
			if !row.off || skew > 0 {
				return // a clock never goes back
			}
			skew = 0
			all(4000)
			if o := opens(row.nodes - 1); o != 0 || !n.Status().ClockOff {
				t.Errorf("%d sessions opened four seconds after the clock was put right", o)
			}
			all(1500)
			if s := n.Status(); s.ClockOff || s.State != control.StateAdmitted || opens(row.nodes-1) != 10 {
				t.Errorf("clock off %v, state %d: does not open sessions again", s.ClockOff, s.State)
			}
		})
	}
}
