package campaign

import (
	"fmt"
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/bench/mesh"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
	"github.com/holdfast-lb/holdfast/services/sync-coordinator/membership"
)

// coordinator is the real membership machine and the way of its words to the nodes.
type coordinator struct {
	w      *world
	m      *membership.Machine
	stored membership.State
}

func (c *coordinator) begin(w *world) {
	c.w = w
	var s membership.Secrets
	for _, b := range [][]byte{s.Cluster[:], s.RSS[:], s.Digest[:]} {
		for i := range b {
			b[i] = byte(w.rng.Uint32())
		}
	}
	cfg := membership.DefaultConfig()
	cfg.JoinBackOff, cfg.JoinBackOffMax = 2_000, 8_000
	c.m = membership.New(cfg, membership.State{}, 0, s)
	sips := membership.Pool{Name: "sip", Kind: membership.PoolSip}
	local := membership.Pool{Name: "laddr", Kind: membership.PoolLaddr, BlockSize: laddrs}
	for i := range w.opt.nodes {
		sips.Prefixes = append(sips.Prefixes, netip.PrefixFrom(mesh.Sip(i), 32))
	}
	for i := range 4 * w.opt.nodes {
		for l := range laddrs {
			local.Prefixes = append(local.Prefixes, netip.PrefixFrom(mesh.Laddr(i, l), 32))
		}
	}
	if err := c.m.SetPools(c.now(), []membership.Pool{sips, local}); err != nil {
		w.violate("pools: %v", err)
	}
	c.told()
	var tick func()
	tick = func() {
		c.m.Tick(c.now())
		c.told()
		w.after(100, tick)
	}
	tick()
}

func (c *coordinator) now() int64 { return firstWall + c.w.now }

// told acts on what an event led to.
func (c *coordinator) told() {
	w, o := c.w, c.m.Take()
	for _, e := range o.Events {
		w.logf("coordinator: %v", event(e))
		if e.Kind == membership.NodeAdmitted {
			w.total.admitted++
		}
	}
	if o.Changed {
		c.stored = o.State
		for _, n := range w.nodes {
			p := n.process
			w.after(1+w.below(100), func() {
				if n.process == p {
					c.deliver(n)
				}
			})
		}
	}
	for _, b := range o.Bulk {
		w.after(1+w.below(20), func() {
			for _, n := range w.nodes {
				if n.mesh == nil || n.life != (flow.Node{ID: b.From, Inc: b.FromInc}) || w.now < n.lost {
					continue
				}
				for i := range n.mesh.Workers {
					n.mesh.Do(i, func(x *worker.Worker) { x.Shard().StartBulk(x.Now(), flow.Node{ID: b.To, Inc: b.ToInc}) })
				}
			}
		})
	}
}

func event(e membership.Event) string { return fmt.Sprintf("%+v", e) }

// deliver brings the newest state to a node that can be reached.
func (c *coordinator) deliver(n *node) {
	if n.mesh != nil && !n.stopped && n.life.ID != 0 && c.w.now >= n.lost {
		n.take(c.stored)
	}
}

func (c *coordinator) join(n *node) (membership.Node, error) {
	got, err := c.m.Join(c.now(), membership.JoinRequest{
		Name: n.name(), ControlAddress: "127.0.0.1:7000", StoredInc: n.stored, IPv4: true, SyncPort: mesh.SyncPort,
		ProcessID: fmt.Sprint(n.process, c.w.now),
	})
	c.told()
	return got, err
}

func (c *coordinator) control(n *node, up bool) {
	if n.mesh == nil || n.life.ID == 0 || up && (n.stopped || c.w.now < n.lost) {
		return
	}
	n.up = up
	c.m.Control(c.now(), n.life.ID, n.life.Inc, up)
	c.told()
	if up {
		c.deliver(n)
	}
}

func (c *coordinator) lose(n flow.Node) {
	if n.ID != 0 {
		c.m.Control(c.now(), n.ID, n.Inc, false)
		c.told()
	}
}

func (c *coordinator) report(r membership.Report) {
	c.m.Report(c.now(), r)
	c.told()
}

func (c *coordinator) applied(n flow.Node, generation uint64) {
	c.m.KeysApplied(c.now(), n.ID, n.Inc, generation)
	c.told()
}

func (c *coordinator) rotate() {
	var secret [membership.SecretLen]byte
	for i := range secret {
		secret[i] = byte(c.w.rng.Uint32())
	}
	if c.m.RotateKeys(c.now(), secret) == nil {
		c.told()
	}
}
