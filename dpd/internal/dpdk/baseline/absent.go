//go:build !dpdk

// Package baseline holds loops in C that benchmarks compare the Go side with; this binary has none.
package baseline
