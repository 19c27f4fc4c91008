package kit

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/holdfast-lb/holdfast/services/kit/apierr"
	"github.com/holdfast-lb/holdfast/services/kit/natsd"
	"github.com/holdfast-lb/holdfast/services/kit/pki"
)

// probe is a service of two methods: Panic panics, Hang streams until its context ends.
type probe struct {
	ctx   context.Context
	ready chan struct{}
}

func (p *probe) Register(r grpc.ServiceRegistrar) {
	r.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Probe",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Panic", Handler: func(_ any, ctx context.Context, dec func(any) error, ic grpc.UnaryServerInterceptor) (any, error) {
			in := new(emptypb.Empty)
			if err := dec(in); err != nil {
				return nil, err
			}
			return ic(ctx, in, &grpc.UnaryServerInfo{FullMethod: "/test.Probe/Panic"}, func(context.Context, any) (any, error) { panic("secret") })
		}}},
		Streams: []grpc.StreamDesc{{StreamName: "Hang", ServerStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
			if err := s.SendMsg(&emptypb.Empty{}); err != nil {
				return err
			}
			<-p.ctx.Done()
			return apierr.New(apierr.ShuttingDown, "stopping")
		}}},
	}, p)
}

func (p *probe) Run(ctx context.Context) error {
	p.ctx = ctx
	close(p.ready)
	<-ctx.Done()
	return nil
}

func newProbe() *probe { return &probe{ready: make(chan struct{})} }

type creds struct{ svc, dpd, viewer *pki.Credentials }

func newCreds(t *testing.T) creds {
	t.Helper()
	ca, err := pki.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	one := func(role pki.Role) *pki.Credentials {
		leaf, err := ca.Issue(pki.Identity{Role: role, Name: "x"}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		c, err := pki.New(ca.CertPEM(), leaf)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	return creds{one(pki.RoleService), one(pki.RoleDataplane), one(pki.RoleViewer)}
}

func startServer(t *testing.T, cfg ServerConfig) (*Server, func() error) {
	t.Helper()
	cfg.Listen = "127.0.0.1:0"
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p := newProbe()
	p.Register(s)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Together(ctx, p.Run, s.Serve) }()
	<-p.ready
	var result error
	stopped := false
	stop := func() error {
		cancel()
		if !stopped {
			stopped, result = true, <-done
		}
		return result
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	return s, stop
}

func dial(t *testing.T, s *Server, c *pki.Credentials, role pki.Role) *grpc.ClientConn {
	t.Helper()
	var conn *grpc.ClientConn
	var err error
	if c == nil {
		conn, err = Dial(s.Addr().String(), nil)
	} else {
		conn, err = Dial(s.Addr().String(), c.Client(role))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func callPanic(t *testing.T, conn *grpc.ClientConn) error {
	t.Helper()
	return conn.Invoke(t.Context(), "/test.Probe/Panic", &emptypb.Empty{}, &emptypb.Empty{})
}

func TestPanicBecomesInternalAndIsLoggedAndCounted(t *testing.T) {
	var buf bytes.Buffer
	reg := prometheus.NewRegistry()
	s, stop := startServer(t, ServerConfig{Log: slog.New(slog.NewTextHandler(&buf, nil)), Metrics: reg})
	err := callPanic(t, dial(t, s, nil, ""))
	if status.Code(err) != codes.Internal || !apierr.Is(err, apierr.Internal) || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(buf.String(), "secret") {
		t.Error("the log does not tell of the panic")
	}
	fams, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var n float64
	for _, f := range fams {
		if f.GetName() == "holdfast_grpc_handled_total" {
			for _, m := range f.GetMetric() {
				n += m.GetCounter().GetValue()
			}
		}
	}
	if n != 1 {
		t.Errorf("%v calls counted", n)
	}
}

func TestPolicyHoldsOnTheWireAndHealthIsOpenToEveryIdentity(t *testing.T) {
	c := newCreds(t)
	s, _ := startServer(t, ServerConfig{TLS: c.dpd.Server(), Policy: pki.Policy{"/test.Probe/": {pki.RoleService}}})
	for _, tc := range []struct {
		name string
		conn *grpc.ClientConn
		want codes.Code
	}{
		{"service", dial(t, s, c.svc, pki.RoleDataplane), codes.Internal},
		{"viewer", dial(t, s, c.viewer, pki.RoleDataplane), codes.PermissionDenied},
		{"in clear", dial(t, s, nil, ""), codes.Unavailable},
		{"expects another role", dial(t, s, c.svc, pki.RoleGateway), codes.Unavailable},
	} {
		if got := status.Code(callPanic(t, tc.conn)); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
	stream, err := dial(t, s, c.viewer, pki.RoleDataplane).NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, "/test.Probe/Hang")
	if err == nil {
		err = stream.RecvMsg(&emptypb.Empty{})
	}
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("a viewer's stream: %v", err)
	}
	for who, want := range map[*pki.Credentials]codes.Code{c.svc: codes.OK, c.viewer: codes.PermissionDenied} {
		r, err := reflectionv1.NewServerReflectionClient(dial(t, s, who, pki.RoleDataplane)).ServerReflectionInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		// A refused stream may fail at the request already; its reason comes with the answer.
		_ = r.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}})
		if _, err := r.Recv(); status.Code(err) != want {
			t.Errorf("reflection for %s: %v", who.Self(), err)
		}
	}
	h, err := healthpb.NewHealthClient(dial(t, s, c.viewer, pki.RoleDataplane)).Check(t.Context(), &healthpb.HealthCheckRequest{Service: "test.Probe"}, grpc.WaitForReady(true))
	if err != nil || h.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", h, err)
	}
}

func TestStopSaysNotServingFirstAndEndsStreams(t *testing.T) {
	s, stop := startServer(t, ServerConfig{})
	conn := dial(t, s, nil, "")
	stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, "/test.Probe/Hang")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.SendMsg(&emptypb.Empty{}); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(&emptypb.Empty{}); err != nil {
		t.Fatal(err)
	}
	w, err := healthpb.NewHealthClient(conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := w.Recv(); err != nil || m.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("health before: %v, %v", m, err)
	}
	done := make(chan error, 1)
	go func() { done <- stop() }()
	if m, err := w.Recv(); err == nil && m.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health after: %v", m)
	}
	if err := stream.RecvMsg(&emptypb.Empty{}); !apierr.Is(err, apierr.ShuttingDown) {
		t.Errorf("the stream ended with %v", err)
	}
	conn.Close() // ends the health watch, which a graceful stop would wait for
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestTogetherEndsAllWithTheFirstAndKeepsItsError(t *testing.T) {
	boom := errors.New("boom")
	ended := false
	err := Together(t.Context(),
		func(context.Context) error { return boom },
		func(ctx context.Context) error { <-ctx.Done(); ended = true; return ctx.Err() })
	if !errors.Is(err, boom) || !ended {
		t.Errorf("got %v, other ended: %v", err, ended)
	}
}

func TestRunServesOverTLSUntilItsContextEnds(t *testing.T) {
	ca, err := pki.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Issue(pki.Identity{Role: pki.RoleService, Name: "bus"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	busCreds, err := pki.New(ca.CertPEM(), leaf)
	if err != nil {
		t.Fatal(err)
	}
	bus, err := natsd.Start(natsd.Config{Dir: t.TempDir(), TLS: busCreds.Server()})
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	f, err := ca.IssueTo(t.TempDir(), pki.Identity{Role: pki.RoleService, Name: "probe"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cfg := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(cfg, []byte("nats-url: "+bus.URL()+"\nmetrics-listen: 127.0.0.1:0\nown: from file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, own := newProbe(), ""
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	code := make(chan int)
	go func() {
		code <- run(ctx, "probe", Process{
			Flags: func(fs *flag.FlagSet) { fs.StringVar(&own, "own", "", "") },
			New: func(_ context.Context, env *Env) (Service, error) {
				if env.ClientTLS(pki.RoleDataplane) == nil || !env.NATS.IsConnected() {
					return nil, errors.New("incomplete environment")
				}
				return p, nil
			},
		}, []string{"--config", cfg, "--tls-ca", f.CA, "--tls-cert", f.Cert, "--tls-key", f.Key}, &out)
	}()
	select {
	case <-p.ready:
	case c := <-code:
		t.Fatalf("exit %d: %s", c, out.String())
	}
	cancel()
	if c := <-code; c != exitOK || own != "from file" {
		t.Errorf("exit %d, own %q: %s", c, own, out.String())
	}
}

func TestRunExitsWithTwoAndNamesEveryFault(t *testing.T) {
	cfg := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(cfg, []byte("listen: 127.0.0.1:0\nlisten: 127.0.0.1:1\nnonsense: 1\ninsecure: perhaps\nconfig: x\nnats-url: [a, b]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		want []string
	}{
		{[]string{"--config", cfg}, []string{`:2: key "listen" is there twice`, `:3: unknown key "nonsense"`, `:4: insecure: bad value "perhaps"`, `:5: unknown key "config"`, ":6: nats-url: a single value"}},
		{[]string{"--config", cfg + ".missing"}, []string{"read the configuration"}},
		{[]string{"--nonsense"}, []string{"nonsense"}},
		{[]string{"extra"}, []string{`unexpected argument "extra"`}},
		{[]string{"--log-format", "xml"}, []string{"neither text nor json"}},
		{[]string{"--log-level", "loud"}, []string{"log level"}},
	} {
		var out bytes.Buffer
		if code := run(t.Context(), "probe", Process{}, tc.args, &out); code != exitUsage {
			t.Errorf("%v: exit %d", tc.args, code)
		}
		for _, w := range tc.want {
			if !strings.Contains(out.String(), w) {
				t.Errorf("%v: %q is missing in %s", tc.args, w, out.String())
			}
		}
	}
}

func TestRunFailsWithoutCertificatesUnlessToldSo(t *testing.T) {
	var out bytes.Buffer
	if code := run(t.Context(), "probe", Process{}, nil, &out); code != exitFailed || !strings.Contains(out.String(), "--insecure") {
		t.Errorf("exit %d: %s", code, out.String())
	}
}
