package dpdk

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Pin binds the calling thread to a core. The caller's goroutine is locked to its thread, and stays so: a thread that was
// pinned must not go back to the Go scheduler.
func Pin(core int) error {
	if core < 0 || core >= 1024 {
		return fmt.Errorf("pin to core %d: no such core", core)
	}
	var set unix.CPUSet
	set.Set(core)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pin to core %d: %w", core, err)
	}
	return nil
}
