package sim

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
)

const blocks = 40

// coordinator is the membership service: views, leases, bulk, admission.
type coordinator struct {
	w       *world
	keys    int // which set of keys is in force
	epoch   uint64
	inc     uint64
	members []syncer.Member
	lease   [blocks + 1]flow.Node // by block; zero: free
	fenced  [blocks + 1]int64     // when the holder's end was known to all
}

func (c *coordinator) begin() {
	for _, n := range c.w.nodes {
		c.inc++
		c.lease[n.id] = flow.Node{Inc: c.inc, ID: n.id}
		n.start(c.inc, int(n.id))
		n.admitted = true
		c.members = append(c.members, syncer.Member{Node: n.node(), Admitted: true})
	}
	c.publish(0)
}

// publish makes a view and brings it to every living node, to each in its own time.
func (c *coordinator) publish(spread int64) {
	c.epoch++
	members := append([]syncer.Member(nil), c.members...)
	epoch := c.epoch
	for _, n := range c.w.living() {
		ms := int64(0)
		if spread > 0 {
			ms = c.w.rng.Int64N(spread)
		}
		life := n.life
		c.w.after(ms, func() {
			if n.alive && n.life == life && !n.paused && !n.zombie {
				n.setView(&syncer.View{Epoch: epoch, Self: n.node(), Members: members})
			}
		})
	}
}

func (c *coordinator) index(id uint32) int {
	for i := range c.members {
		if c.members[i].Node.ID == id {
			return i
		}
	}
	return -1
}

// crashOne kills a node if enough are left, and brings it back some time later.
func (c *coordinator) crashOne() {
	w := c.w
	r := w.routable()
	if len(r) < 2 || w.quiet {
		return
	}
	c.crash(r[w.rng.IntN(len(r))])
}

func (c *coordinator) crash(n *node) {
	w := c.w
	w.logf("node %d crashes", n.id)
	dead := n.node()
	n.stop()
	w.dropLost()
	for _, o := range w.conns {
		w.after(20+w.rng.Int64N(100), func() { o.reroute() })
	}
	w.after(500+w.rng.Int64N(1000), func() {
		if i := c.index(dead.ID); i >= 0 && c.members[i].Node == dead {
			w.logf("view removes node %d", dead.ID)
			c.members = append(c.members[:i], c.members[i+1:]...)
			c.publish(300)
		}
	})
	if w.opt.restarts {
		ms := 100 + w.rng.Int64N(8000)
		w.after(ms, func() { c.join(n) })
	}
}

// pauseOne stops a node by a signal for a while.
func (c *coordinator) pauseOne() {
	w := c.w
	r := w.routable()
	if len(r) < 2 || w.quiet {
		return
	}
	c.pause(r[w.rng.IntN(len(r))], 200+w.rng.Int64N(8_000))
}

func (c *coordinator) pause(n *node, ms int64) {
	w := c.w
	w.logf("node %d pauses for %d ms", n.id, ms)
	n.paused = true
	who, life, inc := n.node(), n.life, n.inc
	for _, o := range w.conns {
		if w.chance(0.7) { // the others' packets are lost until it goes on
			w.after(100+w.rng.Int64N(200), func() { o.reroute() })
		}
	}
	w.after(400+w.rng.Int64N(800), func() {
		if i := c.index(who.ID); n.paused && !n.kept && n.life == life && i >= 0 && c.members[i].Node == who {
			w.logf("view removes paused node %d", who.ID)
			c.members = append(c.members[:i], c.members[i+1:]...)
			n.zombie = true
			c.publish(300)
		}
	})
	w.after(ms, func() {
		if n.life != life {
			return
		}
		w.logf("node %d goes on, zombie %v", n.id, n.zombie)
		n.paused, n.kept = false, false
		n.tick() // every thread notices the gap before anything else
		for _, d := range n.backlog {
			if n.alive && n.life == life {
				n.datagram(d)
			}
		}
		n.backlog = nil
		if !n.zombie {
			c.publish(50)
			return
		}
		// When all its peers were replaced meanwhile, only the coordinator is left to tell it.
		w.after(3_000, func() {
			if n.life == life && n.inc == inc {
				c.fencedOut(n)
			}
		})
	})
}

// fencedOut is a node that learned that it is over: it goes on as another life with what it holds, or its process ends and begins
// anew.
func (c *coordinator) fencedOut(n *node) {
	c.w.logf("node %d knows that it is fenced", n.id)
	if c.w.opt.renews {
		c.renew(n)
		return
	}
	n.stop()
	c.w.dropLost()
	for _, o := range c.w.conns {
		c.w.after(20, o.reroute)
	}
	c.w.after(200, func() { c.join(n) })
}

// renew makes a node another life of itself.
func (c *coordinator) renew(n *node) {
	w := c.w
	former := n.node()
	c.inc++
	n.inc, n.zombie, n.admitted = c.inc, false, false
	if n.block != 0 && c.lease[n.block] != former {
		n.block = 0
	}
	if n.block != 0 {
		c.lease[n.block] = n.node()
	}
	for _, s := range n.shards {
		if err := s.table.SetSelf(n.node()); err != nil {
			panic(err)
		}
		s.setBlock()
	}
	if i := c.index(n.id); i >= 0 {
		c.members[i] = syncer.Member{Node: n.node()}
	} else {
		c.members = append(c.members, syncer.Member{Node: n.node()})
	}
	c.publish(200)
	n.setView(&syncer.View{Epoch: c.epoch, Self: n.node(), Members: append([]syncer.Member(nil), c.members...)})
	w.logf("node %d goes on as inc %d with block %d", n.id, n.inc, n.block)
	life := n.life
	w.after(400, func() { c.bulk(n, life, 0) })
}

// reroute moves sides that ran through a dead node.
func (o *conn) reroute() {
	for d, n := range o.path {
		if n == nil || !n.alive || !n.admitted || n.paused || n.zombie {
			if m := o.w.anyRoute(); m != nil {
				o.path[d] = m
			}
		}
	}
}

// join starts a node anew: a higher incarnation, a free block, stock from every member, then admission.
func (c *coordinator) join(n *node) {
	w := c.w
	if n.alive {
		return
	}
	c.reclaim()
	block := 0
	for b := 1; b <= blocks && block == 0; b++ {
		if c.lease[b] == (flow.Node{}) {
			block = b
		}
	}
	if block == 0 {
		w.after(1000, func() { c.join(n) })
		return
	}
	c.inc++
	n.start(c.inc, block)
	c.lease[block] = n.node()
	w.logf("node %d starts as inc %d with block %d", n.id, n.inc, block)
	if i := c.index(n.id); i >= 0 {
		c.members[i] = syncer.Member{Node: n.node()}
	} else {
		c.members = append(c.members, syncer.Member{Node: n.node()})
	}
	c.publish(200)
	life := n.life
	w.after(400, func() { c.bulk(n, life, 0) })
}

// bulk asks the members for stock until the joiner is ready.
func (c *coordinator) bulk(n *node, life, round int) {
	w := c.w
	if i := c.index(n.id); n.life != life || n.paused || i < 0 || c.members[i].Node != n.node() || n.admitted {
		return
	}
	if ready, _ := n.sync.Ready(); ready && round > 0 {
		n.admitted = true
		c.members[c.index(n.id)].Admitted = true
		w.logf("node %d admitted", n.id)
		c.publish(200)
		return
	}
	if round%40 == 0 {
		for _, m := range w.living() {
			if m != n && !m.paused {
				for _, s := range m.shards {
					s.StartBulk(m.now(), n.node())
				}
				m.drain()
			}
		}
	}
	w.after(50, func() { c.bulk(n, life, round+1) })
}

// reclaim frees the blocks of dead incarnations of which no living node holds a record or tombstone.
func (c *coordinator) reclaim() {
	for b := 1; b <= blocks; b++ {
		h := c.lease[b]
		if h == (flow.Node{}) {
			continue
		}
		if i := c.index(h.ID); i >= 0 && c.members[i].Node == h {
			c.fenced[b] = 0
			continue
		}
		if c.fenced[b] == 0 {
			c.fenced[b] = c.w.now
		}
		if c.w.now-c.fenced[b] < 6000 {
			continue
		}
		used := false
		for _, n := range c.w.living() {
			n.each(func(x *flow.Session) { used = used || x.Reply.Dst().Addr() == laddr(b) })
		}
		if !used {
			c.lease[b] = flow.Node{}
		}
	}
}

// each visits every record of a node.
func (n *node) each(visit func(*flow.Session)) {
	var x flow.Session
	for _, s := range n.shards {
		for cur := uint32(0); ; {
			cur = s.table.Scan(cur, 1<<16, func(h flow.Handle) {
				s.table.Load(h, &x)
				visit(&x)
			})
			if cur == 0 {
				break
			}
		}
	}
}
