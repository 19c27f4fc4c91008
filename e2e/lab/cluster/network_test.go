//go:build lab

package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-lb/holdfast/e2e/lab/load"
	"github.com/holdfast-lb/holdfast/e2e/lab/proc"
	"github.com/holdfast-lb/holdfast/e2e/lab/topo"
)

// These tests need root and FRR, and no other lab on the machine: go test -tags lab ./e2e/lab/cluster.

// bare is a lab without control plane and nodes.
func bare(t *testing.T) *Lab {
	t.Helper()
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	if len(topo.Existing()) > 0 {
		t.Fatal("a lab is up; these tests need its names")
	}
	l := &Lab{Options: Default(), Dir: RunDir(), bin: programs(t), out: io.Discard}
	l.procs = proc.Set{Dir: l.Dir}
	if err := os.MkdirAll(l.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := l.save(l.Dir); err != nil {
		t.Fatal(err)
	}
	downAfter(t)
	for _, step := range []func() error{
		func() error { return topo.Build(l.Nodes) },
		func() error { return startRouter(l.procs) },
		func() error { return l.startServers(context.Background()) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func downAfter(t *testing.T) {
	t.Cleanup(func() {
		if err := Down(io.Discard); err != nil {
			t.Error(err)
		}
	})
}

var built struct {
	sync.Once
	dir string
	err error
}

// TestMain removes what programs built.
func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// programs builds those that the tests run, once.
func programs(t *testing.T) string {
	t.Helper()
	built.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "holdfast-lab-"); built.err != nil {
			return
		}
		for _, args := range [][]string{
			{"build", "-o", built.dir + "/", "../realserver", "../traffic", "../junk"},
			{"build", "-tags", "dpdk", "-o", built.dir + "/dpd", "../../../dpd"},
		} {
			if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
				built.err = fmt.Errorf("go %v: %w\n%s", args, err, out)
				return
			}
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.dir
}

// traffic starts the client's program and returns a function that steers it.
func traffic(t *testing.T, l *Lab) func(line string) []load.Flow {
	t.Helper()
	cmd := l.Program(topo.Client, "traffic")
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	answers := json.NewDecoder(out)
	return func(line string) []load.Flow {
		t.Helper()
		fmt.Fprintln(in, line)
		var a struct {
			Error string
			Flows []load.Flow
		}
		if err := answers.Decode(&a); err != nil || a.Error != "" {
			t.Fatalf("%s: %v %s", line, err, a.Error)
		}
		return a.Flows
	}
}

func TestClientReachesServersThroughRouter(t *testing.T) {
	l := bare(t)
	addrs := topo.ServerAddrs()
	ask := traffic(t, l)
	plan, _ := json.Marshal(load.Plan{
		Active: 4, Idle: 4, UDP: 4, VIP4: addrs[0], VIP6: addrs[3], StreamPort: topo.PortStream, EchoPort: topo.PortEchoUDP,
		IntervalMs: 10, Payload: 1000, StallMs: 5000,
	})
	ask("open " + string(plan))
	ask("mark")
	ask("wake")
	for _, f := range ask("close") {
		if f.Broken != "" || f.Received == 0 {
			t.Errorf("%s flow %d to %v: %q after %d answers", f.Kind, f.ID, f.Service, f.Broken, f.Received)
		}
	}
	for _, a := range addrs {
		page, err := l.command(topo.Mgmt, "curl", "-sS", "--max-time", "2", "http://"+netip.AddrPortFrom(a, topo.PortHTTP).String()+"/").CombinedOutput()
		if err != nil || !strings.Contains(string(page), "sees") {
			t.Errorf("health checks can't reach %v: %v %s", a, err, page)
		}
	}
}

// A silence that the network makes is the silence that the client reports, neither more nor much less.
func TestSilenceIsMeasured(t *testing.T) {
	l := bare(t)
	ask := traffic(t, l)
	addrs := topo.ServerAddrs()
	plan, _ := json.Marshal(load.Plan{
		Active: 6, UDP: 4, VIP4: addrs[0], VIP6: addrs[1], StreamPort: topo.PortStream, EchoPort: topo.PortEchoUDP,
		IntervalMs: 20, Payload: 200, StallMs: 8000,
	})
	ask("open " + string(plan))
	ask("mark")
	set := func(state string) {
		if out, err := exec.Command("ip", "-n", topo.Router, "link", "set", "rs1", state).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
	}
	const cut = 500 * time.Millisecond
	set("down")
	time.Sleep(cut)
	set("up")
	time.Sleep(1500 * time.Millisecond)
	for _, f := range ask("report") {
		if f.Broken != "" {
			t.Errorf("flow %d broke: %s", f.ID, f.Broken)
		}
		// A TCP connection may wait for its next retransmission after the network is back.
		if f.SilenceMs < 400 || f.SilenceMs > 1600 {
			t.Errorf("%s flow %d was silent for %.0f ms in a cut of %v", f.Kind, f.ID, f.SilenceMs, cut)
		}
	}
	ask("mark")
	time.Sleep(300 * time.Millisecond)
	for _, f := range ask("close") {
		if f.SilenceMs > 300 {
			t.Errorf("flow %d: %.0f ms of silence without a cut", f.ID, f.SilenceMs)
		}
	}
}

func TestHostReachesManagement(t *testing.T) {
	bare(t)
	if out, err := exec.Command("ping", "-c", "1", "-W", "2", topo.MeshAddr().String()).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestDownRepairsAfterCrash(t *testing.T) {
	l := bare(t)
	if err := l.procs.Signal("bgpd", syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// What a crash in the midst of building leaves: some namespaces, no state.
	if err := os.Remove(filepath.Join(l.Dir, stateFile)); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("ip", "netns", "del", topo.Client).Run(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Down(io.Discard); err != nil {
			t.Fatal(err)
		}
		if left := topo.Existing(); len(left) > 0 || len(runningOf(l.Dir)) > 0 {
			t.Fatalf("left: %v %v", left, runningOf(l.Dir))
		}
	}
	if _, err := os.Stat("/sys/class/net/" + topo.HostLink); err == nil {
		t.Error("the host's link is left")
	}
}
