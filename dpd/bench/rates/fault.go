package main

import "github.com/holdfast-lb/holdfast/dpd/bench/mesh"

// timeline is when a fault begins and what a coordinator does about it, in milliseconds of traffic.
type timeline struct {
	begin   int64
	aside   int64 // a joiner that makes no progress is put aside
	degrade int64 // a member that hears nothing is marked
	heal    int64 // it hears again
	admit   int64 // it is marked no longer
	full    int64 // until then a ring is full
	length  int64
}

// long is that of make rates.
var long = timeline{begin: 40_000, aside: 100_000, degrade: 45_000, heal: 120_000, admit: 125_000, full: 41_000, length: 180_000}

type namedFault struct {
	name         string
	nodes        int
	closed, aged int64 // see scenario
	mark         int64 // 0: before the fault
	fault        fault
}

// faults are what may go wrong with one node of three, or one ring. The bounds on tombstones are
// those of the rules: what was closed waits for no joiner and for no member that is marked; what
// aged, and may be revived, waits 60 s for a joiner and 120 s for a member; what was lost in a ring is
// known by digests alone, after 60 s. A joiner that takes its bulk has memory of its own, so there
// the state to compare with is that after it.
func (t timeline) faults() []namedFault {
	const admitted, joining, degraded = mesh.Admitted, mesh.Joining, mesh.Degraded
	return []namedFault{
		{"joiner-that-answers", 3, tombMost, 60_000 + tombMost, t.begin + (t.aside-t.begin)/2, func(m *mesh.Mesh, at int64) error {
			switch at {
			case 0: // it is no member yet
				m.Traffic.Doors = []int{0, 1}
				return m.View(admitted, admitted)
			case t.begin:
				if err := m.View(admitted, admitted, joining); err != nil {
					return err
				}
				for i := range 2 {
					if err := m.Bulk(i, 2); err != nil {
						return err
					}
				}
			case t.aside:
				return m.View(admitted, admitted)
			}
			return nil
		}},
		{"joiner-that-never-answers", 2, tombMost, 60_000 + tombMost, 0, func(m *mesh.Mesh, at int64) error {
			switch at {
			case t.begin:
				return m.View(admitted, admitted, joining)
			case t.aside:
				return m.View(admitted, admitted)
			}
			return nil
		}},
		{"member-that-hears-nothing", 3, t.degrade - t.begin + tombMost + 3_000, 120_000, 0, func(m *mesh.Mesh, at int64) error {
			switch at {
			case t.begin: // the router has no path to it any more
				m.Drop = func(_, to int) bool { return to == 2 }
				m.Traffic.Doors = []int{0, 1}
			case t.degrade:
				return m.View(admitted, admitted, degraded)
			case t.heal:
				m.Drop = nil
			case t.admit:
				m.Traffic.Doors = []int{0, 1, 2}
				return m.View(admitted, admitted, admitted)
			}
			return nil
		}},
		{"full-ring-to-the-sync-thread", 2, 60_000 + tombMost, 60_000 + tombMost, 0, func(m *mesh.Mesh, at int64) error {
			m.Nodes[0].RefuseOutbox = at >= t.begin && at < t.full
			return nil
		}},
		{"full-ring-to-a-worker", 2, 60_000 + tombMost, 60_000 + tombMost, 0, func(m *mesh.Mesh, at int64) error {
			m.Nodes[0].RefuseInbox = at >= t.begin && at < t.full
			return nil
		}},
	}
}
