package node

import (
	"fmt"
	"slices"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/control"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

func TestTheMedianClockIsOneThatANodeHas(t *testing.T) {
	for _, row := range []struct {
		name    string
		offsets []int64
		want    int64
	}{
		{"alone", nil, 0},
		{"one peer far ahead", []int64{900}, 0},
		{"one peer far behind", []int64{-900}, 0},
		{"all others agree with each other", []int64{-900, -910}, -900},
		{"one of two is off", []int64{3, 900}, 3},
		{"the one in the middle", []int64{-900, 900}, 0},
		{"two against two", []int64{0, 900, 900}, 0},
		{"three against one", []int64{880, 900, 910}, 880},
		{"four against one", []int64{-700, -800, -900, -1000}, -800},
	} {
		if got := medianClock(row.offsets); got != row.want {
			t.Errorf("%s: %d, want %d", row.name, got, row.want)
		}
	}
	// Whatever the clocks show, somebody may open sessions.
	rnd := newRand()
	for range 2000 {
		clocks := make([]int64, 1+int(rnd()*7))
		for i := range clocks {
			clocks[i] = int64(rnd() * 5000)
		}
		well := 0
		for i, mine := range clocks {
			var offsets []int64
			for j, other := range clocks {
				if i != j {
					offsets = append(offsets, other-mine)
				}
			}
			if m := medianClock(offsets); m <= clockOffMS && m >= -clockOffMS {
				well++
			}
		}
		if well == 0 {
			t.Fatalf("no node of %v opens sessions", clocks)
		}
	}
}

func TestTheVerdictOnAClockNeedsTimeBothWays(t *testing.T) {
	type look struct {
		at, median int64
		off        bool
	}
	for _, row := range []struct {
		name  string
		looks []look
	}{
		{"off for a second", []look{{1000, 501, false}, {1999, -700, false}, {2000, 501, true}}},
		{"just not off", []look{{1000, 500, false}, {9000, -500, false}}},
		{"off for moments", []look{{1000, 900, false}, {1900, 500, false}, {2000, 900, false}, {2999, 900, false}, {3000, 900, true}}},
		{"back after five seconds", []look{{1000, 900, false}, {2000, 900, true}, {2100, 399, true}, {7099, -399, true}, {7100, 0, false}}},
		{"between the limits it stays", []look{{1000, 900, false}, {2000, 900, true}, {3000, 400, true}, {9000, 450, true}}},
		{"a relapse begins the wait anew", []look{{1000, 900, false}, {2000, 900, true}, {2100, 0, true}, {6000, 401, true}, {6100, 0, true}, {11_099, 0, true}, {11_100, 0, false}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var g clockGuard
			for i, l := range row.looks {
				was := g.off
				if changed := g.step(l.at, l.median); g.off != l.off || changed != (was != g.off) {
					t.Errorf("look %d: off %v, changed %v", i, g.off, changed)
				}
			}
		})
	}
}

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
