// Command podtool is what a pod of holdfast runs beside its process: probes over mutual TLS, and the drain before a stop.
//
//	podtool health --address 127.0.0.1:7302 --service holdfast.sync.v1.CoordinatorService
//	podtool drain  --coordinator sync-coordinator:7302 --node lb-a
//
// It exits with 0, with 1 when the answer is no, or with 2 when the flags are wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
	"github.com/holdfast-lb/holdfast/services/kit"
	"github.com/holdfast-lb/holdfast/services/kit/pki"
)

func main() { os.Exit(run(os.Args[1:], os.Getenv, os.Stderr)) }

type options struct {
	address, service  string
	coordinator, node string
	tlsDir            string
	timeout           time.Duration
}

var verbs = map[string]struct {
	flags func(*flag.FlagSet, *options)
	run   func(context.Context, options, io.Writer) error
}{
	"health": {healthFlags, health},
	"drain":  {drainFlags, drain},
}

func healthFlags(fs *flag.FlagSet, o *options) {
	fs.StringVar(&o.address, "address", "", "`host:port` of the process")
	fs.StringVar(&o.service, "service", "", "gRPC `service` that must be SERVING; empty means the process as a whole")
	fs.DurationVar(&o.timeout, "timeout", time.Second, "longest `time` for the answer")
}

func drainFlags(fs *flag.FlagSet, o *options) {
	fs.StringVar(&o.coordinator, "coordinator", "", "`host:port` of the sync-coordinator")
	fs.StringVar(&o.node, "node", "", "`name` of the node; $NODE_NAME when not given")
	fs.DurationVar(&o.timeout, "timeout", time.Minute, "longest `time` for the drain")
}

func run(args []string, env func(string) string, stderr io.Writer) int {
	var o options
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	verb, ok := verbs[name]
	if !ok {
		fmt.Fprintf(stderr, "podtool: %q is neither health nor drain\n", name)
		return 2
	}
	fs := flag.NewFlagSet("podtool "+name, flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&o.tlsDir, "tls-dir", "/tls", "`folder` of ca.pem, cert.pem and key.pem")
	verb.flags(fs, &o)
	if err := fs.Parse(args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if o.node == "" {
		o.node = env("NODE_NAME")
	}
	ctx, cancel := context.WithTimeout(context.Background(), o.timeout)
	defer cancel()
	if err := verb.run(ctx, o, stderr); err != nil {
		fmt.Fprintf(stderr, "podtool %s: %v\n", name, err)
		return 1
	}
	return 0
}

func health(ctx context.Context, o options, _ io.Writer) error {
	creds, err := pki.Load(pki.FilesIn(o.tlsDir))
	if err != nil {
		return err
	}
	conn, err := kit.Dial(o.address, creds.Client(creds.Self().Role))
	if err != nil {
		return err
	}
	defer conn.Close()
	res, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: o.service})
	if err != nil {
		return err
	}
	if res.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("%s is %v", o.service, res.GetStatus())
	}
	return nil
}

// drain asks for the drain until it is taken, then waits for its end. A node that is not in the view has nothing to hand
// over, and neither has the last one anybody to hand it to.
func drain(ctx context.Context, o options, out io.Writer) error {
	creds, err := pki.Load(pki.FilesIn(o.tlsDir))
	if err != nil {
		return err
	}
	conn, err := kit.Dial(o.coordinator, creds.Client(pki.RoleService))
	if err != nil {
		return err
	}
	defer conn.Close()
	c := syncv1.NewCoordinatorServiceClient(conn)
	op := ""
	for {
		if op == "" {
			res, err := c.DrainNode(ctx, &syncv1.DrainNodeRequest{Name: "nodes/" + o.node})
			switch status.Code(err) {
			case codes.OK:
				op = res.GetName()
			case codes.FailedPrecondition, codes.NotFound:
				fmt.Fprintf(out, "podtool drain: nothing to hand over: %v\n", err)
				return nil
			case codes.Unavailable, codes.Aborted:
			default:
				return err
			}
		} else if res, err := c.GetOperation(ctx, &syncv1.GetOperationRequest{Name: op}); err == nil && res.GetDone() {
			if e := res.GetError(); e != nil {
				return status.ErrorProto(e)
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not drained in time: %w", ctx.Err())
		case <-time.After(250 * time.Millisecond):
		}
	}
}
