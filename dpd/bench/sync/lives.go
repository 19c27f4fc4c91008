package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-lb/holdfast/dpd/bench/mesh"
)

const (
	livesRate   = 100_000 // a second of each node, in virtual time
	livesWarm   = 9_000   // milliseconds until as many sessions end as begin, see TIME_WAIT
	livesSlice  = 250     // milliseconds of one measurement, 25 k lives
	livesRounds = 8       // about 100 packets a turn
)

// crowd is a mesh under a load of TCP lives, of which one worker's time is measured: that of node
// 0.
type crowd struct {
	*mesh.Mesh
	worker, sync time.Duration // of node 0
	err          error
}

func newCrowd(nodes int) (*crowd, error) {
	m, err := mesh.New(mesh.Config{Nodes: nodes, Room: nodes * livesRate * 10, Ended: nodes * livesRate * 14, Rounds: livesRounds, Seed: 1})
	if err != nil {
		return nil, err
	}
	c := &crowd{Mesh: m}
	t, err := m.NewTraffic(nodes * livesRate)
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	var view []mesh.State
	for i := range nodes {
		view, t.Doors = append(view, mesh.Admitted), append(t.Doors, i)
	}
	if err := m.View(view...); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	m.Rest(12_000) // links, and the time after a view in which more is asked for
	t.Rate = nodes * livesRate
	for range livesWarm {
		m.Step()
	}
	m.Around = c.around
	return c, nil
}

// around adds up the processor time of node 0's threads.
func (c *crowd) around(n *mesh.Node, sync bool, turn func() bool) {
	if n != c.Nodes[0] {
		turn()
		return
	}
	began, err := threadTime()
	turn()
	ended, err2 := threadTime()
	c.err = errors.Join(c.err, err, err2)
	if sync {
		c.sync += ended - began
	} else {
		c.worker += ended - began
	}
}

// slice returns the lives that node 0's worker and its sync thread would carry in a second of their
// time, in millions. The lives of all nodes are alike in number, so node 0 has its share of them.
func (c *crowd) slice() (worker, sync float64, err error) {
	before := c.Traffic.Count
	c.worker, c.sync = 0, 0
	for range livesSlice {
		c.Step()
	}
	t := c.Traffic.Count
	if t.Broken != before.Broken || t.Again != before.Again || t.Lost != before.Lost || t.Waiting != before.Waiting {
		return 0, 0, fmt.Errorf("lives were disturbed: %+v, before %+v", t, before)
	}
	lives := float64(t.Ended-before.Ended) / float64(len(c.Nodes)) / 1e6
	return lives / c.worker.Seconds(), lives / c.sync.Seconds(), c.err
}

// measureLives measures P8: what one data core carries of TCP lives, eight packets each, alone, and
// with a peer that carries as many, each hearing of all of the other's.
func measureLives(rep *report, pairs int) (err error) {
	alone, err := newCrowd(1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, alone.Close()) }()
	pair, err := newCrowd(2)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pair.Close()) }()
	var ours, base, ratios, threads []float64
	for i := range pairs {
		order := []*crowd{pair, alone}
		if i%2 == 1 {
			slices.Reverse(order)
		}
		v := map[*crowd]float64{}
		for _, c := range order {
			w, s, err := c.slice()
			if err != nil {
				return fmt.Errorf("P8: %w", err)
			}
			if v[c] = w; c == pair {
				threads = append(threads, s)
			}
		}
		ours, base, ratios = append(ours, v[pair]), append(base, v[alone]), append(ratios, v[pair]/v[alone])
	}
	row := func(metric string, values []float64, goal float64, note string) result {
		holds := median(values) >= goal && pairs >= 7
		return result{ID: "P8", Metric: metric, Unit: "Mlives/s", Ours: median(values), Goal: &goal, Holds: &holds, Note: note}
	}
	rep.add(row("full TCP lives of one data core, no peers", base, 0.9, "eight packets a life, generator and device not counted"))
	x := row("full TCP lives of one data core, one peer and sync, both directions", ours, 0.7,
		fmt.Sprintf("baseline: no peers; its sync thread carries %.2f M lives a second", median(threads)))
	x.Baseline, x.Ratio, x.Spread = median(base), median(ratios), [2]float64{slices.Min(ratios), slices.Max(ratios)}
	rep.add(x)
	return nil
}
