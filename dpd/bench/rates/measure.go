package main

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/holdfast-lb/holdfast/dpd/bench/mesh"
)

const (
	// quiet is before the traffic: links stand, digests were equal, and it is longer than a
	// datagram's session is asked for after a new view.
	quiet = 16_000
	// drain is after it: every session ends, and every tombstone goes.
	drain  = steady + 3_000
	sample = 100 // milliseconds between samples
)

// measure runs a scenario.
func measure(s scenario, verbose bool) (_ *result, err error) {
	// A table holds what lives, and some aged ones; the ended cache what was closed in the last
	// twelve seconds.
	m, err := mesh.New(mesh.Config{
		Nodes: s.nodes, Workers: s.workers, Room: s.rate*10 + 4096, Ended: s.rate*14 + 4096,
		Rounds: max(2, s.rate/12_500), Seed: 1,
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	t, err := m.NewTraffic(s.rate + 4096) // a life takes half a second at most
	if err != nil {
		return nil, err
	}
	t.UDP, t.Apart = 50, 500
	states := make([]mesh.State, s.nodes)
	for i := range states {
		states[i] = mesh.Admitted
		t.Doors = append(t.Doors, i)
	}
	if s.fault == nil {
		err = m.View(states...)
	} else if err = s.fault(m, 0); err == nil && len(t.Doors) == s.nodes {
		err = m.View(states...)
	}
	if err != nil {
		return nil, err
	}
	m.Rest(quiet)
	r := newResult(s, m)
	t.Rate = s.rate
	for at := range s.length {
		if s.fault != nil && at > 0 {
			if err := s.fault(m, at); err != nil {
				return nil, fmt.Errorf("at %d ms: %w", at, err)
			}
		}
		if at == s.mark {
			r.marked = stateOf(s, m)
		}
		m.Step()
		if at%sample == 0 {
			r.take(s, m)
		}
		if verbose && at%10_000 == 9_999 {
			fmt.Printf("  %3d s: %s\n", (at+1)/1000, r.now(s, m))
		}
	}
	r.finish(s, m)
	t.Rate = 0
	for t.Living() > 0 {
		m.Step()
	}
	m.Rest(drain)
	r.after(s, m)
	return r, nil
}

// state is what must not grow. Bytes.
type state struct {
	heap    uint64 // live, without the ended caches of all nodes, which have a limit
	records int    // of all healthy nodes
	closed  int    // sessions that are not collected yet
	aged    int
	ended   int // bytes of the closed ones
}

func stateOf(s scenario, m *mesh.Mesh) (x state) {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC() // what the first one only found to be unused is gone now
	runtime.ReadMemStats(&stats)
	x.heap = stats.HeapAlloc
	for _, n := range m.Nodes {
		x.heap -= uint64(n.EndedBytes())
	}
	for _, i := range s.healthy {
		x.records += m.Nodes[i].Records()
		closed, aged := m.Nodes[i].Tombs()
		x.closed += closed
		x.aged += aged
		x.ended += m.Nodes[i].EndedBytes()
	}
	return x
}
