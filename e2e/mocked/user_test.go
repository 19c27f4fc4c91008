package mocked

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	conntrackv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/conntrack/v1"
	schedulerv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/scheduler/v1"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
)

// With these flags the suite watches real data planes instead of mocks. They join by themselves: their configuration
// names -mesh-listen as the coordinator, and their certificates are of the authority in DIR/pki.
var (
	dataplaneAddrs = flag.String("dataplane-addrs", "", "control addresses of real data planes, host:port,…; empty means mocks")
	dataDir        = flag.String("data-dir", "", "folder of the mesh's data, with the authority of the real data planes in DIR/pki")
	meshListen     = flag.String("mesh-listen", "127.0.0.1:7300", "host:port at which real data planes reach the coordinator")
	natsListen     = flag.String("nats-listen", "127.0.0.1:4222", "host:port at which real data planes reach NATS")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *dataplaneAddrs != "" {
		if *dataDir == "" {
			fmt.Fprintln(os.Stderr, "-dataplane-addrs needs -data-dir")
			os.Exit(2)
		}
		// The other tests tell a data plane what to say.
		if err := flag.Set("test.run", "^TestAsAUserSeesIt$"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	os.Exit(m.Run())
}

// fleet is the control addresses of three mocks that have joined, or of the real data planes.
func (b *bed) fleet() []string {
	if *dataplaneAddrs != "" {
		return strings.Split(*dataplaneAddrs, ",")
	}
	var addrs []string
	for _, n := range []string{"lb-a", "lb-b", "lb-c"} {
		p := b.plane(n)
		p.join()
		addrs = append(addrs, p.addr)
	}
	return addrs
}

// TestAsAUserSeesIt looks through REST alone, so it holds for mocks and for real data planes.
func TestAsAUserSeesIt(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	addrs := b.fleet()
	all := func() bool {
		var list syncv1.ListNodesResponse
		if !b.get("/v1/nodes", &list) {
			return false
		}
		for _, a := range addrs {
			if !slices.ContainsFunc(list.GetNodes(), func(n *syncv1.Node) bool {
				return n.GetControlAddress() == a && n.GetState() == syncv1.NodeState_NODE_STATE_ADMITTED && n.GetControlAlive() && n.GetSync() != nil
			}) {
				return false
			}
		}
		return true
	}
	b.until("every node is admitted", all)
	b.web()
	rolled := func() bool {
		var r schedulerv1.Rollout
		if !b.get("/v1/rollout", &r) || r.GetServices() != 1 || r.GetServers() != 2 || len(r.GetNodes()) != len(addrs) {
			return false
		}
		return !slices.ContainsFunc(r.GetNodes(), func(n *schedulerv1.NodeRollout) bool { return n.GetRevision() != r.GetRevision() || n.GetError() != "" })
	}
	b.until("every node runs the newest revision", rolled)
	listed := func() bool {
		var page conntrackv1.ListSessionsResponse
		return b.get("/v1/sessions", &page) && len(page.GetNodeErrors()) == 0
	}
	b.until("every node answers for its sessions", listed)

	b.stop()
	b.start()
	b.until("after a restart every node is there", all)
	b.until("and runs the newest revision", rolled)
	b.until("and answers for its sessions", listed)
}
