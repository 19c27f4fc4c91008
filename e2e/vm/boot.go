package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// exitMark begins the line by which the guest tells how its script ended.
const exitMark = "vm-script-exit:"

// boot runs the guest until it powers off, prints its console, and returns nil if its script ended with 0.
func boot(ctx context.Context, k kernel, img string) error {
	// KVM is left alone on purpose: nested in other machines it may hang, and two processors are emulated fast enough.
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048",
		"-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio", "-kernel", k.image, "-initrd", img,
		"-append", "console=ttyS0 quiet panic=-1 net.ifnames=0")
	cmd.WaitDelay = 5 * time.Second
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	code, said := console(out, os.Stdout)
	err = cmd.Wait()
	switch {
	case said && code == "0":
		return nil
	case said:
		return fmt.Errorf("the guest's script ended with %s", code)
	case ctx.Err() != nil:
		return fmt.Errorf("the guest did not end: %w", context.Cause(ctx))
	case err != nil:
		return fmt.Errorf("the guest stopped before its script ended: %w", err)
	}
	return errors.New("the guest stopped before its script ended")
}

// console copies the guest's lines to w and returns what followed the exit mark.
func console(r io.Reader, w io.Writer) (code string, said bool) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		line := strings.TrimRight(s.Text(), "\r")
		if c, ok := strings.CutPrefix(line, exitMark); ok && !said {
			code, said = strings.TrimSpace(c), true
			continue
		}
		fmt.Fprintln(w, line)
	}
	return code, said
}
