//go:build dpdk

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// testpmd is a running dpdk-testpmd that waits for commands. Between its turns its cores sleep.
type testpmd struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

const (
	prompt = "testpmd> "
	// bursts that testpmd puts into each ring: nearly all that a ring holds, as on our side.
	bursts = 15
)

func startTestpmd(ctx context.Context, o *options, device string, queues int) (*testpmd, error) {
	args := []string{"-oL", o.testpmd, "--lcores", fmt.Sprintf("0@0,1@%d", o.core), "--no-pci", "--no-telemetry", "--file-prefix", fmt.Sprint("hfpeer", os.Getpid()), "--vdev", device}
	if o.huge {
		args = append(args, "--in-memory")
	} else {
		args = append(args, "--no-huge", "--no-shconf", "--iova-mode", "va", "-m", "256")
	}
	args = append(args, "--", "-i", "--forward-mode=macswap", "--burst=64", "--nb-cores=1", fmt.Sprint("--rxq=", queues), fmt.Sprint("--txq=", queues), "--rxd=1024",
		"--txd=1024", "--mbcache=256", fmt.Sprint("--total-num-mbufs=", mbufs), "--stats-period=0")
	// Its figures leave through stdio, which holds them back on a pipe unless told otherwise.
	t := &testpmd{cmd: exec.CommandContext(ctx, "stdbuf", args...)}
	t.cmd.WaitDelay = 2 * time.Second
	var err error
	if t.in, err = t.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := t.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	t.out = bufio.NewReader(out)
	if err := t.cmd.Start(); err != nil {
		return nil, err
	}
	if text, err := t.wait(); err != nil {
		return nil, errors.Join(fmt.Errorf("%v ended at its start: %w\n%s", t.cmd.Args, err, text), t.cmd.Wait())
	}
	return t, nil
}

// wait reads until the next prompt and returns what came before it.
func (t *testpmd) wait() (string, error) {
	var s strings.Builder
	for !strings.HasSuffix(s.String(), prompt) {
		c, err := t.out.ReadByte()
		if err != nil {
			return s.String(), err
		}
		s.WriteByte(c)
	}
	return s.String(), nil
}

func (t *testpmd) command(line string) (string, error) {
	if _, err := io.WriteString(t.in, line+"\n"); err != nil {
		return "", err
	}
	return t.wait()
}

// measure lets it forward for d and returns the processor time that its process used for a packet, in nanoseconds. Its other
// threads sleep meanwhile.
func (t *testpmd) measure(d time.Duration) (float64, error) {
	before, err := t.cpu()
	if err != nil {
		return 0, err
	}
	if _, err := t.command(fmt.Sprint("start tx_first ", bursts)); err != nil {
		return 0, err
	}
	time.Sleep(d)
	text, err := t.command("stop")
	if err != nil {
		return 0, err
	}
	after, err := t.cpu()
	if err != nil {
		return 0, err
	}
	_, total, _ := strings.Cut(text, "Accumulated forward statistics") // what stands before is by queue
	_, rest, ok := strings.Cut(total, "RX-packets:")
	if fields := strings.Fields(rest); ok && len(fields) > 0 {
		n, err := strconv.ParseUint(fields[0], 10, 64)
		if err == nil && n > 0 {
			return float64(after-before) / float64(n), nil
		}
	}
	return 0, fmt.Errorf("no count of packets in testpmd's answer %q", text)
}

// cpu is the processor time of its process in nanoseconds: clock number 2 (CPUCLOCK_SCHED) of that process.
func (t *testpmd) cpu() (int64, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^t.cmd.Process.Pid)<<3|2, &ts); err != nil {
		return 0, fmt.Errorf("read the processor time of testpmd: %w", err)
	}
	return ts.Nano(), nil
}

func (t *testpmd) close() {
	_, _ = io.WriteString(t.in, "quit\n") // it may be gone already; Wait tells
	_ = t.in.Close()
	_, _ = io.Copy(io.Discard, t.out)
	_ = t.cmd.Wait()
}
