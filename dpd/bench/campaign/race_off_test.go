//go:build !race

package campaign

const (
	seedsPerKind   = 1
	seedsPerMutant = 6
)
