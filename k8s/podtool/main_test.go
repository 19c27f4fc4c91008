package main

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
	"github.com/holdfast-lb/holdfast/services/kit"
	"github.com/holdfast-lb/holdfast/services/kit/pki"
)

// coordinator answers DrainNode and GetOperation by a script.
type coordinator struct {
	syncv1.UnimplementedCoordinatorServiceServer
	mu    sync.Mutex
	drain []error
	end   []*longrunningpb.Operation
	asked string
}

func (c *coordinator) DrainNode(_ context.Context, r *syncv1.DrainNodeRequest) (*longrunningpb.Operation, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = r.GetName()
	if len(c.drain) > 0 {
		err := c.drain[0]
		c.drain = c.drain[1:]
		return nil, err
	}
	return &longrunningpb.Operation{Name: "operations/1"}, nil
}

func (c *coordinator) GetOperation(context.Context, *syncv1.GetOperationRequest) (*longrunningpb.Operation, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.end) == 0 {
		return &longrunningpb.Operation{}, nil
	}
	op := c.end[0]
	c.end = c.end[1:]
	return op, nil
}

// serve runs the coordinator with mutual TLS; dir has a data plane's certificate of the same authority.
func serve(t *testing.T, c *coordinator) (addr, dir string, srv *kit.Server) {
	t.Helper()
	ca, err := pki.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Issue(pki.Identity{Role: pki.RoleService, Name: "sync-coordinator"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	creds, err := pki.New(ca.CertPEM(), leaf)
	if err != nil {
		t.Fatal(err)
	}
	srv, err = kit.Listen(kit.ServerConfig{Listen: "127.0.0.1:0", TLS: creds.Server(), Log: slog.New(slog.DiscardHandler),
		Policy: pki.Policy{"": {pki.RoleDataplane, pki.RoleService}}})
	if err != nil {
		t.Fatal(err)
	}
	syncv1.RegisterCoordinatorServiceServer(srv, c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	dir = t.TempDir()
	if _, err := ca.IssueTo(dir, pki.Identity{Role: pki.RoleDataplane, Name: "lb-a"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	return srv.Addr().String(), dir, srv
}

func TestDrain(t *testing.T) {
	done := &longrunningpb.Operation{Done: true}
	failed := &longrunningpb.Operation{Done: true, Result: &longrunningpb.Operation_Error{Error: &rpcstatus.Status{Code: int32(codes.Aborted), Message: "went"}}}
	for _, c := range []struct {
		name    string
		drain   []error
		end     []*longrunningpb.Operation
		timeout string
		code    int
	}{
		{"taken and done", nil, []*longrunningpb.Operation{{}, done}, "10s", 0},
		{"no leader at first", []error{status.Error(codes.Unavailable, "stands by")}, []*longrunningpb.Operation{done}, "10s", 0},
		{"the last node", []error{status.Error(codes.FailedPrecondition, "no other")}, nil, "10s", 0},
		{"a node that never joined", []error{status.Error(codes.NotFound, "none")}, nil, "10s", 0},
		{"not allowed", []error{status.Error(codes.PermissionDenied, "no")}, nil, "10s", 1},
		{"an operation that failed", nil, []*longrunningpb.Operation{failed}, "10s", 1},
		{"no end in time", nil, nil, "700ms", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := &coordinator{drain: c.drain, end: c.end}
			addr, dir, _ := serve(t, s)
			var errs bytes.Buffer
			env := func(string) string { return "lb-a" }
			if code := run([]string{"drain", "--coordinator", addr, "--tls-dir", dir, "--timeout", c.timeout}, env, &errs); code != c.code {
				t.Fatalf("exit %d: %s", code, errs.String())
			}
			if s.asked != "nodes/lb-a" {
				t.Errorf("asked for %q", s.asked)
			}
		})
	}
}

func TestHealth(t *testing.T) {
	// The certificate in dir is a data plane's, so the server that it asks must be one too.
	ca, err := pki.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files, err := ca.IssueTo(dir, pki.Identity{Role: pki.RoleService, Name: "x"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	creds, err := pki.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	srv, err := kit.Listen(kit.ServerConfig{Listen: "127.0.0.1:0", TLS: creds.Server(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	syncv1.RegisterCoordinatorServiceServer(srv, &coordinator{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ctx) }()
	defer func() { cancel(); <-done }()
	ask := func(args ...string) int {
		return run(append([]string{"health", "--address", srv.Addr().String(), "--tls-dir", dir, "--timeout", "5s"}, args...), func(string) string { return "" }, &bytes.Buffer{})
	}
	for deadline := time.Now().Add(10 * time.Second); ask() != 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the process as a whole does not serve")
		}
	}
	const name = "holdfast.sync.v1.CoordinatorService"
	if ask("--service", name) != 0 {
		t.Error("the service does not serve")
	}
	srv.SetServing(name, false)
	if ask("--service", name) != 1 || ask() != 0 {
		t.Error("one service that stands by is not the whole process")
	}
	if ask("--service", "none") != 1 {
		t.Error("an unknown service serves")
	}
	if ask("--address", "127.0.0.1:1") != 1 {
		t.Error("a closed port serves")
	}
	if ask("--tls-dir", t.TempDir()) != 1 {
		t.Error("served without a certificate")
	}
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
	}{
		{nil, 2}, {[]string{"fly"}, 2}, {[]string{"health", "-x"}, 2}, {[]string{"drain", "--timeout", "soon"}, 2}, {[]string{"health", "-h"}, 0},
	} {
		if code := run(c.args, func(string) string { return "" }, &bytes.Buffer{}); code != c.code {
			t.Errorf("%v: exit %d", c.args, code)
		}
	}
}
