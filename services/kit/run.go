package kit

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/holdfast-lb/holdfast/services/kit/pki"
)

// Exit codes of Run.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// Env is what a process gives to its service.
type Env struct {
	Log     *slog.Logger
	NATS    *nats.Conn
	JS      jetstream.JetStream
	Metrics prometheus.Registerer
	// Creds are the process's certificate and authority; nil with --insecure. ClientTLS is the usual use of them.
	Creds *pki.Credentials
}

// ClientTLS is mutual TLS towards servers of the given roles; nil with --insecure.
func (e *Env) ClientTLS(roles ...pki.Role) *tls.Config {
	if e.Creds == nil {
		return nil
	}
	return e.Creds.Client(roles...)
}

// ClientTLSOf is mutual TLS towards the server with that identity alone; nil with --insecure.
func (e *Env) ClientTLSOf(id pki.Identity) *tls.Config {
	if e.Creds == nil {
		return nil
	}
	return e.Creds.ClientOf(id)
}

// Process describes a kind of process.
type Process struct {
	// Flags adds the service's own flags.
	Flags func(*flag.FlagSet)
	// Policy says which roles may call what.
	Policy pki.Policy
	// New builds the service, after flags were read and NATS is connected.
	New func(ctx context.Context, env *Env) (Service, error)
}

type options struct {
	config, natsURL, listen, metricsListen string
	tls                                    pki.Files
	insecure                               bool
	logFormat, logLevel                    string
}

// Run is the main function of a process: it reads flags and configuration, serves until SIGINT or SIGTERM, and exits with 0,
// with 1 after a failure, or with 2 when flags or configuration are wrong.
func Run(name string, p Process) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, name, p, os.Args[1:], os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, name string, p Process, args []string, stderr io.Writer) int {
	var o options
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&o.config, "config", "", "YAML `file` whose keys are the names of these flags; flags given here win")
	fs.StringVar(&o.natsURL, "nats-url", nats.DefaultURL, "`URL` of NATS, several separated by commas; tls:// uses the certificate; a URL with a password belongs into the configuration file")
	fs.StringVar(&o.listen, "listen", "127.0.0.1:0", "`host:port` of the gRPC server")
	fs.StringVar(&o.metricsListen, "metrics-listen", "", "`host:port` of /metrics and /healthz in clear; empty serves neither")
	fs.StringVar(&o.tls.CA, "tls-ca", "", "PEM `file` of the authority")
	fs.StringVar(&o.tls.Cert, "tls-cert", "", "PEM `file` of the certificate")
	fs.StringVar(&o.tls.Key, "tls-key", "", "PEM `file` of the certificate's key")
	fs.BoolVar(&o.insecure, "insecure", false, "serve and dial in clear, anyone may call anything; for tests on one machine")
	fs.StringVar(&o.logFormat, "log-format", "text", "text or json")
	fs.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	if p.Flags != nil {
		p.Flags(fs)
	}
	if err := ParseFlags(fs, args, func() string { return o.config }); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return exitOK
		}
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return exitUsage
	}
	log, err := NewLogger(stderr, o.logFormat, o.logLevel)
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return exitUsage
	}
	log = log.With("process", name)
	if err := serve(ctx, name, p, o, log); err != nil {
		log.Error("stopped", "error", err)
		return exitFailed
	}
	log.Info("stopped")
	return exitOK
}

func serve(ctx context.Context, name string, p Process, o options, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	env := &Env{Log: log}
	registry := NewRegistry()
	env.Metrics = registry
	cfg := ServerConfig{Listen: o.listen, Policy: p.Policy, Log: log, Metrics: registry}
	if !o.insecure {
		creds, err := pki.Load(o.tls)
		if err != nil {
			return fmt.Errorf("%w (--tls-ca, --tls-cert and --tls-key are needed, or --insecure)", err)
		}
		env.Creds, cfg.TLS = creds, creds.Server()
	}
	var natsOpts []nats.Option
	if env.Creds != nil && strings.HasPrefix(o.natsURL, "tls://") {
		natsOpts = append(natsOpts, nats.Secure(env.Creds.Client(pki.RoleService)))
	}
	nc, err := ConnectNATS(o.natsURL, name, log, natsOpts...)
	if err != nil {
		return err
	}
	defer nc.Close()
	env.NATS = nc
	if env.JS, err = jetstream.New(nc); err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}
	srv, err := Listen(cfg)
	if err != nil {
		return err
	}
	defer srv.Close()
	svc, err := p.New(ctx, env)
	if err != nil {
		return fmt.Errorf("build the service: %w", err)
	}
	svc.Register(srv)
	parts := []func(context.Context) error{svc.Run, srv.Serve}
	if o.metricsListen != "" {
		lis, err := net.Listen("tcp", o.metricsListen)
		if err != nil {
			return fmt.Errorf("listen for metrics: %w", err)
		}
		parts = append(parts, func(ctx context.Context) error { return serveMetrics(ctx, lis, registry) })
	}
	log.Info("serving", "grpc", srv.Addr().String(), "tls", !o.insecure)
	return Together(ctx, parts...)
}

// Together runs all parts until one of them returns or ctx ends, then ends the others and returns the first error.
func Together(ctx context.Context, parts ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan error, len(parts))
	for _, part := range parts {
		go func() { results <- part(ctx) }()
	}
	var first error
	for range parts {
		err := <-results
		cancel()
		if first == nil && err != nil && !errors.Is(err, context.Canceled) {
			first = err
		}
	}
	return first
}

// NewRegistry is a metrics registry with the process's and the Go runtime's own metrics.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// NewLogger makes the log of a process. Format is text or json, level is debug, info, warn or error.
func NewLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log level: %w", err)
	}
	opts := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, fmt.Errorf("log format %q is neither text nor json", format)
}

// ConnectNATS connects, and keeps trying for ever when the first try fails: a service whose bus is away waits for it.
func ConnectNATS(url, name string, log *slog.Logger, opts ...nats.Option) (*nats.Conn, error) {
	opts = append([]nats.Option{
		nats.Name(name),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { log.Warn("NATS is away", "error", err) }),
		nats.ReconnectHandler(func(c *nats.Conn) { log.Info("NATS is back", "url", c.ConnectedUrlRedacted()) }),
		nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) {
			subject := ""
			if s != nil {
				subject = s.Subject
			}
			log.Warn("NATS error", "subject", subject, "error", err)
		}),
	}, opts...)
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	return nc, nil
}

func serveMetrics(ctx context.Context, lis net.Listener, g prometheus.Gatherer) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(g, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return nil
}
