package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-lb/holdfast/e2e/lab/topo"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
)

const (
	lead        = 300 * time.Millisecond // of the flood before the node is killed
	tail        = 500 * time.Millisecond // of the flood after it is admitted
	settle      = 100 * time.Millisecond // for the last answers to be heard
	admitLimit  = 30 * time.Second       // for a node to be admitted
	replicaWait = 30 * time.Second       // for all sessions to be on all nodes before a node is killed
)

// trial is what came of one restart.
type trial struct {
	admission time.Duration // from the start of the process until the control plane has admitted it
	took      time.Duration // all that was counted
	sent      tally         // by nodes
	rate      float64       // of the flood, as reached
	attacked  uint64        // bytes of the flood
	refused   int           // frames that the kernel did not take
	ended     int           // data planes that ended by themselves
	broken    int           // flows that broke
	example   string        // of a reply or a broken flow
	counters  counters      // what nodes counted
}

// restart kills a node, starts it and waits until it is admitted, under a flood of k unless rate is
// 0.
func (s *scenario) restart(ctx context.Context, victim int, k kind, rate int) (t trial, err error) {
	if err := s.ready(ctx); err != nil {
		return t, err
	}
	name := topo.Node(victim + 1)
	old := s.book.all()[victim].inc
	before, _ := s.capture.count()
	counted := s.scrape()
	began := time.Now()
	if rate > 0 {
		s.seed++
		f := startFlood(s.seg, newGenerator(s.seed, s.book), k, rate)
		defer func() {
			f.stop()
			t.rate, t.attacked, t.refused = f.rate(), f.bytes, f.refused
			err = errors.Join(err, s.finish(ctx, &t, before, counted, began))
		}()
	} else {
		defer func() { err = errors.Join(err, s.finish(ctx, &t, before, counted, began)) }()
	}
	if err := sleep(ctx, lead); err != nil {
		return t, err
	}
	if err := s.lab.Signal(name, syscall.SIGKILL); err != nil {
		return t, err
	}
	for s.lab.Running(name) {
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return t, err
		}
	}
	started := time.Now()
	if err := s.lab.Start(name); err != nil {
		return t, err
	}
	if err := s.admitted(ctx, victim, old); err != nil {
		return t, err
	}
	t.admission = time.Since(started)
	return t, sleep(ctx, tail)
}

// finish takes the figures of a trial whose flood has ended.
func (s *scenario) finish(ctx context.Context, t *trial, before tally, counted []counters, began time.Time) error {
	if err := sleep(ctx, settle); err != nil {
		return err
	}
	after, example := s.capture.count()
	t.took = time.Since(began)
	t.sent = after.minus(before)
	if t.sent.replies > 0 {
		t.example = example
	}
	for i := range s.lab.Nodes {
		if name := topo.Node(i + 1); !s.lab.Running(name) {
			t.ended++
			t.example = name + " ended"
			if err := s.lab.Start(name); err != nil {
				return err
			}
		}
	}
	t.counters = grown(counted, s.scrape())
	flows, err := s.client.Ask("wake", nil)
	if err != nil {
		return err
	}
	for _, f := range flows {
		if f.Broken != "" && !s.broken[f.ID] {
			s.broken[f.ID] = true
			t.broken++
			t.example = fmt.Sprintf("%s flow %d %v to %v after %d answers: %s",
				f.Kind, f.ID, f.Client, f.Service, f.Received, f.Broken)
		}
	}
	if t.broken == 0 {
		return nil
	}
	// The next kinds want whole connections to break.
	if _, err = s.client.Ask("close", nil); err == nil {
		err = s.open(ctx)
	}
	return err
}

// open opens all flows, once all nodes serve.
func (s *scenario) open(ctx context.Context) error {
	s.broken = map[uint32]bool{}
	if err := s.lab.WaitAdmitted(ctx); err != nil {
		return err
	}
	if err := s.lab.WaitServing(ctx); err != nil {
		return err
	}
	_, err := s.client.Ask("open", s.plan.load)
	return err
}

// admitted waits until a node is a member again, in a later incarnation.
func (s *scenario) admitted(ctx context.Context, node int, old uint64) error {
	for began := time.Now(); ; {
		nodes, err := s.rest.Nodes(ctx)
		if err == nil {
			s.book.know(members(nodes))
			n := find(nodes, topo.Node(node+1))
			if n.GetIncarnation() > old && n.GetState() == syncv1.NodeState_NODE_STATE_ADMITTED {
				return nil
			}
			err = fmt.Errorf("it is %v in incarnation %d: %s", n.GetState(), n.GetIncarnation(), n.GetDetail())
		}
		if i := s.notRunning(); i >= 0 {
			return fmt.Errorf("%w: %s has ended", errLate, topo.Node(i+1))
		}
		if time.Since(began) > admitLimit {
			return fmt.Errorf("%w: %s is not admitted within %v: %w", errLate, topo.Node(node+1), admitLimit, err)
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// notRunning is a node whose data plane does not run; -1 if all do.
func (s *scenario) notRunning() int {
	for i := range s.lab.Nodes {
		if !s.lab.Running(topo.Node(i + 1)) {
			return i
		}
	}
	return -1
}

var errLate = errors.New("admission")

// ready waits until all nodes are admitted and hold all sessions, so that the death of one costs
// nothing.
func (s *scenario) ready(ctx context.Context) error {
	if err := s.lab.WaitAdmitted(ctx); err != nil {
		return err
	}
	flows, err := s.client.Ask("report", nil)
	if err != nil {
		return err
	}
	for began := time.Now(); ; {
		sessions, err := s.rest.Sessions(ctx, "")
		if err != nil {
			return fmt.Errorf("list sessions: %w", err)
		}
		everywhere := map[netip.AddrPort]bool{}
		for _, x := range sessions {
			a, err := netip.ParseAddr(x.GetClient().GetAddress())
			if err == nil && len(x.GetReplicas()) >= s.lab.Nodes {
				everywhere[netip.AddrPortFrom(a.Unmap(), uint16(x.GetClient().GetPort()))] = true
			}
		}
		have := 0
		for _, f := range flows {
			if f.Broken != "" || everywhere[f.Client] {
				have++
			}
		}
		if have == len(flows) {
			return nil
		}
		if time.Since(began) > replicaWait {
			return fmt.Errorf("after %v only %d of %d flows are on all nodes", replicaWait, have, len(flows))
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

func find(nodes []*syncv1.Node, name string) *syncv1.Node {
	for _, n := range nodes {
		if path.Base(n.GetName()) == name {
			return n
		}
	}
	return nil
}

// members are the nodes in the order of their names.
func members(nodes []*syncv1.Node) []member {
	var list []member
	for _, n := range nodes {
		m := member{name: path.Base(n.GetName()), id: n.GetId(), inc: n.GetIncarnation()}
		for _, a := range []string{n.GetSipV4(), n.GetSipV6()} {
			if addr, err := netip.ParseAddr(a); err == nil {
				m.sips = append(m.sips, netip.AddrPortFrom(addr, uint16(n.GetSyncPort())))
			}
		}
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b member) int { return strings.Compare(a.name, b.name) })
	return list
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
