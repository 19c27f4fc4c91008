// Command vm proves hardware steering in a virtual machine: net_tap turns rte_flow rules into tc flower rules, which the
// kernel of this host may lack and Debian's cloud kernel has.
//
// It fetches that kernel (unpacked into the user's cache folder, never installed), packs the program under test with its
// libraries and busybox into an initial file system, boots QEMU without KVM, and runs a script in it as root. What the guest
// prints is printed. The exit code is 0 only if the script ended with 0.
//
//	vm                       both proofs: package dpdk alone (steering), and dpd with its own rules (dpd)
//	vm -run dpd -dpd bin/dpd one of them, with a dpd that was built before
//	vm -add bin/dpd=/bin/dpd -add dpd.yaml=/etc/dpd.yaml -script anything.sh
//
// In the script: busybox's commands, -add files at their places, modules loaded, lo up, /sys and /proc mounted.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// additions are files to put into the guest, "host path=guest path".
type additions []string

func (a *additions) String() string { return strings.Join(*a, " ") }

func (a *additions) Set(s string) error {
	if host, guest, ok := strings.Cut(s, "="); !ok || host == "" || !strings.HasPrefix(guest, "/") {
		return fmt.Errorf("want HOST_PATH=/GUEST/PATH")
	}
	*a = append(*a, s)
	return nil
}

func main() {
	var add additions
	flag.Var(&add, "add", "`HOST=GUEST` file to put into the guest; an ELF program brings its libraries along; may be repeated")
	which := flag.String("run", "steering,dpd", "`proofs` to run, separated by commas")
	dpd := flag.String("dpd", "", "`program` to prove instead of one that is built now")
	script := flag.String("script", "", "shell `script` to run in the guest instead of the proofs")
	dir := flag.String("cache", "", "`folder` for the kernel; default is holdfast-vm in the user's cache folder")
	timeout := flag.Duration("timeout", 3*time.Minute, "longest time for the guest")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, add, *which, *dpd, *script, *dir, *timeout); err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, add additions, which, dpd, script, cache string, timeout time.Duration) error {
	if err := needed(); err != nil {
		return err
	}
	if cache == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("no cache folder, give one with -cache: %w", err)
		}
		cache = filepath.Join(base, "holdfast-vm")
	}
	k, err := fetchKernel(ctx, cache)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "hfvm")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	var text []byte
	if script != "" {
		text, err = os.ReadFile(script)
	} else {
		var files additions
		files, text, err = prepare(ctx, tmp, which, dpd)
		add = append(files, add...)
	}
	if err != nil {
		return err
	}
	img := filepath.Join(tmp, "initramfs")
	if err := pack(img, k, add, text); err != nil {
		return fmt.Errorf("pack the guest's files: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return boot(ctx, k, img)
}
