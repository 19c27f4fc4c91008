//go:build !race

package sim

const (
	seedsPerKind     = 2
	seedsPerScenario = 3
)
