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
	"syscall"
	"testing"

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
	bin := t.TempDir()
	out, err := exec.Command("go", "build", "-o", bin+"/", "../realserver", "../traffic").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	l := &Lab{Options: Default(), Dir: RunDir(), bin: bin, out: io.Discard}
	l.procs = proc.Set{Dir: l.Dir}
	if err := os.MkdirAll(l.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := l.save(l.Dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Down(io.Discard); err != nil {
			t.Error(err)
		}
	})
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

func TestClientReachesServersThroughRouter(t *testing.T) {
	l := bare(t)
	addrs := topo.ServerAddrs()
	cmd := l.Program(topo.Client, "traffic")
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	answers := json.NewDecoder(out)
	ask := func(line string) []load.Flow {
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
