package node

import (
	"context"
	"testing"
	"time"

	"github.com/holdfast-lb/holdfast/dpd/internal/control"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncloop"
)

// recount lets a node count its blocks and read what peers told, as it does each second. The pause after a long pass is skipped: it is
// measured by the machine's clock, not by the test's.
func (c *cluster) recount(i int) {
	n := c.nodes[i]
	n.mu.Lock()
	n.nextUse = time.Time{}
	n.mu.Unlock()
	c.apply(func(ctx context.Context) error { n.countUse(ctx); return nil })
}

// told is what node i relays of another one's word about a block, after that one had the time to tell it.
func (c *cluster) told(i, of int, block uint32) (u control.RelayedUse, ok bool) {
	c.recount(of)
	c.run(1100)
	c.recount(i)
	for _, x := range c.nodes[i].Status().Relayed {
		if x.Member == c.life(of) && x.ID == block {
			u, ok = x, true
		}
	}
	return u, ok
}

// own is what node i itself says that it holds of a block.
func (c *cluster) own(i int, block uint32) (u control.BlockUse) {
	c.recount(i)
	for _, x := range c.nodes[i].Status().Blocks {
		if x.ID == block {
			u = x
		}
	}
	return u
}

// waits is three nodes; the third, which opened all sessions, died and left the view. From now on the coordinator does not reach the
// second.
func waits(t *testing.T) (c *cluster, close func()) {
	c = newCluster(t, 1, 1, 2, 1)
	c.echo()
	c.show()
	c.warm()
	c.onlyVia(2)
	conns := c.dial(12)
	c.talk(conns, 300)
	c.kill(2)
	c.onlyVia(0)
	c.run(400)
	c.show()
	c.deaf[c.nodes[1]] = true
	return c, func() {
		for _, k := range conns {
			k.Close()
		}
		c.run(2000)
		for i, k := range conns {
			if k.Err() != nil {
				t.Errorf("connection %d: %v", i, k.Err())
			}
		}
	}
}

func TestAPeerRelaysWhatAMemberHoldsOfADeadNodesBlock(t *testing.T) {
	c, shut := waits(t)
	dead := c.life(2)
	u, ok := c.told(0, 1, 3)
	if own := c.own(1, 3); !ok || u.Holder != dead || u.Records != own.Records || u.Records < 12 || u.AgeMS > 2000 {
		t.Fatalf("%+v (%v), it holds %+v", u, ok, own)
	}
	if u.FencedMS < 1 || u.FencedMS > 5000 {
		t.Errorf("fenced for %d ms", u.FencedMS)
	}
	for _, x := range c.nodes[0].Status().Relayed {
		if x.ID != 3 || x.Member != c.life(1) {
			t.Errorf("relayed of a block that does not wait: %+v", x)
		}
	}
	shut()
	if u, ok = c.told(0, 1, 3); !ok || u.Records+u.Tombstones == 0 {
		t.Errorf("while all close: %+v (%v)", u, ok)
	}
	for _, n := range c.nodes[:2] {
		c.forget(n) // stands for the time in which they do
	}
	c.rest(3000)
	if u, ok = c.told(0, 1, 3); !ok || u.Records != 0 || u.Tombstones != 0 || u.Holder != dead || u.FencedMS < 5000 {
		t.Errorf("with nothing left: %+v (%v)", u, ok)
	}
	if own := c.own(0, 3); own.Records != 0 || own.Tombstones != 0 {
		t.Errorf("the other holds %+v", own)
	}
}

func TestAMemberWithoutViewsTellsOfALifeThatItFencedItself(t *testing.T) {
	c := newCluster(t, 1, 1, 1, 1)
	c.echo()
	c.show()
	c.warm()
	c.onlyVia(2)
	c.talk(c.dial(4), 300)
	dead := c.life(2)
	c.deaf[c.nodes[1]] = true
	c.kill(2)
	c.onlyVia(0)
	c.run(400)
	c.show()
	if u, ok := c.told(0, 1, 3); ok {
		t.Fatalf("it told of a block whose holder is in its view and not fenced: %+v", u)
	}
	c.restart(2, 1, 1)
	c.holder[2] = 1 // for the node that comes back there is another one
	c.states[c.nodes[2]] = control.Joining
	c.show()
	c.run(1500) // it says HELLO to all members
	u, ok := c.told(0, 1, 3)
	if !ok || u.Holder != dead || u.FencedMS < 1000 || u.Records == 0 {
		t.Errorf("%+v (%v)", u, ok)
	}
}

func TestAWordThatIsNotRepeatedIsNotRelayedForLong(t *testing.T) {
	for _, row := range []struct {
		name string
		stop func(c *cluster)
	}{
		{"nobody counts any more", func(*cluster) {}},
		{"it is silent", func(c *cluster) { c.paused[c.nodes[1]] = true }},
		{"its datagrams are lost", func(c *cluster) { c.nodes[1].loop.SetLoss(1, newRand()) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, _ := waits(t)
			if _, ok := c.told(0, 1, 3); !ok {
				t.Fatal("nothing was told")
			}
			row.stop(c)
			c.rest(13_000) // telling goes on for 2 s after a count
			c.recount(0)
			if got := c.nodes[0].Status().Relayed; len(got) != 0 {
				t.Errorf("%+v", got)
			}
			c.apply(func(ctx context.Context) error {
				return c.nodes[0].loop.Do(ctx, func(l *syncloop.Loop) {
					if l.Sync().Count[syncer.SyncUseAged] == 0 {
						t.Error("not counted")
					}
				})
			})
		})
	}
}

func TestAStatusDropsARelayedWordThatIsTooOld(t *testing.T) {
	c := newCluster(t, 1, 1)
	c.show()
	n := c.nodes[0]
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen.heard = time.Now()
	n.seen.relayed = []control.RelayedUse{{ID: 1, AgeMS: 10_001}, {ID: 2, AgeMS: 100}}
	var s control.Status
	n.useStatus(&s)
	if len(s.Relayed) != 1 || s.Relayed[0].ID != 2 || s.Relayed[0].AgeMS < 100 {
		t.Errorf("%+v", s.Relayed)
	}
}

func TestFates(t *testing.T) {
	me, dead := flow.Node{ID: 1, Inc: 1}, flow.Node{ID: 9, Inc: 5}
	for _, row := range []struct {
		name  string
		block control.Block
		fence flow.Node // by the view
		want  flow.Node
		aged  bool
	}{
		{"a block that nobody holds or held", control.Block{}, dead, flow.Node{}, false},
		{"a member's block", control.Block{Holder: me}, dead, flow.Node{}, false},
		{"a member's block that it got before its former holder's sessions were gone", control.Block{Holder: me, Former: dead}, dead, flow.Node{}, false},
		{"a block of a life that is no member, not fenced", control.Block{Holder: dead}, flow.Node{}, dead, false},
		{"a block of a life that is no member, fenced by the view", control.Block{Holder: dead}, dead, dead, true},
		{"a block that waits for a life, fenced by the view", control.Block{Former: dead}, dead, dead, true},
		{"a block that waits for a life, a later one of which is fenced", control.Block{Former: dead}, flow.Node{ID: 9, Inc: 6}, dead, true},
		{"a block that waits for a life, an earlier one of which is fenced", control.Block{Former: dead}, flow.Node{ID: 9, Inc: 4}, dead, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newCluster(t, 1, 1)
			c.show()
			n := c.nodes[0]
			n.mu.Lock()
			n.fencedAt = map[flow.Node]time.Time{row.fence: time.Now().Add(-time.Minute)}
			n.mu.Unlock()
			c.apply(func(ctx context.Context) error {
				f, _, err := n.fates(ctx, []control.Block{row.block}, map[flow.Node]bool{me: true})
				if err == nil && (f[0].life != row.want || row.aged != (f[0].fenced >= 60_000)) {
					t.Errorf("%+v", f[0])
				}
				return err
			})
		})
	}
}
