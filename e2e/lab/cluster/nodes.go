package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/holdfast-lb/holdfast/e2e/lab/proc"
	"github.com/holdfast-lb/holdfast/e2e/lab/topo"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
	"github.com/holdfast-lb/holdfast/services/kit/pki"
)

// Ports of a node on its management address.
const (
	nodeControlPort = 7947
	nodeMetricsPort = 9100
)

// admitTimeout is for all nodes to join, fetch the stock and be admitted.
const admitTimeout = 60 * time.Second

func (l *Lab) nodeDir(i int) string { return filepath.Join(l.Dir, topo.Node(i)+".d") }

func (l *Lab) startNodes(context.Context) error {
	for i := 1; i <= l.Nodes; i++ {
		if err := l.startNode(i); err != nil {
			return err
		}
	}
	return nil
}

// startNode writes the node's configuration and certificate anew and starts dpd. The data folder stays as it is: a node that
// comes back has its incarnation.
func (l *Lab) startNode(i int) error {
	dir := l.nodeDir(i)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	ca, err := pki.OpenCA(l.pkiDir(), time.Now())
	if err != nil {
		return err
	}
	files, err := ca.IssueTo(filepath.Join(dir, "tls"), pki.Identity{Role: pki.RoleDataplane, Name: topo.Node(i)}, time.Now())
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "dpd.yaml")
	if err := os.WriteFile(path, []byte(l.nodeConfig(i, dir, files)), 0o640); err != nil {
		return err
	}
	return l.procs.Start(proc.Spec{
		Name: topo.Node(i), Namespace: topo.LB(i), Dir: dir,
		Command: []string{filepath.Join(l.bin, "dpd"), "-config", path},
	})
}

// device is DPDK's name and arguments of the data device.
func (l *Lab) device() (name, vdev string) {
	if l.Port == "af_xdp" {
		// A veth end has one queue; dpd steers in software from there.
		return "net_af_xdp0", fmt.Sprintf("net_af_xdp0,iface=%s,start_queue=0,queue_count=1", topo.DataDevice)
	}
	return "net_af_packet0", fmt.Sprintf("net_af_packet0,iface=%s,qpairs=%d,blocksz=65536,framesz=2048,framecnt=1024", topo.DataDevice, l.Workers)
}

// nodeConfig is the file that a person would write for this node. The processors are shared by all nodes: each begins with
// another one, so that they don't all crowd on the first.
func (l *Lab) nodeConfig(i int, dir string, tls pki.Files) string {
	h := topo.LBHost(i)
	v4, v6 := topo.V4(topo.NetLB, h), topo.V6(topo.NetLB, h)
	gw4, gw6 := topo.RouterOn(topo.NetLB)
	mgmt := topo.V4(topo.NetMgmt, h)
	n := runtime.NumCPU()
	first, second := (i-1)%n, i%n
	cores := fmt.Sprintf("[%d, %d]", first, second)
	if n == 1 {
		cores = "[0]"
	}
	device, vdev := l.device()
	return fmt.Sprintf(`# Written by the lab at each start of the node.
node: {name: %s, data_dir: %s}
metrics: {listen: "%v:%d"}
eal:
  cores: %s
  in_memory: true
  no_huge: true
  memory_mb: 256
  file_prefix: %s
  vdevs: ["%s"]
  packets: 16383
ports:
  - name: up
    device: %s
    addresses: ["%v/24", "%v/64"]
    routes:
      - {to: 0.0.0.0/0, via: %v}
      - {to: "::/0", via: "%v"}
workers: %d
poll: adaptive
sync: {enabled: %t, fault_loss_percent: %v}
announce: bgp
bgp:
  asn: %d
  hold_seconds: 3
  guard: %t
  peers: [{address: %v, asn: %d}]
table: {sessions_v4: 65536, sessions_v6: 65536}
%s`,
		topo.Node(i), filepath.Join(dir, "data"),
		mgmt, nodeMetricsPort,
		cores, topo.Node(i), vdev,
		device, v4, v6, gw4, gw6,
		l.Workers, l.Sync, l.SyncLoss,
		topo.NodeASN,
		// Without sync a route that goes and comes back breaks what it carried, and a busy machine makes workers late.
		!l.Static,
		topo.BGPPeer(), topo.RouterASN, l.controlConfig(i, tls))
}

// controlConfig is where the node's services, addresses and peers come from.
func (l *Lab) controlConfig(i int, tls pki.Files) string {
	if l.Static {
		return staticYAML(i)
	}
	certs := fmt.Sprintf("{cert: %s, key: %s, ca: %s}", tls.Cert, tls.Key, tls.CA)
	return fmt.Sprintf(`control:
  listen: "%v:%d"
  coordinators: ["%s"]
  tls: %s
nats:
  url: "%s"
  tls: %s
`, topo.V4(topo.NetMgmt, topo.LBHost(i)), nodeControlPort, coordinatorAddress(), certs, natsURL(), certs)
}

// Admitted says which of the nodes that the control plane knows are admitted, by name.
func (l *Lab) Admitted(ctx context.Context) (map[string]bool, error) {
	rest, err := l.REST()
	if err != nil {
		return nil, err
	}
	nodes, err := rest.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	admitted := map[string]bool{}
	for _, n := range nodes {
		admitted[filepath.Base(n.GetName())] = n.GetState() == syncv1.NodeState_NODE_STATE_ADMITTED
	}
	return admitted, nil
}

// WaitAdmitted waits until every running node is admitted.
func (l *Lab) WaitAdmitted(ctx context.Context) error {
	var last error
	err := waitFor(admitTimeout, "nodes to be admitted", func() bool {
		if ctx.Err() != nil {
			return true
		}
		for i := 1; i <= l.Nodes; i++ {
			if _, err := os.Stat(filepath.Join(l.Dir, topo.Node(i)+".pid")); err == nil && !l.procs.Running(topo.Node(i)) {
				last = fmt.Errorf("%s ended:\n%s", topo.Node(i), l.procs.Tail(topo.Node(i), 10))
				return true
			}
		}
		var admitted map[string]bool
		if admitted, last = l.Admitted(ctx); last != nil {
			return false
		}
		for i := 1; i <= l.Nodes; i++ {
			if l.procs.Running(topo.Node(i)) && !admitted[topo.Node(i)] {
				last = fmt.Errorf("%s is not admitted", topo.Node(i))
				return false
			}
		}
		return true
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if last != nil {
		return last
	}
	return err
}
