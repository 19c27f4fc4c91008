// Command lab runs real clients, a router, data planes and real servers on one machine, in network namespaces.
//
//	lab up [--nodes N] [--workers N] [--port af_packet|af_xdp] [--sync-loss PERCENT] [--sync off] [--static] [--detach]
//	lab down
//	lab status
//	lab exec NAMESPACE -- COMMAND …
//	lab kill NODE | start NODE | pause NODE | resume NODE
//
// up runs until Ctrl-C unless --detach is given. The exit code is 0 when the verb did what it says, 1 when it could not, 2 for a bad command line; exec gives
// the command's own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/holdfast-lb/holdfast/e2e/lab/cluster"
)

const usage = `usage: lab VERB
  up [--nodes N] [--workers N] [--port af_packet|af_xdp] [--sync-loss PERCENT] [--sync on|off] [--static] [--detach]
  down
  status
  exec NAMESPACE -- COMMAND ...      (client, router, mgmt, rs1, rs2, lb1 ...)
  kill NODE | start NODE | pause NODE | resume NODE
`

var errUsage = errors.New("bad command line")

func main() {
	code, err := run(os.Args[1:])
	if errors.Is(err, errUsage) {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

func run(args []string) (int, error) {
	if len(args) == 0 {
		return 0, errUsage
	}
	verb, rest := args[0], args[1:]
	switch verb {
	case "up":
		return 0, up(rest)
	case "down":
		return 0, cluster.Down(os.Stdout)
	}
	l, err := cluster.Open(os.Stdout)
	if err != nil {
		return 0, err
	}
	signals := map[string]syscall.Signal{"kill": syscall.SIGKILL, "pause": syscall.SIGSTOP, "resume": syscall.SIGCONT}
	switch {
	case verb == "status" && len(rest) == 0:
		return 0, l.Status(os.Stdout)
	case verb == "exec" && len(rest) >= 2:
		command := rest[1:]
		if command[0] == "--" {
			command = command[1:]
		}
		if len(command) == 0 {
			return 0, errUsage
		}
		return l.Exec(rest[0], command)
	case verb == "start" && len(rest) == 1:
		return 0, l.Start(rest[0])
	case signals[verb] != 0 && len(rest) == 1:
		return 0, l.Signal(rest[0], signals[verb])
	}
	return 0, errUsage
}

func up(args []string) error {
	o := cluster.Default()
	flags := flag.NewFlagSet("up", flag.ContinueOnError)
	flags.IntVar(&o.Nodes, "nodes", o.Nodes, "data planes")
	flags.IntVar(&o.Workers, "workers", o.Workers, "workers of each")
	flags.StringVar(&o.Port, "port", o.Port, "af_packet or af_xdp")
	flags.Float64Var(&o.SyncLoss, "sync-loss", 0, "`percent` of sync datagrams to drop")
	sync := flags.String("sync", "on", "on or off")
	flags.BoolVar(&o.Static, "static", false, "no control plane: each node runs by its own file (with --sync off)")
	detach := flags.Bool("detach", false, "leave the lab running")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 || (*sync != "on" && *sync != "off") {
		return errUsage
	}
	o.Sync = *sync == "on"
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	l, err := cluster.Up(ctx, o, os.Stdout)
	if err != nil {
		return err
	}
	l.Hints(os.Stdout)
	if *detach {
		fmt.Println("lab: detached; lab down ends it")
		return nil
	}
	fmt.Println("lab: Ctrl-C ends it")
	<-ctx.Done()
	stop() // a second Ctrl-C ends this command at once; lab down does the rest
	return cluster.Down(os.Stdout)
}
