package main

import "github.com/holdfast-lb/holdfast/dpd/bench/mesh"

// When faults begin and what a coordinator does about them, in milliseconds of traffic.
const (
	faultAt   = 40_000
	putAside  = faultAt + 60_000 // a joiner that makes no progress
	degradeAt = faultAt + 5_000  // a member that hears nothing
	healAt    = faultAt + 80_000
	admitAt   = healAt + 5_000
	fullFor   = 1_000
)

type namedFault struct {
	name   string
	nodes  int
	oldest int64
	fault  fault
}

// faults are what may go wrong with one node of three, or one ring. The bounds on tombstones are
// those of the rules: with a joiner ends may be kept until it is put aside; a member that hears
// nothing counts until it is marked; what was lost in a ring is known by digests alone, after 60 s.
func faults() []namedFault {
	const admitted, joining, degraded = mesh.Admitted, mesh.Joining, mesh.Degraded
	return []namedFault{
		{"joiner-that-answers", 3, 60_000 + tombMost, func(m *mesh.Mesh, at int64) error {
			switch at {
			case 0: // it is no member yet
				m.Traffic.Doors = []int{0, 1}
				return m.View(admitted, admitted)
			case faultAt:
				if err := m.View(admitted, admitted, joining); err != nil {
					return err
				}
				for i := range 2 {
					if err := m.Bulk(i, 2); err != nil {
						return err
					}
				}
			case putAside:
				return m.View(admitted, admitted)
			}
			return nil
		}},
		{"joiner-that-never-answers", 2, 60_000 + tombMost, func(m *mesh.Mesh, at int64) error {
			switch at {
			case faultAt:
				return m.View(admitted, admitted, joining)
			case putAside:
				return m.View(admitted, admitted)
			}
			return nil
		}},
		{"member-that-hears-nothing", 3, degradeAt - faultAt + tombMost + 3_000, func(m *mesh.Mesh, at int64) error {
			switch at {
			case faultAt: // the router has no path to it any more
				m.Drop = func(_, to int) bool { return to == 2 }
				m.Traffic.Doors = []int{0, 1}
			case degradeAt:
				return m.View(admitted, admitted, degraded)
			case healAt:
				m.Drop = nil
			case admitAt:
				m.Traffic.Doors = []int{0, 1, 2}
				return m.View(admitted, admitted, admitted)
			}
			return nil
		}},
		{"full-ring-to-the-sync-thread", 2, 60_000 + tombMost, func(m *mesh.Mesh, at int64) error {
			m.Nodes[0].RefuseOutbox = at >= faultAt && at < faultAt+fullFor
			return nil
		}},
		{"full-ring-to-a-worker", 2, 60_000 + tombMost, func(m *mesh.Mesh, at int64) error {
			m.Nodes[0].RefuseInbox = at >= faultAt && at < faultAt+fullFor
			return nil
		}},
	}
}
