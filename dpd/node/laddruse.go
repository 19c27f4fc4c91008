package node

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/holdfast-lb/holdfast/dpd/internal/control"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncloop"
)

const (
	// useShare bounds the passes of blockUse: each is followed by a pause of so many times its length.
	useShare = 50
	// maxRelayed bounds what one status says for other members.
	maxRelayed = 1024
)

// countUse looks at what is held of blocks, here and at the peers that tell it.
func (n *Node) countUse(ctx context.Context) {
	blocks, counted := n.blockUse(ctx)
	relayed, heard := n.relayed(ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen.blocks, n.seen.counted, n.seen.relayed, n.seen.heard = blocks, counted, relayed, heard
}

// fate is the life whose sessions a block waits for, and for how long it has been fenced here. Zero: it waits for none.
type fate struct {
	life   flow.Node
	fenced int64 // milliseconds
}

// blockUse counts records and tombstones by block, when a block waits to be free: somebody held it who is no member now.
// Blocks of members are in use anyway, and a pass over all tables for nothing would be a waste. What is held of the blocks of lives
// that are over goes to the peers too, since the coordinator may reach them and not this node. counted is when the pass began.
func (n *Node) blockUse(ctx context.Context) (use []control.BlockUse, counted time.Time) {
	n.mu.Lock()
	blocks := slices.Clone(n.view.Blocks)
	members := map[flow.Node]bool{}
	for _, m := range n.view.Members {
		members[m.Life] = true
	}
	before, beforeAt := n.seen.blocks, n.seen.counted
	again, life := n.nextUse, n.life
	n.mu.Unlock()
	begun := time.Now()
	if begun.Before(again) {
		return before, beforeAt
	}
	defer func() {
		n.mu.Lock()
		n.nextUse = begun.Add(time.Since(begun) * useShare)
		n.mu.Unlock()
	}()
	fates, at, err := n.fates(ctx, blocks, members)
	if err != nil {
		return nil, begun
	}
	waiting := false
	for i, b := range blocks {
		waiting = waiting || fates[i] != (fate{}) || !members[b.Holder] || !b.Allocatable
	}
	if waiting {
		if use, err = n.countBlocks(ctx, blocks); err != nil {
			return nil, begun // no report is better than one that says "none" by mistake
		}
	}
	var tell []syncer.BlockUse
	for i, u := range use {
		if f := fates[i]; f.life != (flow.Node{}) {
			tell = append(tell, syncer.BlockUse{Block: u.ID, Holder: f.life, Records: u.Records, Tombstones: u.Tombstones, FencedFor: f.fenced})
		}
	}
	// When the sync thread doesn't take it, it stops telling the former count by itself.
	_ = n.loop.Do(ctx, func(l *syncloop.Loop) {
		if s := l.Sync(); s != nil && s.Self() == life {
			s.SetUses(at, tell)
		}
	})
	return use, begun
}

// fates says of each block whether it waits for a life that is over here. That is one that is no member, or one whose node was heard
// under a higher incarnation before any view said so, as a node does that gets no views. at is the sync machine's time.
func (n *Node) fates(ctx context.Context, blocks []control.Block, members map[flow.Node]bool) (fates []fate, at int64, err error) {
	fates = make([]fate, len(blocks))
	n.mu.Lock()
	fencedAt := make(map[flow.Node]time.Time, len(n.fencedAt))
	for f, t := range n.fencedAt {
		fencedAt[f] = t
	}
	n.mu.Unlock()
	err = n.loop.Do(ctx, func(l *syncloop.Loop) {
		at = l.Now()
		for i, b := range blocks {
			f := fate{life: b.Holder}
			if f.life == (flow.Node{}) {
				f.life = b.Former
			}
			if f.life == (flow.Node{}) {
				continue
			}
			over := !members[f.life]
			if s := l.Sync(); s != nil {
				if ms, yes := s.FencedFor(at, f.life); yes {
					f.fenced, over = ms, true
				}
			}
			if over {
				fates[i] = f
			}
		}
	})
	for i := range fates {
		// The view's fences count like those of the machine, which knows none of a life that it never had a link with.
		for x, t := range fencedAt {
			if f := &fates[i]; x.ID == f.life.ID && x.Inc >= f.life.Inc && f.life.ID != 0 {
				f.fenced = max(f.fenced, time.Since(t).Milliseconds())
			}
		}
	}
	return fates, at, err
}

// countBlocks is one pass over all tables.
func (n *Node) countBlocks(ctx context.Context, blocks []control.Block) ([]control.BlockUse, error) {
	use := make([]control.BlockUse, len(blocks))
	index := map[netip.Addr]int{}
	for i, b := range blocks {
		use[i].ID = b.ID
		for _, a := range b.Addrs {
			index[a] = i
		}
	}
	for _, w := range n.workers {
		if err := w.Scan(ctx, func(s *flow.Session) bool {
			if i, ok := index[s.Reply.Dst().Addr()]; ok {
				if s.Flags&flow.Tomb != 0 {
					use[i].Tombstones++
				} else {
					use[i].Records++
				}
			}
			return false // counted where it lies; nothing is copied
		}, nil); err != nil {
			return nil, err
		}
	}
	return use, nil
}

// relayed reads what peers told of blocks whose holder is gone.
func (n *Node) relayed(ctx context.Context) (out []control.RelayedUse, heard time.Time) {
	var list []syncer.PeerUse
	heard = time.Now()
	if n.loop.Do(ctx, func(l *syncloop.Loop) {
		if s := l.Sync(); s != nil {
			list = s.Uses(l.Now(), maxRelayed, nil)
		}
	}) != nil {
		return nil, heard
	}
	for _, u := range list {
		out = append(out, control.RelayedUse{
			Member: u.Peer, ID: u.Block, Holder: u.Holder, Records: u.Records, Tombstones: u.Tombstones,
			FencedMS: uint64(u.FencedFor), AgeMS: uint64(max(u.Age, 0)),
		})
	}
	return out, heard
}

// useStatus puts both kinds into a status, with their age now. n.mu is held.
func (n *Node) useStatus(s *control.Status) {
	since := uint64(time.Since(n.seen.counted).Milliseconds())
	for _, b := range n.seen.blocks {
		b.AgeMS = since
		s.Blocks = append(s.Blocks, b)
	}
	since = uint64(time.Since(n.seen.heard).Milliseconds())
	for _, u := range n.seen.relayed {
		if u.AgeMS += since; u.AgeMS <= syncer.UseKeep {
			s.Relayed = append(s.Relayed, u)
		}
	}
}
