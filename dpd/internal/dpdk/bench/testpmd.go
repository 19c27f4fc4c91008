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
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

// testpmd is a running dpdk-testpmd that waits for commands. Between its turns its cores sleep.
type testpmd struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

const prompt = "testpmd> "

func startTestpmd(ctx context.Context, o *options, device string, queues int) (*testpmd, error) {
	args := []string{"--lcores", fmt.Sprintf("0@0,1@%d", o.core), "--no-pci", "--no-telemetry", "--file-prefix", peerPrefix(), "--vdev", device}
	if o.huge {
		args = append(args, "--in-memory")
	} else {
		args = append(args, "--no-huge", "--no-shconf", "--iova-mode", "va", "-m", "256")
	}
	args = append(args, "--", "-i", "--forward-mode=macswap", "--burst=64", "--nb-cores=1", fmt.Sprint("--rxq=", queues), fmt.Sprint("--txq=", queues), "--rxd=1024",
		"--txd=1024", "--mbcache=256", fmt.Sprint("--total-num-mbufs=", mbufs), "--stats-period=0")
	// Its figures leave through stdio, which holds them back on a pipe unless told otherwise.
	t := &testpmd{cmd: exec.CommandContext(ctx, "stdbuf", append([]string{"-oL", o.testpmd}, args...)...)}
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
	t.cmd.Stderr = nil
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

// measure lets it forward for d and returns the rate that it saw itself, in million packets a second.
func (t *testpmd) measure(d time.Duration, circling bool) (float64, error) {
	start := "start"
	if circling {
		start = "start tx_first " + strconv.Itoa(perQueue/port.BurstMax)
	}
	if _, err := t.command(start); err != nil {
		return 0, err
	}
	time.Sleep(d / 6)
	if _, err := t.command("show port stats 0"); err != nil {
		return 0, err
	}
	time.Sleep(d)
	text, err := t.command("show port stats 0")
	if err != nil {
		return 0, err
	}
	if _, err := t.command("stop"); err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(text, "Rx-pps:")
	if fields := strings.Fields(rest); ok && len(fields) > 0 {
		pps, err := strconv.ParseFloat(fields[0], 64)
		return pps / 1e6, err
	}
	return 0, fmt.Errorf("no rate in testpmd's answer %q", text)
}

func (t *testpmd) close() {
	_, _ = io.WriteString(t.in, "quit\n") // it may be gone already; Wait tells
	_ = t.in.Close()
	_, _ = io.Copy(io.Discard, t.out)
	_ = t.cmd.Wait()
	_ = os.RemoveAll(filepath.Join("/var/run/dpdk", peerPrefix())) // testpmd leaves its folder behind
}

// peerPrefix is testpmd's file prefix.
func peerPrefix() string { return fmt.Sprint("hfpeer", os.Getpid()) }
