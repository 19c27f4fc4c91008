package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"syscall"
	"time"

	"github.com/holdfast-lb/holdfast/e2e/lab/cluster"
	"github.com/holdfast-lb/holdfast/e2e/lab/load"
	"github.com/holdfast-lb/holdfast/e2e/lab/topo"
)

// scenario is one run: two deaths under load, with a return in between.
type scenario struct {
	lab    *cluster.Lab
	rest   *cluster.REST
	client *cluster.Client
	plan   load.Plan
	watch  time.Duration // how long the load is watched after each death
	sync   bool
	result result
	began  time.Time
}

func (s *scenario) say(format string, args ...any) {
	fmt.Printf("demo: %5.1f s  "+format+"\n", append([]any{time.Since(s.began).Seconds()}, args...)...)
}

func (s *scenario) run(ctx context.Context) error {
	s.result.connections = s.plan.Active + s.plan.Idle
	flows, err := s.client.Ask("open", s.plan)
	if err != nil {
		return err
	}
	s.say("%d connections (%d active, %d idle) and %d UDP flows are open, IPv4 and IPv6", s.result.connections, s.plan.Active, s.plan.Idle, s.plan.UDP)
	if s.sync {
		if s.result.synced, err = s.waitReplicated(ctx, flows); err != nil {
			return err
		}
		s.say("every node holds %d of the %d connections", s.result.synced, s.result.connections)
	}
	first, err := s.kill(ctx, "")
	if err != nil || !s.sync {
		return errors.Join(err, s.finish())
	}
	if err := s.comeBack(ctx, first); err != nil {
		return err
	}
	if _, err := s.kill(ctx, first); err != nil {
		return err
	}
	return s.finish()
}

// waitReplicated waits until every running node holds every flow; after a while the shortfall is reported, not hidden.
func (s *scenario) waitReplicated(ctx context.Context, flows []load.Flow) (int, error) {
	const limit = 20 * time.Second
	began := time.Now()
	for {
		p, err := s.placement(ctx)
		if err != nil {
			return 0, err
		}
		connections, all := p.replicated(flows, s.lab.Nodes)
		if all == len(flows) {
			return connections, nil
		}
		if time.Since(began) > limit {
			return connections, fmt.Errorf("after %v only %d of %d flows are on all nodes (owners: %v)", limit, all, len(flows), p.owners(flows))
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

func (s *scenario) placement(ctx context.Context) (placement, error) {
	sessions, err := s.rest.Sessions(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	return place(sessions), nil
}

// kill ends the node that owns most flows, other than not, with SIGKILL, and watches the load.
func (s *scenario) kill(ctx context.Context, not string) (string, error) {
	flows, err := s.client.Ask("report", nil)
	if err != nil {
		return "", err
	}
	before, err := s.placement(ctx)
	if err != nil {
		return "", err
	}
	owners := before.owners(flows)
	victim := busiest(owners, not)
	if victim == "" {
		return "", fmt.Errorf("no node owns a session of ours: %v", owners)
	}
	if _, err := s.client.Ask("mark", nil); err != nil {
		return "", err
	}
	if err := s.lab.Signal(path.Base(victim), syscall.SIGKILL); err != nil {
		return "", err
	}
	s.say("kill -9 %s, which owns %d of our sessions", path.Base(victim), owners[victim])
	if err := sleep(ctx, s.watch); err != nil {
		return "", err
	}
	flows, err = s.client.Ask("report", nil)
	if err != nil {
		return "", err
	}
	gaps := silences(flows)
	s.result.silences = append(s.result.silences, gaps...)
	s.say("longest silence of %d active connections: p50 %.0f ms, p99 %.0f ms, max %.0f ms", len(gaps), quantile(gaps, 0.5), quantile(gaps, 0.99), quantile(gaps, 1))
	if worst := slowest(flows); worst.SilenceMs > 500 {
		s.say("the longest was flow %d from %v to %v, of %s", worst.ID, worst.Client, worst.Service, before[worst.Client].GetOwner())
	}
	if flows, err = s.client.Ask("wake", nil); err != nil {
		return "", err
	}
	after, err := s.placement(ctx)
	if err != nil {
		return "", err
	}
	n := takenOver(flows, before, after, victim)
	s.result.takenOver += n
	s.say("idle connections woken; %d flows broken; %d connections taken over", len(brokenFlows(flows)), n)
	return victim, nil
}

// comeBack starts the dead node and waits until it is admitted and holds every session.
func (s *scenario) comeBack(ctx context.Context, victim string) error {
	began := time.Now()
	if err := s.lab.Start(path.Base(victim)); err != nil {
		return err
	}
	if err := s.lab.WaitAdmitted(ctx); err != nil {
		return fmt.Errorf("return of %s: %w", victim, err)
	}
	if err := s.lab.WaitServing(ctx); err != nil {
		return fmt.Errorf("return of %s: %w", victim, err)
	}
	s.say("%s is back and admitted after %.1f s", path.Base(victim), time.Since(began).Seconds())
	flows, err := s.client.Ask("report", nil)
	if err != nil {
		return err
	}
	if _, err := s.waitReplicated(ctx, flows); err != nil {
		return fmt.Errorf("stock of %s: %w", victim, err)
	}
	return nil
}

// finish closes all flows in order and counts what broke.
func (s *scenario) finish() error {
	flows, err := s.client.Ask("close", nil)
	if err != nil {
		return err
	}
	broken := brokenFlows(flows)
	s.result.broken = len(broken)
	for i, f := range broken {
		if i == 10 {
			s.say("… and %d more", len(broken)-i)
			break
		}
		s.say("broken: %s flow %d %v to %v after %d answers: %s", f.Kind, f.ID, f.Client, f.Service, f.Received, f.Broken)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// plan is the load: half of the connections idle.
func plan(connections, udp int) load.Plan {
	return load.Plan{
		Active: connections - connections/2, Idle: connections / 2, UDP: udp, VIP4: topo.VIP4, VIP6: topo.VIP6,
		StreamPort: topo.PortStream, EchoPort: topo.PortEchoUDP, IntervalMs: 50, Payload: 1000, StallMs: 15000,
	}
}
