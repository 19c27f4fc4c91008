package mesh

import (
	"context"
	"errors"
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncloop"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
)

// State of a member, as a coordinator says it.
type State uint8

const (
	Absent   State = iota // not in the view
	Joining               // in the view, adopts and opens nothing
	Admitted              //
	Degraded              // in the view, opens nothing
)

// View puts a new view in force on every node that is in it. states may be longer than Nodes: such
// members have no threads and never answer.
func (m *Mesh) View(states ...State) error {
	m.epoch++
	v := syncer.View{Epoch: m.epoch}
	for i, s := range states {
		if s != Absent {
			v.Members = append(v.Members, syncer.Member{
				Node: life(i), Admitted: s == Admitted || s == Degraded, Degraded: s == Degraded,
				Sync: [2]netip.AddrPort{netip.AddrPortFrom(sip(i), syncPort)},
			})
		}
	}
	for i, n := range m.Nodes {
		if i >= len(states) || states[i] == Absent {
			continue
		}
		if err := n.take(v, states[i] == Admitted); err != nil {
			return err
		}
	}
	return nil
}

// take gives a view to every thread of the node, the sync thread first, as dpd/node does.
func (n *Node) take(v syncer.View, allocate bool) error {
	v.Self = n.life
	n.view.Allocate = allocate
	return n.mesh.apply(func(ctx context.Context) error {
		var err error
		e := n.Loop.Do(ctx, func(l *syncloop.Loop) {
			if l.Sync() == nil {
				err = n.link(l)
			}
			l.SetAddresses(syncloop.Addresses{Self: [2]netip.Addr{sip(n.index)}, Port: syncPort})
			if err == nil && !l.Sync().SetView(l.Now(), &v) {
				err = errors.New("mesh: the view was refused")
			}
		})
		for _, w := range n.Workers {
			e = errors.Join(e, w.Do(ctx, func(w *worker.Worker) {
				err = errors.Join(err, w.Table().SetSelf(n.life))
				w.Shard().SetDigestKey(digestKey)
				w.Shard().SetView(w.Now(), &v)
			}), w.SetView(ctx, n.view))
		}
		return errors.Join(e, err)
	})
}

// link makes the machine of the sync thread.
func (n *Node) link(l *syncloop.Loop) error {
	s, err := syncer.NewSync(l.Now(), syncer.SyncConfig{
		Self: n.life, Shards: len(n.Workers), ShardOf: func(b flow.Bucket) int { return n.buckets.Worker(uint8(b)) },
		MTU: n.mesh.cfg.MTU - ipUDP, Off: n.mesh.cfg.Off, Random: func(b []byte) { _, _ = n.mesh.rnd.Read(b) },
	}, l)
	if err != nil {
		return err
	}
	l.SetSync(s)
	return n.mesh.firstKeys(s)
}

// Bulk makes node from send its sessions to node to.
func (m *Mesh) Bulk(from, to int) error {
	return m.Nodes[from].each(func(w *worker.Worker) error {
		w.Shard().StartBulk(w.Now(), life(to))
		return nil
	})
}

// firstKeys gives a machine the mesh's own key, where no coordinator gives it another.
func (m *Mesh) firstKeys(s *syncer.Sync) error {
	if m.cfg.Bare {
		return nil
	}
	return s.SetKeys(1, keys())
}
