//go:build !dpdk

// Command path measures the forwarding path of one worker on DPDK's net_ring against dpdk-testpmd. Without the tag dpdk it
// only says so; the path without a device is measured by the benchmarks of package worker.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "path: built without the tag dpdk: there is no device to measure on")
	os.Exit(1)
}
