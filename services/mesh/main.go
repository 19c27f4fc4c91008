// Command mesh runs the whole control plane in one process: the four services, the gateway and an embedded NATS server.
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

	"github.com/holdfast-lb/holdfast/services/kit"
	"github.com/holdfast-lb/holdfast/services/mesh/mesh"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run exits with 0, with 1 after a failure, or with 2 when flags, configuration or seed are wrong.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var cfg mesh.Config
	var config, logFormat, logLevel string
	fs := flag.NewFlagSet("mesh", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&config, "config", "", "YAML `file` whose keys are the names of these flags; flags given here win")
	fs.StringVar(&cfg.DataDir, "data-dir", "holdfast-data", "`folder` of everything that is kept: JetStream, the key that seals it (kek), certificates (pki), tokens")
	fs.StringVar(&cfg.KeyFile, "kek-file", "", "`file` of mode 0600 with the key that seals the cluster keys in JetStream; empty means DATA-DIR/kek, made at the first start")
	fs.StringVar(&cfg.Seed, "seed", "", "YAML `file` of desired state that is made at the start, as far as it is not there")
	fs.StringVar(&cfg.Listen, "listen", "127.0.0.1:7300", "`host:port` of the services' gRPC")
	fs.StringVar(&cfg.NATSListen, "nats-listen", "127.0.0.1:4222", "`host:port` of NATS")
	fs.StringVar(&cfg.HTTPListen, "http-listen", "127.0.0.1:8080", "`host:port` of REST")
	fs.StringVar(&cfg.MetricsListen, "metrics-listen", "", "`host:port` of /metrics in clear; empty serves none")
	cfg.Coordinator.Flags(fs)
	fs.StringVar(&cfg.HealthSource, "health-source", "", "`address` that health checks come from; empty leaves the choice to the kernel")
	fs.StringVar(&logFormat, "log-format", "text", "text or json")
	fs.StringVar(&logLevel, "log-level", "info", "debug, info, warn or error")
	err := kit.ParseFlags(fs, args, func() string { return config })
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err == nil {
		cfg.Log, err = kit.NewLogger(stderr, logFormat, logLevel)
	}
	if err == nil {
		err = cfg.Coordinator.Check()
	}
	if err == nil && cfg.Seed != "" {
		_, err = mesh.ReadSeed(cfg.Seed)
	}
	if err != nil {
		fmt.Fprintln(stderr, "mesh:", err)
		return 2
	}
	m, err := mesh.New(cfg)
	if err != nil {
		fmt.Fprintln(stderr, "mesh:", err)
		return 1
	}
	fmt.Fprintf(stdout, "REST    %s\ntoken   %s\ngRPC    %s\nevents  %s\n", m.RESTURL(), m.TokenFile(), m.GRPCAddr(), m.EventsURL())
	if err := m.Run(ctx); err != nil {
		cfg.Log.Error("stopped", "error", err)
		return 1
	}
	return 0
}
