package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
)

// steeringScript runs the steering test of package dpdk in the guest.
const steeringScript = `cd /tmp && /bin/dpdk.test -test.run '^TestSteersInHardware$' -test.v -test.timeout 120s`

// buildSteeringTest builds that test. The tag vm adds it: on other machines the kernel side is missing.
func buildSteeringTest(ctx context.Context, out string) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-tags", "dpdk,vm", "-o", out, "github.com/holdfast-lb/holdfast/dpd/internal/dpdk")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1", "CGO_CFLAGS_ALLOW=-mrtm", "CGO_LDFLAGS_ALLOW=-Wl,--(?:no-)?whole-archive")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build the steering test: %w", err)
	}
	return nil
}
