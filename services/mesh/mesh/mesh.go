// Package mesh is the whole control plane in one process: the four services on one gRPC server, the gateway, and a NATS
// server with JetStream in a folder. It is the default on one machine.
package mesh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"

	"github.com/holdfast-lb/holdfast/gateway/auth"
	"github.com/holdfast-lb/holdfast/gateway/rest"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
	"github.com/holdfast-lb/holdfast/services/conntrack-query/query"
	health "github.com/holdfast-lb/holdfast/services/health/service"
	"github.com/holdfast-lb/holdfast/services/kit"
	"github.com/holdfast-lb/holdfast/services/kit/natsd"
	"github.com/holdfast-lb/holdfast/services/kit/pki"
	"github.com/holdfast-lb/holdfast/services/kit/seal"
	"github.com/holdfast-lb/holdfast/services/scheduler/rollout"
	scheduler "github.com/holdfast-lb/holdfast/services/scheduler/service"
	"github.com/holdfast-lb/holdfast/services/sync-coordinator/coordinator"
)

// Config of a mesh. Listen addresses are host:port; port 0 takes a free one.
type Config struct {
	// DataDir keeps everything: JetStream (nats), the key that seals what is secret there (kek), the authority and its
	// certificates (pki), the tokens of the gateway.
	DataDir string
	// KeyFile has the key that seals the cluster keys in JetStream; empty means kek in DataDir, which is made if it is not there.
	KeyFile string
	// Seed is a YAML file of desired state that is made at the start, as far as it is not there; empty is none.
	Seed string
	// Listen is for the gRPC of all services, NATSListen for clients of NATS, HTTPListen for REST.
	Listen, NATSListen, HTTPListen string
	// MetricsListen is for /metrics in clear; empty serves none.
	MetricsListen string
	// Coordinator has the rules on sick nodes; its other fields are set here.
	Coordinator coordinator.Options
	// HealthSource is the address that health checks come from; empty leaves the choice to the kernel.
	HealthSource string
	Log          *slog.Logger
}

// Mesh is a control plane whose addresses are bound.
type Mesh struct {
	cfg     Config
	seed    *Seed
	nats    *natsd.Server
	bus     *nats.Conn
	server  *kit.Server
	rest    *rest.Gateway
	lis     net.Listener
	metrics *http.Server
	metLis  net.Listener
	parts   []func(context.Context) error
	closers []func()
}

// New starts NATS, binds the addresses and builds every service. What it fails at it leaves closed.
func New(cfg Config) (m *Mesh, err error) {
	m = &Mesh{cfg: cfg}
	defer func() {
		if err != nil {
			m.Close()
		}
	}()
	if cfg.Seed != "" {
		if m.seed, err = ReadSeed(cfg.Seed); err != nil {
			return m, err
		}
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return m, fmt.Errorf("make the data folder: %w", err)
	}
	creds, gatewayCreds, err := identities(cfg.DataDir, hosts(cfg.Listen, cfg.NATSListen, cfg.HTTPListen))
	if err != nil {
		return m, err
	}
	// Before the bus: nothing is to wait for a process that can't open what it stored.
	keys, err := sealingKeys(&cfg)
	if err != nil {
		return m, err
	}
	if err := m.startBus(creds); err != nil {
		return m, err
	}
	registry := kit.NewRegistry()
	if err := m.startServices(creds, keys, registry); err != nil {
		return m, err
	}
	if err := m.startGateway(gatewayCreds); err != nil {
		return m, err
	}
	return m, m.startMetrics(registry)
}

// hosts are the names and addresses under which programs that check them, such as NATS clients, reach this process.
func hosts(listen ...string) []string {
	out := []string{"localhost", "127.0.0.1", "::1"}
	for _, a := range listen {
		h, _, err := net.SplitHostPort(a)
		if ip := net.ParseIP(h); err == nil && h != "" && !slices.Contains(out, h) && (ip == nil || !ip.IsUnspecified()) {
			out = append(out, h)
		}
	}
	return out
}

// identities opens the authority and issues the certificates of this process anew, so that none runs out.
func identities(dir string, hosts []string) (services, gateway *pki.Credentials, err error) {
	base := filepath.Join(dir, "pki")
	ca, err := pki.OpenCA(base, time.Now())
	if err != nil {
		return nil, nil, err
	}
	load := func(role pki.Role, name string) (*pki.Credentials, error) {
		files, err := ca.IssueTo(filepath.Join(base, name), pki.Identity{Role: role, Name: name}, time.Now(), hosts...)
		if err != nil {
			return nil, err
		}
		return pki.Load(files)
	}
	if services, err = load(pki.RoleService, "mesh"); err != nil {
		return nil, nil, err
	}
	if gateway, err = load(pki.RoleGateway, "gateway"); err != nil {
		return nil, nil, err
	}
	_, err = load(pki.RoleOperator, "operator") // for people on this machine
	return services, gateway, err
}

// sealingKeys reads the key file. A file that someone named is never made: that it is missing is a mistake then.
func sealingKeys(cfg *Config) (*seal.Keys, error) {
	if cfg.KeyFile != "" {
		keys, err := seal.Load(cfg.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("--kek-file: %w", err)
		}
		return keys, nil
	}
	path := filepath.Join(cfg.DataDir, "kek")
	if err := seal.MakeFile(path); err != nil {
		return nil, err
	}
	return seal.Load(path)
}

func (m *Mesh) startBus(creds *pki.Credentials) error {
	var err error
	m.nats, err = natsd.Start(natsd.Config{Dir: filepath.Join(m.cfg.DataDir, "nats"), Listen: m.cfg.NATSListen, TLS: creds.Server()})
	if err != nil {
		return err
	}
	m.bus, err = kit.ConnectNATS(m.nats.URL(), "mesh", m.cfg.Log, nats.Secure(creds.Client(pki.RoleService)))
	return err
}

func (m *Mesh) startServices(creds *pki.Credentials, keys *seal.Keys, registry prometheus.Registerer) error {
	policy := pki.Policy{}
	for _, p := range []pki.Policy{scheduler.Policy(), coordinator.Policy(), query.Policy(), health.Policy()} {
		maps.Copy(policy, p)
	}
	var err error
	m.server, err = kit.Listen(kit.ServerConfig{Listen: m.cfg.Listen, TLS: creds.Server(), Policy: policy, Log: m.cfg.Log, Metrics: registry})
	if err != nil {
		return err
	}
	js, err := jetstream.New(m.bus)
	if err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}
	env := &kit.Env{Log: m.cfg.Log, NATS: m.bus, JS: js, Metrics: registry, Creds: creds}
	self := m.GRPCAddr()
	toSelf, err := m.dial(creds)
	if err != nil {
		return err
	}
	sched := scheduler.New(scheduler.Config{Replicas: 1}, scheduler.Deps{
		JS:    js,
		Nodes: rollout.Coordinator{Client: syncv1.NewCoordinatorServiceClient(toSelf), Log: m.cfg.Log},
		Dial: func(address string) (*grpc.ClientConn, error) {
			return kit.Dial(address, env.ClientTLS(pki.RoleDataplane))
		},
		Log: m.cfg.Log,
	})
	rules := m.cfg.Coordinator
	rules.Scheduler, rules.Replicas, rules.Instance, rules.Keys = self, 1, "mesh", keys
	coord, err := coordinator.Build(env, rules)
	if err != nil {
		return err
	}
	sessions, err := query.Build(env, query.Options{Coordinator: self, Scheduler: self})
	if err != nil {
		return err
	}
	checks, err := health.Build(env, health.Options{Coordinator: self, Scheduler: self, Source: m.cfg.HealthSource, Replicas: 1})
	if err != nil {
		return err
	}
	for _, s := range []kit.Service{sched, coord, sessions, checks} {
		s.Register(m.server)
		m.parts = append(m.parts, s.Run)
	}
	m.parts = append(m.parts, m.server.Serve)
	return nil
}

// dial connects to the mesh's own gRPC server.
func (m *Mesh) dial(creds *pki.Credentials) (*grpc.ClientConn, error) {
	conn, err := kit.Dial(m.GRPCAddr(), creds.Client(pki.RoleService))
	if err == nil {
		m.closers = append(m.closers, func() { _ = conn.Close() })
	}
	return conn, err
}

func (m *Mesh) startGateway(creds *pki.Credentials) error {
	conn, err := m.dial(creds)
	if err != nil {
		return err
	}
	tokens, err := openTokens(m.cfg.DataDir)
	if err != nil {
		return err
	}
	m.rest, err = rest.New(rest.Config{
		Backends: rest.Backends{Scheduler: conn, Coordinator: conn, Conntrack: conn, Health: conn},
		Tokens:   tokens,
		Log:      m.cfg.Log,
	})
	if err != nil {
		return err
	}
	if m.lis, err = net.Listen("tcp", m.cfg.HTTPListen); err != nil {
		return fmt.Errorf("listen for REST: %w", err)
	}
	m.parts = append(m.parts, func(ctx context.Context) error { return m.rest.Serve(ctx, m.lis) })
	if m.seed != nil {
		m.parts = append(m.parts, func(ctx context.Context) error {
			if err := m.seed.Apply(ctx, conn, m.cfg.Log); err != nil {
				return err
			}
			<-ctx.Done()
			return nil
		})
	}
	return nil
}

// openTokens makes the gateway's tokens if there are none, and keeps the admin's alone in a file of its own, for scripts.
func openTokens(dir string) (*auth.Tokens, error) {
	path := filepath.Join(dir, "tokens")
	if err := auth.EnsureTokenFile(path); err != nil {
		return nil, err
	}
	tokens, err := auth.LoadTokens(path)
	if err != nil {
		return nil, err
	}
	lines, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the tokens: %w", err)
	}
	if admin := firstAdmin(string(lines)); admin != "" {
		if err := os.WriteFile(filepath.Join(dir, "token"), []byte(admin+"\n"), 0o600); err != nil {
			return nil, fmt.Errorf("keep the admin's token: %w", err)
		}
	}
	return tokens, nil
}

func (m *Mesh) startMetrics(g prometheus.Gatherer) error {
	if m.cfg.MetricsListen == "" {
		return nil
	}
	var err error
	if m.metLis, err = net.Listen("tcp", m.cfg.MetricsListen); err != nil {
		return fmt.Errorf("listen for metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(g, promhttp.HandlerOpts{}))
	m.metrics = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	m.parts = append(m.parts, func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, func() { _ = m.metrics.Close() })
		defer stop()
		if err := m.metrics.Serve(m.metLis); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve metrics: %w", err)
		}
		return nil
	})
	return nil
}

// Run works until ctx ends or a part fails, then closes everything.
func (m *Mesh) Run(ctx context.Context) error {
	defer m.Close()
	return kit.Together(ctx, m.parts...)
}

// Close closes what New opened; only needed when Run is not called.
func (m *Mesh) Close() {
	for _, c := range m.closers {
		c()
	}
	m.closers = nil
	for _, l := range []net.Listener{m.lis, m.metLis} {
		if l != nil {
			_ = l.Close()
		}
	}
	if m.server != nil {
		m.server.Close()
	}
	if m.bus != nil {
		m.bus.Close()
	}
	if m.nats != nil {
		m.nats.Close()
	}
}

// GRPCAddr is where the services are reached from this machine.
func (m *Mesh) GRPCAddr() string { return reachable(m.server.Addr()) }

// RESTURL is where the gateway is reached from this machine.
func (m *Mesh) RESTURL() string { return "http://" + reachable(m.lis.Addr()) }

// EventsURL is where anyone may follow events.
func (m *Mesh) EventsURL() string { return m.nats.EventsURL() }

// TokenFile holds the admin's token and nothing else.
func (m *Mesh) TokenFile() string { return filepath.Join(m.cfg.DataDir, "token") }

// reachable is an address with loopback in the place of "any".
func reachable(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return a.String()
	}
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(tcp.Port))
}
