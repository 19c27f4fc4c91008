//go:build race

package campaign

// The race detector makes a run several times as slow.
const (
	seedsPerKind   = 1
	seedsPerMutant = 6
)
