package main

import (
	"fmt"

	"github.com/holdfast-lb/holdfast/dpd/bench/mesh"
)

// scenario is one run.
type scenario struct {
	name           string
	nodes, workers int
	rate           int   // lives a second
	length         int64 // milliseconds of traffic
	// mark is when the first of the two states is taken that must not differ: the run is steady, no
	// fault has begun.
	mark int64
	// healthy are the nodes that are judged.
	healthy []int
	// sound: nothing is wrong, so every criterion counts. Else those that the fault leaves to the
	// healthy ones.
	sound bool
	// closed and aged are how old, in milliseconds, tombstones may get on a healthy node.
	closed, aged int64
	fault        fault
}

// fault is something that goes wrong: begin is called before each millisecond of traffic, at from
// its start.
type fault func(m *mesh.Mesh, at int64) error

// steady is how long, in milliseconds, it takes until as many sessions and tombstones go as come:
// the longest life, 7 s of TIME_WAIT, a second of the sweep, and the 12 s that a tombstone may
// live.
const steady = 21_000

// tombMost is how old a tombstone may get where nothing is wrong.
const tombMost = 12_000

// scenarios is the list, the short ones first.
func scenarios() (list []scenario) {
	for _, nodes := range []int{2, 3} {
		list = append(list,
			sound(fmt.Sprintf("%dx10k", nodes), nodes, 1, 10_000, 180_000),
			sound(fmt.Sprintf("%dx100k", nodes), nodes, 1, 100_000, 30_000))
	}
	list = append(list, sound("2x10k-two-workers", 2, 2, 10_000, 180_000))
	return append(list, long.scenarios(10_000)...)
}

// scenarios are the runs in which something goes wrong.
func (t timeline) scenarios(rate int) (list []scenario) {
	for _, f := range t.faults() {
		s := scenario{
			name: f.name, nodes: f.nodes, workers: 1, rate: rate, length: t.length, mark: f.mark, healthy: []int{0, 1},
			closed: f.closed, aged: f.aged, fault: f.fault,
		}
		if s.mark == 0 {
			s.mark = t.begin - 1_000
		}
		list = append(list, s)
	}
	return list
}

func sound(name string, nodes, workers, rate int, length int64) scenario {
	s := scenario{
		name: name, nodes: nodes, workers: workers, rate: rate, length: length, mark: max(length/3, steady), sound: true,
		closed: tombMost, aged: tombMost,
	}
	for i := range nodes {
		s.healthy = append(s.healthy, i)
	}
	return s
}
