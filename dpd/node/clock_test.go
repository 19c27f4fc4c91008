package node

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/clock"
	"github.com/holdfast-lb/holdfast/dpd/internal/control"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

// kernel is the clocks of the machine of one node: what each is behind, or ahead if it is below 0.
type kernel struct {
	c                *cluster
	mono, boot, real int64
	// passed is what went by for all nodes while one thread was held up.
	passed *atomic.Int64
}

const epoch = 1_700_000_000_000

// kernels gives every node clocks of its own.
func (c *cluster) kernels() (out []*kernel) {
	passed := &atomic.Int64{}
	for _, n := range c.nodes {
		k := &kernel{c: c, passed: passed}
		now := func() int64 { return c.now + passed.Load() }
		n.rewind(clock.New(epoch+c.now, func() int64 { return now() - k.mono }, func() int64 { return now() - k.boot }).Read)
		n.real = func() int64 { return epoch + now() - k.real }
		out = append(out, k)
	}
	return out
}

// all lets ms milliseconds pass for every node, with its watcher.
func (c *cluster) all(ms int64) {
	for end := c.now + ms; c.now < end; {
		c.run(20)
		for _, n := range c.nodes {
			if !c.paused[n] {
				c.watch(n)
			}
		}
	}
}

// still stops the machine of node i; suspended: a clock goes on.
func (c *cluster) still(i int, k *kernel, ms int64, suspended bool) {
	c.paused[c.nodes[i]] = true
	c.all(ms)
	delete(c.paused, c.nodes[i])
	if k.mono += ms; !suspended {
		k.boot, k.real = k.boot+ms, k.real+ms
	}
}

// opens is how many of 10 clients a node lets in.
func (c *cluster) opens(i int) uint64 {
	c.onlyVia(i)
	before := c.sum(c.nodes[i], "opened")
	for k := range 10 {
		c.client.Send(dpdtest.TCP(clientAddr(false, uint16(10_000+10*(c.now%5_000)+int64(k))), vipOf(false)).Flags(packet.SYN))
	}
	c.run(5)
	return c.sum(c.nodes[i], "opened") - before
}

// clocked is a cluster of three with clocks, whose first node has connections.
func clocked(t *testing.T) (*cluster, []*kernel, []*dpdtest.Conn) {
	c := newCluster(t, 1, 1, 2, 1)
	k := c.kernels()
	c.echo()
	c.show()
	c.warm()
	c.all(500)
	c.onlyVia(0)
	conns := c.dial(8)
	c.all(500)
	return c, k, conns
}

// mustBeWell checks that nothing is left of any trouble.
func (c *cluster) mustBeWell(when string, conns []*dpdtest.Conn) {
	c.t.Helper()
	c.all(6_000) // the last offset of the median clock may be a second old, and the guard waits for five
	stale := make([]uint64, len(c.nodes))
	for i, n := range c.nodes {
		stale[i] = c.syncCounts(n)["sync_stale"]
	}
	for i, n := range c.nodes {
		if s := n.Status(); s.ClockOff || s.State != control.StateAdmitted {
			c.t.Errorf("%s: node %d: clock off %v, state %d", when, i, s.ClockOff, s.State)
		}
		if o := c.opens(i); o != 10 {
			c.t.Errorf("%s: node %d opens %d of 10", when, i, o)
		}
		for _, p := range n.Status().Peers {
			if !p.DigestEqual || p.ClockOffsetMS > 400 || p.ClockOffsetMS < -400 || p.Suspected {
				c.t.Errorf("%s: node %d of its peer: %+v", when, i, p)
			}
		}
		c.onlyVia(i)
		c.talk(conns, 600)
	}
	c.all(6_000)
	for i, n := range c.nodes {
		if d := c.syncCounts(n)["sync_stale"] - stale[i]; d != 0 {
			c.t.Errorf("%s: node %d refused %d datagrams as stale", when, i, d)
		}
		if i > 0 {
			c.equal(c.nodes[0], n)
		}
		c.birthsInTime(when, n)
	}
}

// birthsInTime checks that no session was born in the future.
func (c *cluster) birthsInTime(when string, n *Node) {
	c.t.Helper()
	for _, s := range c.sessions(n) {
		if ahead := int64(s.Birth>>16) - (epoch + c.now); ahead > 500 {
			c.t.Fatalf("%s: node %s has a session that is born %d ms ahead", when, n.cfg.Node.Name, ahead)
		}
	}
}

func TestASuspendedNodeIsAZombieUntilItIsAnsweredAndThenWell(t *testing.T) {
	c, k, conns := clocked(t)
	c.onlyVia(1)
	c.still(0, k[0], 6_000, true)
	c.nodes[1].loop.SetLoss(1, newRand())
	c.nodes[2].loop.SetLoss(1, newRand())
	c.all(20)
	if o := c.opens(0); o != 0 {
		t.Errorf("%d sessions opened before anybody answered", o)
	}
	if c.sum(c.nodes[0], "pauses") == 0 {
		t.Error("no worker noticed")
	}
	c.nodes[1].loop.SetLoss(0, newRand())
	c.nodes[2].loop.SetLoss(0, newRand())
	c.all(300)
	if o := c.opens(0); o != 10 {
		t.Errorf("%d of 10 sessions opened 0.3 s after the peers answer", o)
	}
	for range 50 {
		if c.all(20); c.nodes[0].Status().ClockOff {
			t.Fatal("the clock is off")
		}
	}
	c.mustBeWell("after a suspension", conns)
}

func TestAStoppedVirtualMachineIsWellOnceItsClockIsSet(t *testing.T) {
	c, k, conns := clocked(t)
	c.onlyVia(1)
	c.still(0, k[0], 6_000, false)
	c.all(300)
	c.onlyVia(1)
	var more []*dpdtest.Conn
	for i := range 8 {
		more = append(more, c.client.Dial(clientAddr(i%2 == 1, uint16(5000+i)), vipOf(i%2 == 1)))
	}
	c.all(1_500)
	c.onlyVia(0) // it knows what was opened elsewhere
	c.talk(append(more, conns...), 600)
	if s := c.nodes[0].Status(); !s.ClockOff || c.opens(0) != 0 {
		t.Errorf("clock off: %v", s.ClockOff)
	}
	c.all(10_000)
	k[0].real = 0 // NTP
	c.all(40)
	for _, w := range c.nodes[0].workers {
		if w.Resumed() == 0 {
			t.Error("a worker does not know that its node may have stood still")
		}
	}
	c.all(2_000)
	c.mustBeWell("after a stop", conns)
}

func TestAStepOfOneWallClockAndBackLeavesNothing(t *testing.T) {
	for _, step := range []int64{3_600_000, -3_600_000, 300} {
		t.Run((time.Duration(step) * time.Millisecond).String(), func(t *testing.T) {
			c, k, conns := clocked(t)
			c.mustBeWell("before", conns)
			k[0].real = -step
			c.all(1_000)
			for range 100 {
				c.all(100)
				if s := c.nodes[0].Status(); s.ClockOff || s.State != control.StateAdmitted {
					t.Fatalf("clock off %v, state %d", s.ClockOff, s.State)
				}
			}
			c.mustBeWell("while the clock is wrong", conns)
			k[0].real = 0
			c.all(1_000)
			c.mustBeWell("after it was put right", conns)
			if a := c.nodes[0].walling.Ahead(); a != 0 {
				t.Errorf("wall time is %d ms ahead of node time", a)
			}
			if off := c.syncCounts(c.nodes[1])["sync_suspicions"]; off != 0 {
				t.Errorf("suspected %d times", off)
			}
		})
	}
}

// The machine's clock runs too fast or too slow by 500 in a million, and NTP steps its realtime.
func TestADriftOfAnHourIsFollowed(t *testing.T) {
	for ppm, seconds := range map[int64]int64{500: 3_600, -500: 900} {
		t.Run(fmt.Sprint(ppm), func(t *testing.T) {
			c, k, conns := clocked(t)
			stale := c.syncCounts(c.nodes[1])["sync_stale"]
			for s := range seconds {
				k[0].mono, k[0].boot = -s*ppm/1_000, -s*ppm/1_000
				k[0].real = -s % 64 * ppm / 1_000
				c.rest(1_000)
				for _, n := range c.nodes {
					c.watch(n)
				}
				if c.nodes[0].Status().ClockOff {
					t.Fatalf("off after %d s", s)
				}
			}
			if d := c.syncCounts(c.nodes[1])["sync_stale"] - stale; d != 0 {
				t.Errorf("%d datagrams are stale", d)
			}
			for _, x := range conns {
				if x.Err() != nil {
					t.Error(x.Err())
				}
			}
			c.mustBeWell("after an hour", nil)
			if a, want := c.nodes[0].walling.Ahead(), -seconds*ppm/1_000; a > want+200 || a < want-200 {
				t.Errorf("wall time is %d ms ahead of node time, want about %d", a, want)
			}
		})
	}
}

// Two of three machines stood on one host: those that are right are the fewer.
func TestMostNodesStoodStillTogether(t *testing.T) {
	c, k, conns := clocked(t)
	c.onlyVia(0)
	c.paused[c.nodes[2]] = true
	c.still(1, k[1], 6_000, false)
	delete(c.paused, c.nodes[2])
	*k[2] = *k[1]
	c.all(10_000)
	k[1].real, k[2].real = 0, 0
	c.all(2_000)
	c.mustBeWell("after the stop", conns)
}

func TestAWatcherThatIsHeldUpBetweenTwoClocksSeesNoPause(t *testing.T) {
	c, k, conns := clocked(t)
	n := c.nodes[0]
	former, held := n.real, int64(0)
	n.real = func() int64 {
		k[0].passed.Add(held)
		return former()
	}
	held = 1_200
	c.watch(n)
	held = 0
	for _, x := range c.nodes {
		c.watch(x)
	}
	if n.walling.stalls != 0 || n.walling.Ahead() != 0 {
		t.Errorf("%d pauses, wall time %d ms ahead", n.walling.stalls, n.walling.Ahead())
	}
	c.mustBeWell("after", conns)
}

func TestThisMachineHasAClockThatGoesOnWhileItIsSuspended(t *testing.T) {
	c := newClock()
	if boottime() <= 0 {
		t.Error("no boottime")
	}
	tick, now := c.Read()
	for range 1_000 {
		next, later := c.Read()
		if later < now || int64(next-tick) != later-now {
			t.Fatalf("%d ticks and %d ms passed", next-tick, later-now)
		}
		tick, now = next, later
	}
}
