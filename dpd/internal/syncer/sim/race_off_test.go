//go:build !race

package sim

const (
	seedsPerKind     = 2
	seedsPerScenario = 3
	churnMost        = 100_000 // changes a second
)

// topRate is the highest rate of ends a second that tests of rates go to.
const topRate = 10_000
