package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"github.com/holdfast-lb/holdfast/e2e/lab/proc"
	"github.com/holdfast-lb/holdfast/e2e/lab/topo"
)

// FRR keeps sockets and settings in folders named after the instance.
const (
	frrBin = "/usr/lib/frr"
	frrRun = "/run/frr/" + topo.Router
	frrEtc = "/etc/frr/" + topo.Router
)

// bgpd accepts whoever comes from the management network as a node. Nodes share an AS, so equal paths make ECMP; a session
// that falls takes its routes with it at once, and a silent one after 3 s.
func bgpdConf() string {
	v4, _ := topo.RouterOn(topo.NetLB)
	return fmt.Sprintf(`router bgp %d
 bgp router-id %v
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 bgp bestpath as-path multipath-relax
 timers bgp 1 3
 neighbor LB peer-group
 neighbor LB remote-as %d
 neighbor LB advertisement-interval 0
 bgp listen range 198.18.%d.0/24 peer-group LB
 address-family ipv4 unicast
  neighbor LB activate
  maximum-paths 64
 exit-address-family
 address-family ipv6 unicast
  neighbor LB activate
  maximum-paths 64
 exit-address-family
`, topo.RouterASN, v4, topo.NodeASN, topo.NetMgmt)
}

// startRouter starts zebra and bgpd in the router's namespace and waits until both listen.
func startRouter(procs proc.Set) error {
	if _, err := os.Stat(frrBin + "/bgpd"); err != nil {
		return fmt.Errorf("FRR is missing (%w); make setup installs it", err)
	}
	u, err := user.Lookup("frr")
	if err != nil {
		return fmt.Errorf("FRR's user: %w", err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	removeRouter()
	for _, dir := range []string{filepath.Dir(frrRun), frrRun, frrEtc} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.Chown(dir, uid, gid); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{"zebra.conf": "", "bgpd.conf": bgpdConf(), "vtysh.conf": ""} {
		if err := os.WriteFile(filepath.Join(frrEtc, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for _, daemon := range []string{"zebra", "bgpd"} {
		err := procs.Start(proc.Spec{Name: daemon, Namespace: topo.Router, Command: []string{
			filepath.Join(frrBin, daemon), "-N", topo.Router, "-P", "0", "-f", filepath.Join(frrEtc, daemon+".conf"), "-i", filepath.Join(frrRun, daemon+".pid"),
		}})
		if err != nil {
			return err
		}
		if err := waitFor(10*time.Second, daemon+" to listen", func() bool {
			_, err := os.Stat(filepath.Join(frrRun, daemon+".vty"))
			return err == nil
		}); err != nil {
			return fmt.Errorf("%w\n%s", err, procs.Tail(daemon, 5))
		}
	}
	return nil
}

// removeRouter takes away what FRR left.
func removeRouter() {
	os.RemoveAll(frrRun)
	os.RemoveAll(frrEtc)
}

// vtysh asks the router.
func vtysh(command string) (string, error) {
	out, err := exec.Command("vtysh", "-N", topo.Router, "-c", command).CombinedOutput()
	return string(out), err
}

// waitFor polls for a thing outside this process that signals nobody.
func waitFor(limit time.Duration, what string, done func() bool) error {
	for deadline := time.Now().Add(limit); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v for %s", limit, what)
		}
	}
	return nil
}
