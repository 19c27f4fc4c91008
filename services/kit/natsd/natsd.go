// Package natsd runs a NATS server with JetStream inside the process: the bus and store of a single machine, and of tests.
//
// Whoever connects without a name may follow events and publish those of data planes, and nothing else: desired state and
// membership lie in JetStream, and who can write there rules the cluster. Services connect with the secret that URL holds.
package natsd

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/holdfast-lb/holdfast/services/kit/secretfile"
)

// startTimeout bounds the time until the server takes connections.
const startTimeout = 10 * time.Second

// Config of an embedded server.
type Config struct {
	// Dir holds JetStream's files. Configuration and membership lie there, so every write is flushed to disk.
	Dir string
	// Listen is host:port for clients from elsewhere; port 0 takes a free one; empty means 127.0.0.1:0.
	Listen string
	// Name of the server; empty means "holdfast".
	Name string
	// MaxStore bounds JetStream's files in bytes; 0 means 1 GiB.
	MaxStore int64
	// TLS asks clients for TLS; nil serves in clear.
	TLS *tls.Config
}

// serviceUser is the user with all rights.
const serviceUser = "holdfast"

// anyone is what a client without a name may do.
var anyone = &server.Permissions{
	Subscribe: &server.SubjectPermission{Allow: []string{"holdfast.v1.>"}},
	Publish:   &server.SubjectPermission{Allow: []string{"holdfast.v1.session.>", "holdfast.v1.sync.>"}},
}

// Server is a running embedded server.
type Server struct {
	s      *server.Server
	secret string
}

// Start runs a server until Close. It installs no signal handlers and writes no log of its own.
func Start(cfg Config) (*Server, error) {
	if cfg.Dir == "" {
		return nil, errors.New("natsd: no folder for JetStream given")
	}
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	host, portText, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("natsd: listen address: %w", err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("natsd: listen port: %w", err)
	}
	if cfg.Name == "" {
		cfg.Name = "holdfast"
	}
	if cfg.MaxStore == 0 {
		cfg.MaxStore = 1 << 30
	}
	secret, err := openSecret(cfg.Dir)
	if err != nil {
		return nil, err
	}
	opts := &server.Options{
		Users: []*server.User{
			{Username: serviceUser, Password: secret},
			{Username: "anyone", Password: rand.Text(), Permissions: anyone},
		},
		NoAuthUser:         "anyone",
		TLSConfig:          cfg.TLS,
		TLS:                cfg.TLS != nil,
		TLSVerify:          cfg.TLS != nil,
		TLSTimeout:         5,
		ServerName:         cfg.Name,
		Host:               host,
		Port:               int(port),
		NoSigs:             true,
		NoLog:              true,
		JetStream:          true,
		StoreDir:           cfg.Dir,
		JetStreamMaxStore:  cfg.MaxStore,
		JetStreamMaxMemory: 64 << 20,
		SyncAlways:         true,
		MaxPayload:         1 << 20,
	}
	if port == 0 {
		opts.Port = server.RANDOM_PORT
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("natsd: %w", err)
	}
	fatal := make(fatalLog, 1)
	s.SetLoggerV2(fatal, false, false, false)
	ready := make(chan bool, 1)
	go s.Start()
	go func() { ready <- s.ReadyForConnections(startTimeout) }()
	select {
	case reason := <-fatal:
		err = fmt.Errorf("natsd: %s", reason)
	case ok := <-ready:
		if !ok || !s.JetStreamEnabled() {
			err = fmt.Errorf("natsd: %s does not take connections within %v", cfg.Listen, startTimeout)
		}
	}
	if err != nil {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, err
	}
	return &Server{s: s, secret: secret}, nil
}

// openSecret reads the services' password, and makes it first if there is none.
func openSecret(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("natsd: %w", err)
	}
	path := filepath.Join(dir, "secret")
	if _, err := secretfile.Make(path, []byte(rand.Text())); err != nil {
		return "", fmt.Errorf("natsd: store the secret: %w", err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("natsd: read the secret: %w", err)
	}
	if len(b) < 16 || len(b) > 256 || strings.ContainsAny(string(b), "\r\n\x00") {
		return "", fmt.Errorf("natsd: %s holds no secret", path)
	}
	return string(b), nil
}

// URL is where services connect. It holds their secret.
func (s *Server) URL() string {
	u, err := url.Parse(s.s.ClientURL())
	if err != nil {
		return s.s.ClientURL()
	}
	u.User = url.UserPassword(serviceUser, s.secret)
	return u.String()
}

// EventsURL is where anyone may follow events. It holds no secret.
func (s *Server) EventsURL() string { return s.s.ClientURL() }

// Close stops the server and returns when its files are closed.
func (s *Server) Close() {
	s.s.Shutdown()
	s.s.WaitForShutdown()
}

// fatalLog keeps the first reason for which the server gave up; the server reports it nowhere else.
type fatalLog chan string

func (l fatalLog) Fatalf(format string, v ...any) {
	select {
	case l <- fmt.Sprintf(format, v...):
	default:
	}
}

func (fatalLog) Noticef(string, ...any) {}
func (fatalLog) Warnf(string, ...any)   {}
func (fatalLog) Errorf(string, ...any)  {}
func (fatalLog) Debugf(string, ...any)  {}
func (fatalLog) Tracef(string, ...any)  {}
