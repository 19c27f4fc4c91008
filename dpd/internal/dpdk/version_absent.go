//go:build !dpdk

package dpdk

// Version is empty: this binary has no DPDK.
func Version() string { return "" }
