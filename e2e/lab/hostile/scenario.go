package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-lb/holdfast/e2e/lab/cluster"
	"github.com/holdfast-lb/holdfast/e2e/lab/load"
	"github.com/holdfast-lb/holdfast/e2e/lab/topo"
)

// plan is how much is tried.
type plan struct {
	kinds    []kind
	rates    []int
	restarts int           // of each kind at each rate
	baseline int           // restarts without an attack
	control  int           // restarts under the control at each rate, each time that it is run
	maxDelay time.Duration // from which on an admission is delayed too long
	load     load.Plan
}

// controlEvery is after how many kinds the control is run again.
const controlEvery = 4

// scenario is one run.
type scenario struct {
	plan    plan
	lab     *cluster.Lab
	rest    *cluster.REST
	client  *cluster.Client
	seg     *segment
	book    *book
	capture *capture
	broken  map[uint32]bool // flows that broke so far
	seed    uint64          // of the last flood
	turn    int             // node that is restarted next
	began   time.Time
	result  result
}

func (s *scenario) say(format string, args ...any) {
	fmt.Printf("hostile: %6.1f s  "+format+"\n", append([]any{time.Since(s.began).Seconds()}, args...)...)
}

func (s *scenario) run(ctx context.Context) error {
	nodes, err := s.rest.Nodes(ctx)
	if err != nil {
		return err
	}
	s.book.know(members(nodes))
	for _, m := range s.book.all() {
		if len(m.sips) != 2 || len(s.book.all()) != s.lab.Nodes {
			return fmt.Errorf("%w: %+v", errLab, m)
		}
	}
	if err := s.open(ctx); err != nil {
		return err
	}
	s.result.maxDelay = s.plan.maxDelay
	base := &s.result.baseline
	base.kind = "baseline"
	if err := s.series(ctx, base, kind{name: base.kind}, s.plan.baseline); err != nil {
		return err
	}
	for _, rate := range s.plan.rates {
		s.result.controls = append(s.result.controls, series{kind: closedPort.name, rate: rate})
	}
	for i, k := range s.plan.kinds {
		// The control is spread over the run: what else the machine does changes with time.
		if i%controlEvery == 0 {
			for c := range s.result.controls {
				if err := s.series(ctx, &s.result.controls[c], closedPort, s.plan.control); err != nil {
					return err
				}
			}
		}
		for _, rate := range s.plan.rates {
			s.result.attacks = append(s.result.attacks, series{kind: k.name, rate: rate})
			to := &s.result.attacks[len(s.result.attacks)-1]
			if err := s.series(ctx, to, k, s.plan.restarts); err != nil {
				return err
			}
			if err := s.repeat(ctx, to, k, max(s.plan.restarts, 3)); err != nil {
				return err
			}
		}
	}
	return nil
}

// series restarts n nodes in turn under a kind, and says what came of it.
func (s *scenario) series(ctx context.Context, to *series, k kind, n int) error {
	for range n {
		t, err := s.next(ctx, k, to.rate)
		if err != nil {
			return err
		}
		to.trials = append(to.trials, t)
	}
	s.say("%s", s.result.row(to))
	return nil
}

// repeat tries a series again whose admissions were late, by turns with the control: the machine
// may have been busy with something else. A fault of the protocol shows again.
func (s *scenario) repeat(ctx context.Context, to *series, k kind, n int) error {
	const rounds = 2
	for range rounds {
		if s.result.delayed(to) < s.plan.maxDelay {
			return nil
		}
		to.judged, to.beside = len(to.trials), nil
		for range n {
			c, err := s.next(ctx, closedPort, to.rate)
			if err != nil {
				return err
			}
			to.beside = append(to.beside, c)
			control := s.result.control(to.rate)
			control.trials = append(control.trials, c)
			t, err := s.next(ctx, k, to.rate)
			if err != nil {
				return err
			}
			to.trials = append(to.trials, t)
		}
		s.say("%s", s.result.row(to))
	}
	return nil
}

// next restarts the next node in turn. A node that is not admitted in time counts with that time;
// the run goes on.
func (s *scenario) next(ctx context.Context, k kind, rate int) (trial, error) {
	victim := s.turn % s.lab.Nodes
	s.turn++
	t, err := s.restart(ctx, victim, k, rate)
	if err != nil && (ctx.Err() != nil || !errors.Is(err, errLate)) {
		return t, fmt.Errorf("%s at %d/s, restart of %s: %w", k.name, rate, topo.Node(victim+1), err)
	}
	if err != nil {
		t.admission, t.example = admitLimit, err.Error()
	}
	return t, nil
}
