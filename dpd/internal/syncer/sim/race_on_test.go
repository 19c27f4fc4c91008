//go:build race

package sim

// The race detector makes a run several times as slow, so fewer are made.
const (
	seedsPerKind     = 1
	seedsPerScenario = 1
)
