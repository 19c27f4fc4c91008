package node

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/holdfast-lb/holdfast/dpd/internal/control"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/neigh"
	"github.com/holdfast-lb/holdfast/dpd/internal/steer"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
)

// spread compiles configuration, view and keys into steering, addresses, local ports and schedule, and gives each thread
// its part. Steering goes first, so that no packet is answered at a worker that is not its own.
func (n *Node) spread(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), applyTimeout)
	defer cancel()
	sc := steer.Config{Key: n.hasher.Key(), Map: n.buckets, SyncQueue: uint16(len(n.workers)), SyncPort: n.view.Self.SyncPort}
	var owned []neigh.Owned
	for _, a := range n.view.Self.SIP {
		if a.IsValid() {
			sc.Sips = append(sc.Sips, a)
			owned = append(owned, neigh.Owned{Prefix: netip.PrefixFrom(a, a.BitLen()), Answer: true})
		}
	}
	var blocks []netip.Addr
	for _, b := range n.view.Blocks {
		for _, a := range b.Addrs {
			sc.Laddrs = append(sc.Laddrs, netip.PrefixFrom(a, a.BitLen()))
			// On a shared segment one node answers for an address: the holder of its block.
			owned = append(owned, neigh.Owned{Prefix: netip.PrefixFrom(a, a.BitLen()), Answer: b.Holder == n.life})
		}
		if b.Holder == n.life && b.Allocatable && b.Holder != (flow.Node{}) {
			blocks = append(blocks, b.Addrs...)
		}
	}
	for _, a := range vipsOf(&n.config) {
		sc.VIPs = append(sc.VIPs, netip.PrefixFrom(a, a.BitLen()))
		owned = append(owned, neigh.Owned{Prefix: netip.PrefixFrom(a, a.BitLen())})
	}
	rules, err := steer.Rules(&sc)
	if err != nil {
		return err
	}
	interp, err := steer.NewInterpreter(n.hasher, rules)
	if err != nil {
		return err
	}
	var hostErr error
	if err := n.workers[0].Do(ctx, func(*worker.Worker) { hostErr = n.host.SetAddresses(owned) }); err != nil || hostErr != nil {
		return fmt.Errorf("own addresses: %w", cmpErr(err, hostErr))
	}
	n.interp = interp
	v := n.workerView()
	moved := n.torn || !slices.Equal(blocks, n.blocks)
	v.Allocate = v.Allocate && !moved // until the blocks are told; other changes refuse nobody
	for _, w := range n.workers {
		if err := w.SetView(ctx, v); err != nil {
			return err
		}
	}
	if err := n.filter(ctx, rules); err != nil {
		return err
	}
	if !moved {
		return nil
	}
	for _, w := range n.workers {
		if err := w.SetBlocks(ctx, blocks); err != nil {
			n.blocks, n.torn = nil, true // some have them and some have not: told anew next time
			return err
		}
	}
	n.blocks, n.torn = blocks, false
	return n.allow(ctx)
}

func cmpErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// workerView is what workers are to know now.
func (n *Node) workerView() worker.View {
	return worker.View{
		Steer: n.interp, Schedule: n.schedule, Ask: n.cfg.Sync.Enabled && len(n.view.Members) > 1,
		Allocate: n.view.Self.State == control.Admitted && n.drain.IsZero() && n.state != control.StateFenced && len(n.blocks) > 0 &&
			!n.timing.Off,
	}
}

// allow tells the workers whether they may open sessions.
func (n *Node) allow(ctx context.Context) error {
	v := n.workerView()
	for _, w := range n.workers {
		if err := w.SetView(ctx, v); err != nil {
			return err
		}
	}
	return nil
}
