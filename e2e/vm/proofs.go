package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const module = "github.com/holdfast-lb/holdfast/"

// dpdConfig is the configuration of the guest's dpd; program prove knows its addresses.
//
//go:embed prove/dpd.yaml
var dpdConfig []byte

// proofs are what runs in the guest by default, in one boot.
var proofs = []struct {
	name   string
	script string
	files  func(ctx context.Context, dir, dpd string) (additions, error)
}{
	{"steering", "/bin/dpdk.test -test.run '^TestSteersInHardware$' -test.v -test.timeout 120s\n", steeringFiles},
	{"dpd", "/bin/prove --config /etc/dpd.yaml\n", dpdFiles},
}

// prepare builds what the chosen proofs need in dir and returns their files and the script.
func prepare(ctx context.Context, dir, which, dpd string) (additions, []byte, error) {
	var all additions
	script := "set -e\ncd /tmp\n"
	for _, name := range strings.Split(which, ",") {
		known := false
		for _, p := range proofs {
			if p.name != name {
				continue
			}
			known = true
			add, err := p.files(ctx, dir, dpd)
			if err != nil {
				return nil, nil, err
			}
			all = append(all, add...)
			script += p.script
		}
		if !known {
			return nil, nil, fmt.Errorf("no proof %q, want steering or dpd", name)
		}
	}
	return all, []byte(script), nil
}

// steeringFiles is the steering test of package dpdk. The tag vm adds it: on other machines the kernel's side is missing.
func steeringFiles(ctx context.Context, dir, _ string) (additions, error) {
	out := filepath.Join(dir, "dpdk.test")
	err := gotool(ctx, "1", "test", "-c", "-tags", "dpdk,vm", "-o", out, module+"dpd/internal/dpdk")
	return additions{out + "=/bin/dpdk.test"}, err
}

// dpdFiles are dpd, its configuration, and the program that plays its control plane and its network.
func dpdFiles(ctx context.Context, dir, dpd string) (additions, error) {
	if dpd == "" {
		dpd = filepath.Join(dir, "dpd")
		if err := gotool(ctx, "1", "build", "-tags", "dpdk", "-o", dpd, module+"dpd"); err != nil {
			return nil, err
		}
	}
	prove, config := filepath.Join(dir, "prove"), filepath.Join(dir, "dpd.yaml")
	if err := gotool(ctx, "0", "build", "-o", prove, module+"e2e/vm/prove"); err != nil {
		return nil, err
	}
	if err := os.WriteFile(config, dpdConfig, 0o644); err != nil {
		return nil, err
	}
	return additions{dpd + "=/bin/dpd", prove + "=/bin/prove", config + "=/etc/dpd.yaml"}, nil
}

func gotool(ctx context.Context, cgo string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo, "CGO_CFLAGS_ALLOW=-mrtm", "CGO_LDFLAGS_ALLOW=-Wl,--(?:no-)?whole-archive")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return nil
}
