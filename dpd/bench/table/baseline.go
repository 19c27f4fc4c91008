package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	_ "embed"
)

//go:embed baseline/rte_hash.c
var source []byte

// buildBaseline compiles the C program into a folder that clean removes.
func buildBaseline() (binary string, clean func(), err error) {
	dir, err := os.MkdirTemp("", "holdfast-table-")
	if err != nil {
		return "", nil, err
	}
	clean = func() { _ = os.RemoveAll(dir) }
	defer func() {
		if err != nil {
			clean()
		}
	}()
	c := filepath.Join(dir, "rte_hash.c")
	if err = os.WriteFile(c, source, 0o600); err != nil {
		return "", nil, err
	}
	flags, err := pkgConfig("--cflags")
	if err != nil {
		return "", nil, err
	}
	libs, err := pkgConfig("--libs")
	if err != nil {
		return "", nil, err
	}
	binary = filepath.Join(dir, "rte_hash")
	args := append([]string{"-O3"}, flags...)
	args = append(args, "-march=native", "-o", binary, c)
	if msg, err := exec.Command("cc", append(args, libs...)...).CombinedOutput(); err != nil {
		return "", nil, fmt.Errorf("compile the baseline: %w\n%s", err, msg)
	}
	return binary, clean, nil
}

func pkgConfig(what string) ([]string, error) {
	out, err := exec.Command("pkg-config", what, "libdpdk").Output()
	if err != nil {
		return nil, fmt.Errorf("the baseline needs DPDK's headers (pkg-config %s libdpdk): %w", what, err)
	}
	return strings.Fields(string(out)), nil
}

// baseline is the running C program with a filled table.
type baseline struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func startBaseline(binary string, sessions int) (*baseline, error) {
	b := &baseline{cmd: exec.Command(binary, fmt.Sprint(sessions))}
	b.cmd.Stderr = os.Stderr
	var err error
	if b.in, err = b.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	b.out = bufio.NewScanner(out)
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	for b.out.Scan() {
		if b.out.Text() == "ready" {
			return b, nil
		}
	}
	return nil, errors.Join(errors.New("the baseline didn't start"), b.cmd.Wait())
}

// measure is the nanoseconds of one look-up with update.
func (b *baseline) measure(seed uint64, count int) (float64, error) {
	if _, err := fmt.Fprintln(b.in, seed, count); err != nil {
		return 0, err
	}
	if !b.out.Scan() {
		return 0, errors.Join(errors.New("the baseline ended"), b.out.Err())
	}
	var ns, found float64
	if _, err := fmt.Sscan(b.out.Text(), &ns, &found); err != nil {
		return 0, fmt.Errorf("the baseline said %q: %w", b.out.Text(), err)
	}
	if found < float64(count) {
		return 0, fmt.Errorf("the baseline found %v of %d", found, count)
	}
	return ns / found, nil
}

func (b *baseline) stop() error {
	return errors.Join(b.in.Close(), b.cmd.Wait())
}
