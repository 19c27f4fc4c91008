package node

import (
	"context"
	"slices"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/steer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncloop"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
)

// filter gives each device the rules and moves its sync queue to the sync thread where it steers.
func (n *Node) filter(ctx context.Context, rules []steer.Rule) error {
	if n.life == (flow.Node{}) || slices.EqualFunc(rules, n.lastRules, sameRule) {
		return nil
	}
	n.lastRules, n.rules = nil, n.rules[:0] // tried again if it fails half-way
	for i := range n.ports {
		results := n.dev.Filter(i, rules)
		n.rules = append(n.rules, deviceRules{n.ports[i].Info().Name, results})
		steers := len(results) > 0
		for _, r := range results {
			if !r.Hardware && (r.Rule.Purpose == steer.Sync || r.Rule.Purpose == steer.CatchAll) {
				steers = false
			}
		}
		if err := n.syncQueue(ctx, i, steers); err != nil {
			return err
		}
		n.tellRules(i)
	}
	n.lastRules = rules
	return nil
}

// tellRules says once per change where the rules of a device are in force.
func (n *Node) tellRules(i int) {
	hard, soft := 0, map[string]int{}
	for _, r := range n.rules[i].rules {
		if r.Hardware {
			hard++
		} else {
			soft[r.Rule.Purpose.String()+": "+r.Reason]++
		}
	}
	n.log.Info("steering", "device", n.rules[i].device, "rules_in_hardware", hard, "rules_in_software", soft, "sync_queue_of_its_own", n.hwSync[i])
}

// syncQueue moves the sync queue of a device between worker 0 and the sync thread; the former user gives it up first.
func (n *Node) syncQueue(ctx context.Context, dev int, steers bool) error {
	count, have := len(n.workers), n.ports[dev].Info().RxQueues
	if have <= count || steers == n.hwSync[dev] {
		return nil
	}
	own := []int{0}
	var extra []int
	for q := count; q < have; q++ {
		extra = append(extra, q)
	}
	give := func() error {
		rx := own
		if !steers {
			rx = append(slices.Clone(own), extra...)
		}
		return n.workers[0].Do(ctx, func(w *worker.Worker) { w.SetRx(dev, rx) })
	}
	take := func() error {
		var rx []int
		if steers {
			rx = extra
		}
		return n.loop.Do(ctx, func(l *syncloop.Loop) { l.SetRx(dev, rx) })
	}
	first, then := give, take
	if !steers {
		first, then = take, give
	}
	if err := first(); err != nil {
		return err
	}
	if err := then(); err != nil {
		return err
	}
	n.hwSync[dev] = steers
	return nil
}

func sameRule(a, b steer.Rule) bool {
	ra, rb := a.RSS, b.RSS
	a.RSS, b.RSS = nil, nil
	return a == b && (ra == nil) == (rb == nil) && (ra == nil || *ra == *rb)
}
