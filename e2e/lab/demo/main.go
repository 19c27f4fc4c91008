// Command demo proves holdfast's claim in the lab: connections go on when their data plane is killed. With SYNC=off in the
// environment it is the negative control: the same without session sync must break connections.
//
// Its last line is
//
//	demo: connections=200 broken=0 taken_over=… blackout_ms_p50=… p99=… max=… synced=…
//
// broken counts connections and UDP flows; a blackout is the longest silence of an active connection at a death, less the
// interval at which it sends. Exit code: 0 when nothing broke (SYNC=off: when something broke), 1 otherwise, 2 when the lab
// could not be run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/holdfast-lb/holdfast/e2e/lab/cluster"
)

func main() {
	short := flag.Bool("short", false, "fewer connections, shorter watch")
	nodes := flag.Int("nodes", 3, "data planes")
	workers := flag.Int("workers", 1, "workers of each")
	port := flag.String("port", "af_packet", "af_packet or af_xdp")
	loss := flag.Float64("sync-loss", 2, "`percent` of sync datagrams to drop")
	keep := flag.Bool("keep", false, "leave the lab up at the end")
	verbose := flag.Bool("v", false, "print the lab's steps")
	flag.Parse()
	control := os.Getenv("SYNC") == "off"

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o := cluster.Options{Nodes: *nodes, Workers: *workers, Port: *port, SyncLoss: *loss, Sync: !control}
	r, err := demo(ctx, o, *short, *keep, *verbose)
	code := verdict(r, err, control)
	if errors.Is(err, errLab) {
		code = 2
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
	}
	if code != 0 && !*keep && ctx.Err() == nil {
		if dir, err := cluster.KeepLogs(); err == nil {
			fmt.Fprintln(os.Stderr, "demo: the logs are in", dir)
		}
	}
	if code != 2 {
		fmt.Println(r.line())
	}
	os.Exit(code)
}

var errLab = errors.New("the lab does not run")

// verdict is the exit code of a run: the negative control must break what the real run must not.
func verdict(r result, err error, control bool) int {
	if err == nil && (r.broken > 0) == control {
		return 0
	}
	return 1
}

func demo(ctx context.Context, o cluster.Options, short, keep, verbose bool) (result, error) {
	progress := io.Discard
	if verbose {
		progress = os.Stdout
	}
	s := &scenario{plan: plan(200, 20), watch: 5 * time.Second, sync: o.Sync, began: time.Now()}
	if short {
		s.plan, s.watch = plan(60, 8), 3*time.Second
	}
	s.say("%d data planes of %d workers over %s, %v %% of sync datagrams dropped, sync %s", o.Nodes, o.Workers, o.Port, o.SyncLoss, map[bool]string{true: "on", false: "off"}[o.Sync])
	lab, err := cluster.Up(ctx, o, progress)
	if err != nil {
		return result{}, fmt.Errorf("%w: %w", errLab, err)
	}
	if !keep {
		defer func() {
			if err := cluster.Down(io.Discard); err != nil {
				fmt.Fprintln(os.Stderr, "demo: taking the lab down:", err)
			}
		}()
	}
	s.lab = lab
	if s.rest, err = lab.REST(); err != nil {
		return result{}, fmt.Errorf("%w: %w", errLab, err)
	}
	if s.client, err = lab.StartClient(); err != nil {
		return result{}, fmt.Errorf("%w: %w", errLab, err)
	}
	defer s.client.Stop()
	s.say("the lab is up")
	err = s.run(ctx)
	return s.result, err
}
