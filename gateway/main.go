// Gateway serves the cluster's REST API.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/grpc"

	"github.com/holdfast-lb/holdfast/gateway/auth"
	"github.com/holdfast-lb/holdfast/gateway/rest"
	"github.com/holdfast-lb/holdfast/services/kit"
	"github.com/holdfast-lb/holdfast/services/kit/pki"
)

type options struct {
	config, listen, tokens                    string
	scheduler, coordinator, conntrack, health string
	files                                     pki.Files
	insecure, https                           bool
	logFormat, logLevel                       string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var o options
	fs := flag.NewFlagSet("gateway", flag.ContinueOnError)
	fs.StringVar(&o.config, "config", "", "YAML `file` whose keys are the names of these flags; flags given here win")
	fs.StringVar(&o.listen, "listen", "127.0.0.1:8080", "`host:port` of the REST server")
	fs.StringVar(&o.tokens, "token-file", "", "`file` of bearer tokens, a line each of role (viewer, operator, admin), name and token; empty knows none")
	fs.StringVar(&o.scheduler, "scheduler", "127.0.0.1:7301", "`host:port` of the scheduler")
	fs.StringVar(&o.coordinator, "coordinator", "127.0.0.1:7302", "`host:port` of the sync-coordinator")
	fs.StringVar(&o.conntrack, "conntrack-query", "127.0.0.1:7303", "`host:port` of conntrack-query")
	fs.StringVar(&o.health, "health", "127.0.0.1:7304", "`host:port` of health")
	fs.StringVar(&o.files.CA, "tls-ca", "", "PEM `file` of the authority")
	fs.StringVar(&o.files.Cert, "tls-cert", "", "PEM `file` of the certificate, towards services and with --https towards clients")
	fs.StringVar(&o.files.Key, "tls-key", "", "PEM `file` of the certificate's key")
	fs.BoolVar(&o.https, "https", false, "serve HTTPS; client certificates of role operator and viewer are identities too")
	fs.BoolVar(&o.insecure, "insecure", false, "dial services in clear; for tests on one machine")
	fs.StringVar(&o.logFormat, "log-format", "text", "text or json")
	fs.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	if err := kit.ParseFlags(fs, os.Args[1:], func() string { return o.config }); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "gateway:", err)
		os.Exit(2)
	}
	log, err := kit.NewLogger(os.Stderr, o.logFormat, o.logLevel)
	if err != nil {
		fmt.Fprintln(os.Stderr, "gateway:", err)
		os.Exit(2)
	}
	if err := serve(ctx, o, log); err != nil {
		log.Error("stopped", "error", err)
		os.Exit(1)
	}
}

func serve(ctx context.Context, o options, log *slog.Logger) error {
	cfg := rest.Config{Log: log}
	var client *tls.Config
	if !o.insecure || o.https {
		creds, err := pki.Load(o.files)
		if err != nil {
			return fmt.Errorf("%w (--tls-ca, --tls-cert and --tls-key are needed, or --insecure)", err)
		}
		if !o.insecure {
			client = creds.Client(pki.RoleService)
		}
		if o.https {
			cfg.TLS = rest.ServerTLS(creds)
		}
	}
	b := &cfg.Backends
	for _, to := range []struct {
		address string
		conn    *grpc.ClientConnInterface
	}{{o.scheduler, &b.Scheduler}, {o.coordinator, &b.Coordinator}, {o.conntrack, &b.Conntrack}, {o.health, &b.Health}} {
		conn, err := kit.Dial(to.address, client)
		if err != nil {
			return err
		}
		defer conn.Close()
		*to.conn = conn
	}
	if o.tokens != "" {
		var err error
		if cfg.Tokens, err = auth.LoadTokens(o.tokens); err != nil {
			return err
		}
	}
	g, err := rest.New(cfg)
	if err != nil {
		return err
	}
	lis, err := net.Listen("tcp", o.listen)
	if err != nil {
		return fmt.Errorf("listen for REST: %w", err)
	}
	log.Info("serving", "rest", lis.Addr().String(), "https", o.https)
	return g.Serve(ctx, lis)
}
