//go:build lab

package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-lb/holdfast/e2e/lab/load"
	"github.com/holdfast-lb/holdfast/e2e/lab/proc"
	"github.com/holdfast-lb/holdfast/e2e/lab/topo"
)

// forwarding brings up data planes without a control plane.
func forwarding(t *testing.T, o Options) *Lab {
	t.Helper()
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	if len(topo.Existing()) > 0 {
		t.Fatal("a lab is up; these tests need its names")
	}
	o.Sync, o.Static = false, true
	l := &Lab{Options: o, Dir: RunDir(), bin: programs(t), out: io.Discard}
	l.procs = proc.Set{Dir: l.Dir}
	downAfter(t)
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	if err := l.prepare(); err != nil {
		t.Fatal(err)
	}
	if err := l.build(context.Background()); err != nil {
		t.Fatalf("%v\n%s", err, l.procs.Tail(topo.Node(1), 20))
	}
	return l
}

var forwardPlan = load.Plan{
	Active: 20, Idle: 10, UDP: 10, VIP4: topo.VIP4, VIP6: topo.VIP6, StreamPort: topo.PortStream, EchoPort: topo.PortEchoUDP,
	IntervalMs: 20, Payload: 1400, StallMs: 3000,
}

func TestFullNATForwards(t *testing.T) {
	for _, o := range []Options{
		{Nodes: 1, Workers: 1, Port: "af_packet"},
		{Nodes: 2, Workers: 2, Port: "af_packet"},
		{Nodes: 2, Workers: 3, Port: "af_packet"},
		{Nodes: 2, Workers: 1, Port: "af_xdp"},
	} {
		t.Run(fmt.Sprintf("%d nodes of %d workers over %s", o.Nodes, o.Workers, o.Port), func(t *testing.T) {
			l := forwarding(t, o)
			ask := traffic(t, l)
			plan, _ := json.Marshal(forwardPlan)
			ask("open " + string(plan))
			ask("mark")
			time.Sleep(time.Second)
			ask("wake")
			for _, f := range ask("close") {
				if f.Broken != "" {
					t.Errorf("%s flow %d: %s after %d answers", f.Kind, f.ID, f.Broken, f.Received)
				}
			}
			for i := 1; i <= o.Nodes; i++ {
				if !l.procs.Running(topo.Node(i)) {
					t.Errorf("%s ended:\n%s", topo.Node(i), l.procs.Tail(topo.Node(i), 20))
				}
			}
		})
	}
}

// Without sync, and with a node's laddrs announced by it alone, the death of one of two nodes breaks its sessions and no
// others; new connections go through the other node at once.
func TestDeathWithoutSyncBreaksItsSessionsOnly(t *testing.T) {
	l := forwarding(t, Options{Nodes: 2, Workers: 1, Port: "af_packet"})
	ask := traffic(t, l)
	plan, _ := json.Marshal(forwardPlan)
	ask("open " + string(plan))
	if err := l.Signal("lb1", syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	time.Sleep(4 * time.Second)
	ask("wake")
	broken, whole := 0, 0
	for _, f := range ask("report") {
		if f.Broken != "" {
			broken++
		} else {
			whole++
		}
	}
	t.Logf("%d broken, %d whole", broken, whole)
	if broken == 0 || whole == 0 {
		t.Errorf("%d flows broken and %d whole; some of both are expected", broken, whole)
	}
	for range 5 {
		if out, err := l.command(topo.Client, "curl", "-sS", "--max-time", "1", "http://"+topo.VIP4.String()+"/").CombinedOutput(); err != nil || !strings.Contains(string(out), "sees") {
			t.Errorf("a new connection after the death: %v %s", err, out)
		}
	}
}
