package sim

import (
	"fmt"
	"slices"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// find loads the record that a tuple finds on a node.
func (n *node) find(b flow.Bucket, k *flow.Key) (x flow.Session, d flow.Direction, ok bool) {
	s := n.shards[n.shardOf(b)]
	h, d, ok := s.table.Find(k)
	if ok {
		s.table.Load(h, &x)
	}
	return x, d, ok
}

// maps says whether packets of a side of a connection are translated rightly on a node.
func (n *node) maps(c *conn, side flow.Direction) bool {
	if c.reply == (flow.Key{}) {
		return false
	}
	k := &c.orig
	if side == flow.Out {
		k = &c.reply
	}
	x, d, ok := n.find(c.bucket, k)
	return ok && d == side && x.Orig == c.orig && x.Reply == c.reply && x.Birth >= c.birth
}

type mapped struct {
	c    *conn
	side flow.Direction
}

// mapped lists the sides of established connections whose packets pass through n and are translated there.
func (w *world) mapped(n *node) (list []mapped) {
	for _, c := range w.conns {
		if c.phase != established || c.idle || w.now-c.last >= int64(w.opt.est)*1000 {
			continue
		}
		for d := range c.path {
			if c.path[d] == n && n.maps(c, flow.Direction(d)) {
				list = append(list, mapped{c, flow.Direction(d)})
			}
		}
	}
	return list
}

// checkMapped is invariant 2: a delivery takes no mapping away from under packets.
func (w *world) checkMapped(n *node, before []mapped) {
	for _, m := range before {
		if m.c.phase == established && m.c.path[m.side] == n && !n.maps(m.c, m.side) {
			w.violate("I2 conn %d: a delivery took the mapping of side %d from node %d", m.c.id, m.side, n.id)
		}
	}
}

func (w *world) heldAnywhere(c *conn) bool {
	for _, n := range w.living() {
		if n.maps(c, flow.Out) {
			return true
		}
	}
	return false
}

// dropLost ends connections of which the dead node had the only copy: nothing could save them.
func (w *world) dropLost() {
	for _, c := range slices.Clone(w.conns) {
		if c.phase != opening && !w.heldAnywhere(c) {
			w.total.lost++
			c.end("lost with its node before any copy")
		}
	}
}

// life names a birth.
type life struct {
	birth       flow.Birth
	orig, reply flow.Key
}

// drainAll ends every connection and lets time pass until nothing may be left of any.
func (w *world) drainAll() {
	if w.broken != "" {
		return
	}
	for _, c := range slices.Clone(w.conns) {
		c.end("all end")
	}
	w.run(int64(w.opt.est)*1250 + 150_000)
	for _, n := range w.living() {
		n.each(func(x *flow.Session) {
			w.violate("I6 node %d still has %s %s", n.id, short(x.Orig, x.Reply), version(x.Birth, x.Term, x.Owner, x.Ver, x.Flags))
		})
		for _, s := range n.shards {
			if taken := s.ports.Stats().InUse - s.marked; taken != 0 {
				w.violate("I6 node %d: %d ports of worker %d are still taken", n.id, taken, s.i)
			}
		}
	}
}

// checkCalm is what must hold after repair.
func (w *world) checkCalm() {
	if w.broken != "" {
		return
	}
	type line struct{ key, ver string }
	var first map[string]string
	var who uint32
	for _, n := range w.living() {
		now := map[string]string{}
		var list []line
		n.each(func(x *flow.Session) {
			if x.Flags&flow.Tomb != 0 || x.Flags&flow.Embryonic != 0 {
				return
			}
			if w.closed[life{x.Birth, x.Orig, x.Reply}] {
				w.violate("I1 node %d holds %s %s, which was closed", n.id, short(x.Orig, x.Reply), version(x.Birth, x.Term, x.Owner, x.Ver, x.Flags))
			}
			k := short(x.Orig, x.Reply) + fmt.Sprint(x.Orig.Proto())
			now[k] = version(x.Birth, x.Term, x.Owner, x.Ver, 0)
			list = append(list, line{k, now[k]})
		})
		if first == nil {
			first, who = now, n.id
			continue
		}
		for _, l := range list {
			if first[l.key] != l.ver {
				w.violate("I1 nodes %d and %d disagree about %s: %q and %q", who, n.id, l.key, first[l.key], l.ver)
				return
			}
		}
		if len(now) != len(first) {
			w.violate("I1 node %d has %d live records, node %d has %d: %v %v", who, len(first), n.id, len(now), first, now)
			return
		}
	}
	for _, c := range w.conns {
		if c.phase != established {
			continue
		}
		name := "I3 served"
		if c.idle || c.manual {
			name = "I4 idle"
			if w.now-c.last > int64(w.opt.est)*1000-5_000 {
				continue
			}
		}
		for _, n := range w.living() {
			if !n.maps(c, flow.In) || !n.maps(c, flow.Out) {
				w.violate("%s conn %d %s is not on node %d", name, c.id, short(c.orig, c.reply), n.id)
				return
			}
		}
		if !c.idle && !c.manual && c.waits != 0 && w.now-c.waits > 3_000 {
			w.violate("I3 served conn %d: nothing came through for %d ms", c.id, w.now-c.waits)
			return
		}
	}
}

// checkMended is what must be over long after the last trouble: links are whole, nobody is suspected, nothing is repaired.
func (w *world) checkMended() {
	for _, n := range w.living() {
		for _, p := range n.sync.Status(n.now(), nil) {
			if !p.Linked || p.Suspected || p.Desync {
				w.violate("I8 node %d to node %d: linked %v, suspected %v, desync %v", n.id, p.Node.ID, p.Linked, p.Suspected, p.Desync)
			}
			for _, s := range n.shards {
				if s.Repairing(p.Node) {
					w.violate("I8 node %d: worker %d still repairs what node %d has", n.id, s.i, p.Node.ID)
				}
			}
		}
		if f := n.sync.Frozen(); f {
			w.violate("I8 node %d is still frozen", n.id)
		}
	}
}
