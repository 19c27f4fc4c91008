//go:build dpdk

package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// ticksPerSecond is the unit of /proc/stat, the same on every Linux that DPDK runs on.
const ticksPerSecond = 100

// cpuTime is the first line of /proc/stat, ticks of all processors by kind, and what this process and its ended children
// used of them.
type cpuTime struct {
	total, idle, steal uint64
	own                float64 // seconds
}

func readCPU() cpuTime {
	var c cpuTime
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return c
	}
	line, _, _ := strings.Cut(string(data), "\n")
	for i, f := range strings.Fields(line) {
		// user nice system idle iowait irq softirq steal; what follows is contained in user.
		if v, err := strconv.ParseUint(f, 10, 64); err == nil && i <= 8 {
			c.total += v
			switch i {
			case 4, 5:
				c.idle += v
			case 8:
				c.steal = v
			}
		}
	}
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if syscall.Getrusage(who, &u) == nil {
			c.own += float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
		}
	}
	return c
}

// othersShare is the part of all processors that other processes of this machine used between two readings.
func othersShare(a, b cpuTime) float64 {
	total := float64(b.total - a.total)
	if total <= 0 {
		return 0
	}
	busy := total - float64(b.idle-a.idle) - float64(b.steal-a.steal)
	return max(0, (busy-(b.own-a.own)*ticksPerSecond)/total)
}

// stealShare is the part of the time between two readings in which another machine had the processor.
func stealShare(a, b cpuTime) float64 {
	if b.total <= a.total {
		return 0
	}
	return float64(b.steal-a.steal) / float64(b.total-a.total)
}

func cpuModel() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for _, line := range strings.Split(string(data), "\n") {
		if name, model, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(model)
		}
	}
	return "unknown"
}

// freeHugePages is the number of huge pages of 2 MiB that nobody uses.
func freeHugePages() int {
	data, err := os.ReadFile("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0
	}
	return n
}
