//go:build dpdk

package dpdk

// #include <rte_version.h>
import "C"

// Version is DPDK's own name of the version that this binary runs with, for example "DPDK 22.11.7".
func Version() string { return C.GoString(C.rte_version()) }

// ID is DPDK's number of the port, for what is measured beside this package.
func (p *Port) ID() uint16 { return uint16(p.id) }
