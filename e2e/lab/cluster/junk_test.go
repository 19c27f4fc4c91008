//go:build lab

package cluster

import (
	"encoding/json"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/holdfast-lb/holdfast/e2e/lab/topo"
)

// Malformed and forged frames neither end a data plane nor break a connection that it carries.
func TestJunkBreaksNothing(t *testing.T) {
	l := forwarding(t, Options{Nodes: 1, Workers: 2, Port: "af_packet"})
	ask := traffic(t, l)
	plan, _ := json.Marshal(forwardPlan)
	ask("open " + string(plan))
	out, err := exec.Command("ip", "-n", topo.LB(1), "-br", "link", "show", topo.DataDevice).Output()
	fields := strings.Fields(string(out))
	if err != nil || len(fields) < 3 {
		t.Fatalf("%v %s", err, out)
	}
	if _, err := net.ParseMAC(fields[2]); err != nil {
		t.Fatal(err)
	}
	h := topo.LBHost(1)
	targets := []string{
		topo.VIP4.String(), topo.VIP6.String(), topo.V4(topo.NetLB, h).String(), topo.V6(topo.NetLB, h).String(),
		topo.LaddrPool4.Addr().Next().String(), topo.LaddrPool6.Addr().Next().String(),
	}
	for _, seed := range []string{"1", "2", "3"} {
		if out, err := l.Program(topo.Router, "junk", "-device", "lan-lb", "-mac", fields[2], "-targets", strings.Join(targets, ","), "-seed", seed).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		} else {
			t.Logf("%s", out)
		}
	}
	if !l.procs.Running("lb1") {
		t.Fatalf("dpd ended:\n%s", l.procs.Tail("lb1", 40))
	}
	ask("wake")
	for _, f := range ask("close") {
		if f.Broken != "" {
			t.Errorf("%s flow %d: %s", f.Kind, f.ID, f.Broken)
		}
	}
	page, err := l.command(topo.LB(1), "curl", "-sS", "--max-time", "5", "http://"+topo.V4(topo.NetMgmt, h).String()+":9100/metrics").CombinedOutput()
	if err != nil {
		t.Fatalf("%v %s", err, page)
	}
	dropped := map[string]bool{}
	for _, line := range strings.Split(string(page), "\n") {
		if strings.HasPrefix(line, "holdfast_dpd_dropped_packets_total") && !strings.HasSuffix(line, " 0") {
			_, rest, _ := strings.Cut(line, `reason="`)
			reason, _, _ := strings.Cut(rest, `"`)
			dropped[reason] = true
		}
	}
	t.Logf("reasons: %v", dropped)
	if len(dropped) < 8 {
		t.Errorf("only %d drop reasons were counted: %v\n%s", len(dropped), dropped, page)
	}
}
