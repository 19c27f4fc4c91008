//go:build !dpdk

package dpdk

// Version is empty: this binary has no DPDK.
func Version() string { return "" }

// ID is DPDK's number of a port; this binary has none.
func (p *Port) ID() uint16 { p.absent(); return 0 }
