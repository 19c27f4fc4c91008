package node

import (
	"context"
	"testing"
	"time"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/control"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

// watch lets a node look at its links once.
func (c *cluster) watch(n *Node) {
	c.apply(func(ctx context.Context) error { n.links(ctx, time.Now(), false); return nil })
}

// unmet are the conditions of admission that a node lacks.
func (c *cluster) unmet(n *Node) (out []control.ConditionType) {
	c.watch(n)
	for _, x := range n.Status().Conditions {
		if !x.Met {
			out = append(out, x.Type)
		}
	}
	return out
}

// stock lets every other member send what it has to node i.
func (c *cluster) stock(i int) {
	for k, n := range c.nodes {
		if k != i && !c.dead[n] && !c.out[n] {
			c.apply(func(context.Context) error { return n.StartBulk(c.life(i)) })
		}
	}
}

func (c *cluster) onlyVia(i int) { c.to = func(bool, *packet.Info) int { return i } }

func TestALateNodeGetsTheStockIsAdmittedAndCarriesEverything(t *testing.T) {
	c := newCluster(t, 1, 2, 1)
	c.echo()
	c.show()
	c.warm()
	c.to = byPort(2)
	conns := c.dial(40)
	c.talk(conns, 300)
	c.add(2, 3, 2)
	late := c.nodes[2]
	c.states[late] = control.Joining
	c.show()
	if got := c.unmet(late); len(got) == 0 || late.Status().State != control.StateJoining {
		t.Fatalf("ready without stock: state %d", late.Status().State)
	}
	// It opens nothing before it is admitted, but carries what it has.
	c.onlyVia(2)
	early := c.client.Dial(clientAddr(false, 9999), vipOf(false))
	c.run(50)
	if early.Established() || c.sum(late, "drop_not_allocating") == 0 {
		t.Error("a node that is not admitted opened a session")
	}
	c.to = byPort(2)
	c.stock(2)
	c.run(500)
	if got := c.unmet(late); len(got) != 0 || late.Status().State != control.StateReady {
		t.Fatalf("not ready: %v, state %d", got, late.Status().State)
	}
	held := 0
	for _, s := range c.sessions(late) {
		if s.Orig.SrcPort() >= 4000 && s.Orig.SrcPort() < 4040 {
			held++
		}
	}
	if held != len(conns) {
		t.Errorf("the stock holds %d of %d sessions", held, len(conns))
	}
	c.states[late] = control.Admitted
	c.show()
	c.watch(late)
	if s := late.Status().State; s != control.StateAdmitted {
		t.Fatalf("state %d", s)
	}
	c.run(2000)
	if !early.Established() {
		t.Error("the connection that was refused at first does not get through by its repetition")
	}
	c.kill(0)
	c.kill(1)
	c.onlyVia(2)
	c.talk(conns, 1500)
	c.show()
	c.talk(append(conns, early), 500)
	fresh := []*dpdtest.Conn{c.client.Dial(clientAddr(false, 9000), vipOf(false)), c.client.Dial(clientAddr(true, 9001), vipOf(true))}
	c.run(50)
	c.talk(fresh, 200)
}

func TestAFastRestartGoesOnAsANewIncarnation(t *testing.T) {
	for _, row := range []struct {
		name  string
		first bool // the peers hear the new life before the view tells them
		bulk  bool
	}{{"told by the view", false, false}, {"heard before the view", true, false}, {"with the stock", false, true}} {
		t.Run(row.name, func(t *testing.T) {
			c := newCluster(t, 1, 1, 2)
			c.echo()
			c.show()
			c.warm()
			c.onlyVia(0)
			conns := c.dial(16)
			c.talk(conns, 200)
			c.kill(0)
			old := c.life(0)
			c.restart(0, 2, 2)
			if row.first {
				c.deaf[c.nodes[1]] = true
				c.show()
				delete(c.deaf, c.nodes[1])
			}
			c.show()
			c.show()
			if row.bulk {
				c.stock(0)
				c.run(300)
			}
			c.talk(conns, 1500) // through the new life, which asks for what it does not know
			c.rest(6000)
			for _, n := range c.nodes {
				for i := range conns {
					if s := c.only(n, uint16(4000+i)); s.Owner == old {
						t.Errorf("%s on %s is still the former life's", s.Orig, n.cfg.Node.Name)
					}
				}
			}
			c.onlyVia(1)
			c.talk(conns, 500)
			fresh := c.client.Dial(clientAddr(false, 9000), vipOf(false))
			c.onlyVia(0)
			second := c.client.Dial(clientAddr(true, 9001), vipOf(true))
			c.run(100)
			c.talk([]*dpdtest.Conn{fresh, second}, 1000)
		})
	}
}

func TestAZombieIsFencedOpensNothingAndDisturbsNobody(t *testing.T) {
	c := newCluster(t, 1, 2, 1, 1)
	c.echo()
	c.show()
	c.warm()
	zombie := c.nodes[0]
	c.onlyVia(0)
	conns := c.dial(24)
	c.talk(conns, 300)
	c.paused[zombie] = true
	c.to = func(in bool, i *packet.Info) int { return 1 + byPort(2)(in, i) }
	c.talk(conns, 800) // suspected: taken over packet by packet
	c.out[zombie] = true
	c.show()
	c.talk(conns, 800)
	for _, k := range conns[:4] {
		k.Abort()
	}
	c.rest(8000)
	delete(c.paused, zombie)
	c.onlyVia(0)
	refused := c.sum(zombie, "drop_not_allocating")
	for i := range 20 {
		c.client.Send(dpdtest.TCP(clientAddr(false, uint16(9000+i)), vipOf(false)).Flags(packet.SYN))
	}
	c.run(30)
	if d := c.sum(zombie, "drop_not_allocating") - refused; d != 20 {
		t.Errorf("%d of 20 new sessions were refused after the pause", d)
	}
	c.talk(conns[4:], 800) // what it holds, it still translates
	c.run(500)
	c.watch(zombie)
	if s := zombie.Status().State; s != control.StateFenced {
		t.Fatalf("state %d, want fenced", s)
	}
	select {
	case l := <-zombie.rejoin:
		if l != c.life(0) {
			t.Errorf("%v is to join again", l)
		}
	default:
		t.Error("nobody is told to join again")
	}
	opened := c.sum(zombie, "opened")
	for i := range 20 {
		c.client.Send(dpdtest.TCP(clientAddr(false, uint16(9100+i)), vipOf(false)).Flags(packet.SYN))
	}
	c.run(1500)
	if o := c.sum(zombie, "opened") - opened; o != 0 {
		t.Errorf("a fenced node opened %d sessions", o)
	}
	c.to = func(in bool, i *packet.Info) int { return 1 + byPort(2)(in, i) }
	c.talk(conns[4:], 500)
	for _, n := range c.nodes[1:] {
		for i := range conns {
			live := c.live(n, uint16(4000+i))
			if i < 4 && len(live) != 0 {
				t.Errorf("the zombie brought connection %d back to life on %s", i, n.cfg.Node.Name)
			}
			if i >= 4 && (len(live) != 1 || live[0].Owner.ID == 1) {
				t.Errorf("connection %d on %s: %+v", i, n.cfg.Node.Name, live)
			}
		}
	}
	// It joins again as a new incarnation.
	c.incs[0]++
	delete(c.out, zombie)
	c.states[zombie] = control.Joining
	c.show()
	if s := zombie.Status(); s.State == control.StateAdmitted || s.Self != c.life(0) {
		t.Errorf("state %d as %v", s.State, s.Self)
	}
	c.stock(0)
	c.run(500)
	if got := c.unmet(zombie); len(got) != 0 {
		t.Errorf("unmet: %v", got)
	}
	c.states[zombie] = control.Admitted
	c.show()
	c.watch(zombie)
	c.onlyVia(0)
	c.talk(conns[4:], 500)
	fresh := c.client.Dial(clientAddr(false, 9500), vipOf(false))
	c.run(100)
	c.talk([]*dpdtest.Conn{fresh}, 200)
	for i := range 4 {
		if live := c.live(zombie, uint16(4000+i)); len(live) != 0 {
			t.Errorf("connection %d lives on the node that came back", i)
		}
	}
}

func TestAPauseOfANodeThatNobodyMissedOnlyDelaysNewSessions(t *testing.T) {
	c := newCluster(t, 1, 2, 1)
	c.echo()
	c.show()
	c.warm()
	conns := c.dial(8)
	c.talk(conns, 200)
	c.paused[c.nodes[0]] = true
	c.run(1500)
	delete(c.paused, c.nodes[0])
	k := c.client.Dial(clientAddr(false, 9000), vipOf(false))
	c.run(5)
	if k.Established() {
		t.Error("a node that stood still opened a session before anybody confirmed its life")
	}
	for range 10 {
		c.run(20)
		c.watch(c.nodes[0])
	}
	c.run(300)
	if !k.Established() {
		t.Error("the node does not thaw although its peer answers")
	}
	c.talk(append(conns, k), 500)
}

func TestAOneWayPartitionOfSyncBreaksNoConnection(t *testing.T) {
	for from := range 2 {
		c := newCluster(t, 1, 1, 2)
		c.echo()
		c.show()
		c.warm()
		c.to = byPort(2)
		conns := c.dial(16)
		c.talk(conns, 300)
		c.nodes[from].loop.SetLoss(1, func() float64 { return 0 })
		for i := range 5 {
			c.to = byPort(2)
			if i%2 == 1 {
				c.to = func(in bool, p *packet.Info) int { return 1 - byPort(2)(in, p) }
			}
			c.talk(conns, 1000)
		}
		c.nodes[from].loop.SetLoss(0, nil)
		c.rest(12_000)
		want := map[string]flow.Node{}
		for k, n := range c.nodes {
			for i := range conns {
				s := c.only(n, uint16(4000+i))
				if k == 0 {
					want[s.Orig.String()] = s.Owner
				} else if want[s.Orig.String()] != s.Owner {
					t.Errorf("after the partition %s is owned by %v and %v", s.Orig, want[s.Orig.String()], s.Owner)
				}
			}
		}
		c.talk(conns, 500)
	}
}

func TestPathsThatFlapUnderLossBreakNothing(t *testing.T) {
	c := newCluster(t, 2, 2, 1, 3)
	c.echo()
	c.show()
	c.warm()
	c.lossySync(0.1)
	c.to = byPort(3)
	conns := c.dial(30)
	c.talk(conns, 1500)
	for i := range 40 {
		c.to = func(in bool, p *packet.Info) int { return (byPort(3)(in, p) + i) % 3 }
		for k, x := range conns {
			if k%3 == i%3 {
				x.Write([]byte("flapping "))
			}
		}
		c.run(50)
	}
	c.talk(conns, 2500)
	births := map[string]flow.Birth{}
	c.lossySync(0)
	c.rest(6000)
	for _, n := range c.nodes {
		for i := range conns {
			s := c.only(n, uint16(4000+i))
			if b, ok := births[s.Orig.String()]; ok && b != s.Birth {
				t.Errorf("%s has two lives", s.Orig)
			}
			births[s.Orig.String()] = s.Birth
		}
	}
}
