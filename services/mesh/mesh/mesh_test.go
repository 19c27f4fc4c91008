package mesh

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-lb/holdfast/services/kit/pki"
	"github.com/holdfast-lb/holdfast/services/kit/seal"
)

func start(t *testing.T, dir, seed string) (*Mesh, func()) {
	t.Helper()
	m, err := New(Config{
		DataDir: dir, Seed: seed, Listen: "127.0.0.1:0", NATSListen: "127.0.0.1:0", HTTPListen: "127.0.0.1:0", MetricsListen: "127.0.0.1:0",
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	return m, stop
}

func get(t *testing.T, m *Mesh, path string, token bool) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, m.RESTURL()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token {
		text, err := os.ReadFile(m.TokenFile())
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(text)))
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func until(t *testing.T, what string, fn func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !fn(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func TestEverythingIsReachedThroughOneProcessAndKeptOverARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	seed := filepath.Join(t.TempDir(), "seed.yaml")
	if err := os.WriteFile(seed, []byte(goodSeed), 0o600); err != nil {
		t.Fatal(err)
	}
	m, stop := start(t, dir, seed)
	until(t, "the seed is applied", func() bool {
		code, body := get(t, m, "/v1/virtualServices/web/realServers", true)
		return code == 200 && strings.Contains(body, "realServers/one") && strings.Contains(body, "realServers/two")
	})
	for path, want := range map[string]string{
		"/v1/nodes":               `"nodes":[]`,
		"/v1/virtualServices":     "virtualServices/web",
		"/v1/addressPools":        "addressPools/laddr4",
		"/v1/sessions":            `"sessions":[]`,
		"/v1/healthChecks/web":    "CHECK_TYPE_NONE",
		"/v1/virtualServices/web": "198.51.100.10",
		"/v1/nodeHealth":          `"nodes":[]`,
	} {
		until(t, path, func() bool {
			code, body := get(t, m, path, true)
			return code == 200 && strings.Contains(strings.ReplaceAll(body, " ", ""), want)
		})
	}
	if code, _ := get(t, m, "/v1/nodes", false); code != http.StatusUnauthorized {
		t.Errorf("without a token: %d", code)
	}
	token, _ := os.ReadFile(m.TokenFile())
	stop()

	m, stop = start(t, dir, seed)
	until(t, "the services are there again", func() bool {
		code, body := get(t, m, "/v1/virtualServices/web", true)
		return code == 200 && strings.Contains(body, "198.51.100.10")
	})
	if again, _ := os.ReadFile(m.TokenFile()); string(again) != string(token) {
		t.Error("the token changed")
	}
	stop()
}

func TestTheKeyThatSealsTheStoreIsMadeOnceOutsideOfIt(t *testing.T) {
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "kek")
	_, stop := start(t, dir, "")
	stop()
	made, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(keyFile); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	lead := func() {
		t.Helper()
		m, stop := start(t, dir, "")
		until(t, "the coordinator leads", func() bool { code, _ := get(t, m, "/v1/nodes", true); return code == 200 })
		stop()
	}
	lead()
	if again, err := os.ReadFile(keyFile); err != nil || string(again) != string(made) {
		t.Errorf("the key file was written again: %v", err)
	}

	// Another key does not open the store, and the process says so and ends.
	if err := os.Remove(keyFile); err != nil {
		t.Fatal(err)
	}
	m, err := New(Config{DataDir: dir, Listen: "127.0.0.1:0", NATSListen: "127.0.0.1:0", HTTPListen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Run(t.Context()); !errors.Is(err, seal.ErrOtherKey) {
		t.Errorf("with another key: %v", err)
	}
	if err := os.WriteFile(keyFile, made, 0o600); err != nil {
		t.Fatal(err)
	}
	lead()
}

func TestADataPlanesCertificateReachesTheBus(t *testing.T) {
	dir := t.TempDir()
	m, _ := start(t, dir, "")
	ca, err := pki.OpenCA(filepath.Join(dir, "pki"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Issue(pki.Identity{Role: pki.RoleDataplane, Name: "lb-a"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	creds, err := pki.New(ca.CertPEM(), leaf)
	if err != nil {
		t.Fatal(err)
	}
	// The scheme that a configuration may have as well: TLS is what the certificate asks for.
	nc, err := nats.Connect(strings.Replace(m.EventsURL(), "tls://", "nats://", 1), nats.Secure(creds.Client(pki.RoleService)))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync("holdfast.v1.session.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Publish("holdfast.v1.session.lb-a.created", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := sub.NextMsg(5 * time.Second); err != nil {
		t.Fatal(err)
	}
}

func TestNewRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("pools: {}"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := func() Config {
		return Config{DataDir: t.TempDir(), Listen: "127.0.0.1:0", NATSListen: "127.0.0.1:0", HTTPListen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)}
	}
	for name, edit := range map[string]func(*Config){
		"a data folder that is a file":  func(c *Config) { c.DataDir = file },
		"a seed that is not there":      func(c *Config) { c.Seed = file + "x" },
		"a seed that is not understood": func(c *Config) { c.Seed = file },
		"a key file that is not there":  func(c *Config) { c.KeyFile = file + "x" },
		"a key file without a key":      func(c *Config) { c.KeyFile = file },
		"a key file that others read": func(c *Config) {
			if err := os.WriteFile(filepath.Join(c.DataDir, "kek"), []byte(strings.Repeat("17", 32)), 0o644); err != nil {
				t.Fatal(err)
			}
		},
		"an address of another machine":  func(c *Config) { c.Listen = "192.0.2.1:0" },
		"no REST address":                func(c *Config) { c.HTTPListen = "x" },
		"no metrics address":             func(c *Config) { c.MetricsListen = "x" },
		"a NATS address without port":    func(c *Config) { c.NATSListen = "127.0.0.1" },
		"a health source that is a name": func(c *Config) { c.HealthSource = "host" },
	} {
		cfg := good()
		edit(&cfg)
		if m, err := New(cfg); err == nil {
			m.Close()
			t.Errorf("%s: it started", name)
		}
	}
}

func TestReachable(t *testing.T) {
	m, _ := start(t, t.TempDir(), "")
	if !strings.HasPrefix(m.GRPCAddr(), "127.0.0.1:") || !strings.HasPrefix(m.RESTURL(), "http://127.0.0.1:") {
		t.Errorf("%s %s", m.GRPCAddr(), m.RESTURL())
	}
	if got := hosts("0.0.0.0:1", "198.18.9.1:2", "[::]:3", "lb.example:4", "198.18.9.1:5"); strings.Join(got, " ") != "localhost 127.0.0.1 ::1 198.18.9.1 lb.example" {
		t.Errorf("%v", got)
	}
}
