package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-lb/holdfast/e2e/lab/topo"
)

// WaitServing waits until the client gets a page over both VIPs and the router has the routes of every running node.
func (l *Lab) WaitServing(ctx context.Context) error {
	for _, host := range []string{topo.VIP4.String(), "[" + topo.VIP6.String() + "]"} {
		var last string
		err := waitFor(30*time.Second, "http://"+host+"/ to answer", func() bool {
			if ctx.Err() != nil {
				return true
			}
			cmd := l.command(topo.Client, "curl", "-sS", "--max-time", "1", "http://"+host+"/")
			out, err := cmd.CombinedOutput()
			last = strings.TrimSpace(string(out))
			return err == nil && strings.Contains(last, "sees")
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("%w (%s)", err, last)
		}
	}
	return l.waitRoutes(ctx)
}

// waitRoutes waits until the router's kernel spreads both VIPs over every running node.
func (l *Lab) waitRoutes(ctx context.Context) error {
	want := 0
	for i := 1; i <= l.Nodes; i++ {
		if l.procs.Running(topo.Node(i)) {
			want++
		}
	}
	for family, vip := range map[string]string{"-4": topo.VIP4.String(), "-6": topo.VIP6.String()} {
		got := 0
		err := waitFor(30*time.Second, fmt.Sprintf("%d next hops of %s", want, vip), func() bool {
			if ctx.Err() != nil {
				return true
			}
			got = nextHops(family, vip)
			return got == want
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("%w (there are %d)", err, got)
		}
	}
	return nil
}

// nextHops counts those of a VIP's route in the router's kernel.
func nextHops(family, vip string) int {
	out, err := ipOutput(topo.Router, family, "route", "show", vip)
	if err != nil {
		return 0
	}
	return strings.Count(out, " via ")
}
