package campaign

import (
	"fmt"

	"github.com/holdfast-lb/holdfast/dpd/bench/mesh"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/services/sync-coordinator/membership"
)

// excused says whether all processes that had a connection are dead: nothing could save it.
func (c *conn) excused() bool {
	for _, h := range c.holders {
		if h.n.mesh != nil && h.n.process == h.process {
			return false
		}
	}
	return true
}

// watch checks what must hold at any time.
func (w *world) watch() {
	if w.now%50 != 0 {
		return
	}
	for _, n := range w.nodes {
		if n.mesh == nil {
			continue
		}
		for _, c := range []stat.Counter{stat.Panics, stat.DropPanic, stat.DropFamily} {
			if n.mesh.Counter(c)+n.mesh.LoopCounter(c) != 0 {
				w.violate("node %d counts %v", n.i, c)
			}
		}
		for _, c := range []syncer.Counter{syncer.StoreFault, syncer.Invalid} {
			if n.mesh.Shards(c) != 0 {
				w.violate("node %d counts %v", n.i, c)
			}
		}
		if s := n.mesh.Loop.Sync(); s != nil && s.Count[syncer.SyncInvalid] != 0 {
			w.violate("node %d: the codec refused to write something", n.i)
		}
	}
	w.guard()
}

// guard looks at what nodes hold: which connections are safe, and whether two have one reply tuple.
func (w *world) guard() {
	type have struct {
		birth flow.Birth
		id    uint32
	}
	reply := map[flow.Key]have{}
	holders := map[uint32][]life{}
	for _, n := range w.nodes {
		if n.mesh == nil {
			continue
		}
		well := n.serving && !n.stopped && !n.over && n.self().Degraded == membership.CauseNone
		n.mesh.Sessions(func(_ int, s *flow.Session) {
			id := uint32(s.Orig.Addr[0]>>32) & 0xffffff
			if id == 0 || int(id) > len(w.conns) || s.Flags&(flow.Tomb|flow.ReplyOnly) != 0 {
				return
			}
			c := w.conns[id-1]
			if c.state == over {
				return
			}
			if h, ok := reply[s.Reply]; ok && h.id != id {
				w.violate("connections %d and %d have one reply tuple, on node %d %+v", h.id, id, n.i, s.Reply)
			}
			reply[s.Reply] = have{s.Birth, id}
			if s.Flags&flow.Embryonic == 0 && well && tupleOf(&s.Reply) == c.via {
				holders[id] = append(holders[id], life{n, n.process})
			}
		})
	}
	members := 0
	for _, n := range w.nodes {
		if n.mesh != nil && n.serving {
			members++
		}
	}
	for _, c := range w.open {
		switch h := holders[c.id]; {
		case c.state == opening || !c.guarded && (len(h) < 2 || len(h) < members):
		case !c.guarded:
			c.guarded, c.holders = true, h
		default:
			for _, x := range h {
				known := false
				for _, y := range c.holders {
					known = known || x == y
				}
				if !known {
					c.holders = append(c.holders, x)
				}
			}
		}
	}
}

func tupleOf(k *flow.Key) tuple {
	return tuple{local: uint32(k.Addr[0]), server: uint32(k.Addr[0] >> 32), localPort: k.DstPort(), serverPort: k.SrcPort()}
}

// healthy says whether all nodes are admitted, linked, not suspected and equal.
func (w *world) healthy() bool {
	for _, n := range w.nodes {
		if n.mesh == nil || n.stopped || !n.serving || n.over {
			return false
		}
		s := n.mesh.Loop.Sync()
		list := s.Status(n.mesh.Loop.Now(), nil)
		if len(list) != len(w.nodes)-1 || n.self().Degraded != membership.CauseNone {
			return false
		}
		for _, p := range list {
			if !p.Linked || p.Suspected || n.mesh.RepairingLife(p.Node) {
				return false
			}
		}
	}
	return true
}

func (w *world) states() (out string) {
	for _, n := range w.nodes {
		out += fmt.Sprintf("\n  node %d: process %v stopped %v serving %v over %v life %v", n.i, n.mesh != nil, n.stopped, n.serving, n.over, n.life)
		if n.mesh == nil || n.mesh.Loop.Sync() == nil {
			continue
		}
		if x := w.coord.stored.Node(n.life.ID); x != nil {
			out += fmt.Sprintf(" %s %s", x.Phase, x.Degraded)
		}
		for _, p := range n.mesh.Loop.Sync().Status(n.mesh.Loop.Now(), nil) {
			out += fmt.Sprintf(" [%v linked %v suspected %v repair %v]", p.Node, p.Linked, p.Suspected, n.mesh.RepairingLife(p.Node))
		}
	}
	return out
}

// proceed lets connections end soon.
func (w *world) proceed() {
	for _, c := range w.open {
		c.rounds = max(min(c.rounds, c.done+1), 1)
		if c.state == established && c.tries == 0 {
			c.reroute(false)
			c.timer(1 + w.below(500))
		}
	}
}

// clean says what is left although everything ended.
func (w *world) clean() string {
	for i, n := range w.nodes {
		if n.mesh == nil {
			return fmt.Sprintf("node %d does not live", i)
		}
		if k := n.mesh.Records(); k != 0 {
			return fmt.Sprintf("node %d holds %d records", i, k)
		}
		if closed, aged := n.mesh.Tombs(); closed+aged != 0 {
			return fmt.Sprintf("node %d remembers %d closed and %d aged sessions", i, closed, aged)
		}
		for j, x := range n.mesh.Workers {
			if s := x.Ports().Stats(); s.InUse != 0 {
				return fmt.Sprintf("node %d, worker %d: %d ports in use", i, j, s.InUse)
			}
		}
		if free, all := n.mesh.Packets(); free+n.mesh.Queued() < all-64 {
			return fmt.Sprintf("node %d: %d of %d packet buffers are free", i, free, all)
		}
		if d := mesh.Equal(w.nodes[0].mesh, n.mesh); d != 0 {
			return fmt.Sprintf("nodes 0 and %d differ in %d sessions", i, d)
		}
	}
	return ""
}
