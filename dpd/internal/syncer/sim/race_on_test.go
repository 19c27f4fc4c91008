//go:build race

package sim

// The race detector makes a run several times as slow, so fewer are made.
const (
	seedsPerKind     = 1
	seedsPerScenario = 1
	churnMost        = 10_000 // changes a second
)

// topRate is the highest rate of ends a second that tests of rates go to.
const topRate = 1_000
