package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// kernel is an unpacked Debian kernel package.
type kernel struct {
	image   string // vmlinuz
	modules string // lib/modules/VERSION
}

// cloudKernel is the Debian package whose one dependency is the kernel.
const cloudKernel = "linux-image-cloud-amd64"

// needed says at once what this host lacks.
func needed() error {
	var missing []string
	for prog, pkg := range map[string]string{
		"qemu-system-x86_64": "qemu-system-x86", "busybox": "busybox-static", "apt-get": "apt", "dpkg-deb": "dpkg", "ldd": "libc-bin",
	} {
		if _, err := exec.LookPath(prog); err != nil {
			missing = append(missing, pkg)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("missing Debian packages: %s", strings.Join(missing, " "))
	}
	return nil
}

// fetchKernel finds the unpacked kernel in the cache folder, or downloads and unpacks it there.
func fetchKernel(ctx context.Context, cache string) (kernel, error) {
	if k, err := findKernel(cache); err == nil {
		return k, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return kernel{}, err
	}
	out, err := command(ctx, cache, "apt-cache", "depends", cloudKernel)
	if err != nil {
		return kernel{}, err
	}
	_, rest, _ := strings.Cut(out, "Depends: ")
	name, _, _ := strings.Cut(rest, "\n")
	if !strings.HasPrefix(name, "linux-image-") {
		return kernel{}, fmt.Errorf("apt knows no kernel behind %s; apt-get update may help", cloudKernel)
	}
	fmt.Printf("vm: fetching %s\n", name)
	if _, err := command(ctx, cache, "apt-get", "-qq", "download", name); err != nil {
		return kernel{}, err
	}
	debs, err := filepath.Glob(filepath.Join(cache, name+"_*.deb"))
	if err != nil || len(debs) == 0 {
		return kernel{}, errors.Join(err, fmt.Errorf("apt-get left no package of %s in %s", name, cache))
	}
	// Unpacked beside its place and renamed, so that an interrupted run leaves no half kernel behind.
	part := filepath.Join(cache, "part")
	if err := os.RemoveAll(part); err != nil {
		return kernel{}, err
	}
	if _, err := command(ctx, cache, "dpkg-deb", "-x", debs[0], part); err != nil {
		return kernel{}, err
	}
	if err := errors.Join(os.Rename(part, filepath.Join(cache, "kernel")), os.Remove(debs[0])); err != nil {
		return kernel{}, err
	}
	return findKernel(cache)
}

func findKernel(cache string) (kernel, error) {
	images, _ := filepath.Glob(filepath.Join(cache, "kernel/boot/vmlinuz-*"))
	if len(images) != 1 {
		return kernel{}, fmt.Errorf("%d kernels in %s", len(images), cache)
	}
	version := strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	k := kernel{image: images[0], modules: filepath.Join(cache, "kernel/lib/modules", version)}
	_, err := os.Stat(k.modules)
	return k, err
}

// modules are loaded in this order: what the tap device, its queues and flow rules need.
var modules = []string{
	"net/sched/sch_multiq", "net/sched/sch_ingress", "net/sched/act_skbedit", "net/sched/act_gact", "net/sched/act_mirred",
	"net/sched/cls_flower", "net/sched/cls_bpf", "net/sched/act_bpf", "drivers/net/tun",
}

// command runs a program in a folder and returns what it printed; an error carries its last words.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(words.Bytes()))
	}
	return out.String(), nil
}
