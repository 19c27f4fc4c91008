package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/holdfast-lb/holdfast/e2e/lab/proc"
	"github.com/holdfast-lb/holdfast/e2e/lab/topo"
	"github.com/holdfast-lb/holdfast/services/kit/pki"
)

// Ports of services/mesh on its management address.
const (
	meshGRPCPort = 7950
	meshNATSPort = 4222
	meshHTTPPort = 8080
)

// RESTURL is the gateway's, as the host reaches it.
func RESTURL() string { return fmt.Sprintf("http://%v:%d", topo.MeshAddr(), meshHTTPPort) }

func coordinatorAddress() string { return fmt.Sprintf("%v:%d", topo.MeshAddr(), meshGRPCPort) }

func natsURL() string { return fmt.Sprintf("tls://%v:%d", topo.MeshAddr(), meshNATSPort) }

func (l *Lab) meshDir() string { return filepath.Join(l.Dir, "mesh.d") }

func (l *Lab) pkiDir() string { return filepath.Join(l.meshDir(), "pki") }

func (l *Lab) tokenFile() string { return filepath.Join(l.meshDir(), "token") }

// startControl starts the services in one process and waits until the gateway answers.
func (l *Lab) startControl(ctx context.Context) error {
	if err := os.MkdirAll(l.meshDir(), 0o750); err != nil {
		return err
	}
	seed := filepath.Join(l.meshDir(), "seed.yaml")
	if err := os.WriteFile(seed, []byte(seedYAML()), 0o640); err != nil {
		return err
	}
	command := []string{filepath.Join(l.bin, "mesh"),
		"-data-dir", l.meshDir(), "-seed", seed,
		"-listen", coordinatorAddress(), "-nats-listen", fmt.Sprintf("%v:%d", topo.MeshAddr(), meshNATSPort),
		"-http-listen", fmt.Sprintf("%v:%d", topo.MeshAddr(), meshHTTPPort),
	}
	if l.Restless {
		command = append(command, "-join-back-off", "-1s")
	}
	err := l.procs.Start(proc.Spec{Name: "mesh", Namespace: topo.Mgmt, Dir: l.meshDir(), Command: command})
	if err != nil {
		return err
	}
	var last error
	err = waitFor(20*time.Second, "the gateway to answer", func() bool {
		if !l.procs.Running("mesh") || ctx.Err() != nil {
			return true
		}
		rest, err := l.REST()
		if err == nil {
			_, err = rest.Nodes(ctx)
		}
		last = err
		return err == nil
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if !l.procs.Running("mesh") {
		err = errors.New("mesh ended")
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", errors.Join(err, last), l.procs.Tail("mesh", 10))
	}
	return nil
}

// Status prints processes, members and routes.
func (l *Lab) Status(out io.Writer) error {
	fmt.Fprintf(out, "lab in %s: %d nodes of %d workers over %s, sync %v, %v %% of sync datagrams dropped\n", l.Dir, l.Nodes, l.Workers, l.Port, onOff(l.Sync), l.SyncLoss)
	names := l.procs.Names()
	sort.Strings(names)
	for _, n := range names {
		state := "ended"
		if pid, err := l.procs.Pid(n); err == nil {
			state = fmt.Sprintf("running, pid %d", pid)
		}
		fmt.Fprintf(out, "  %-8s %s\n", n, state)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if !l.Static {
		if err := l.members(ctx, out); err != nil {
			return err
		}
	}
	routes, err := vtysh("show bgp ipv4 unicast")
	if err != nil {
		return err
	}
	fmt.Fprint(out, routes)
	return nil
}

func (l *Lab) members(ctx context.Context, out io.Writer) error {
	rest, err := l.REST()
	if err != nil {
		return err
	}
	nodes, err := rest.Nodes(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		fmt.Fprintf(out, "  %-8s %s id %d incarnation %d sync %s %s %s\n", filepath.Base(n.GetName()),
			strings.ToLower(strings.TrimPrefix(n.GetState().String(), "NODE_STATE_")), n.GetId(), n.GetIncarnation(), n.GetSipV4(), n.GetSipV6(), n.GetDetail())
	}
	return nil
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

// Hints prints what a person may try next.
func (l *Lab) Hints(out io.Writer) {
	lab := filepath.Join(l.bin, "lab")
	fmt.Fprintln(out)
	if !l.Static {
		fmt.Fprintf(out, `  REST      %s   (OpenAPI at /openapi.json)
  sessions  curl -s -H "Authorization: Bearer $(cat %s)" %s/v1/sessions
  events    %s
`, RESTURL(), l.tokenFile(), RESTURL(), l.subscribeLine())
	}
	fmt.Fprintf(out, `  client    %s exec client -- curl -s http://%v/
  IPv6      %s exec client -- curl -s http://[%v]/
  a death   %s kill lb1;  back again: %s start lb1

`, lab, topo.VIP4, lab, topo.VIP6, lab, lab)
}

func (l *Lab) subscribeLine() string {
	operator := pki.FilesIn(filepath.Join(l.pkiDir(), "operator"))
	return fmt.Sprintf("nats --server %s --tlsca %s --tlscert %s --tlskey %s sub 'holdfast.v1.session.>'", natsURL(), operator.CA, operator.Cert, operator.Key)
}
