package rest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	conntrackv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/conntrack/v1"
	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	schedulerv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/scheduler/v1"

	"github.com/holdfast-lb/holdfast/gateway/auth"
	"github.com/holdfast-lb/holdfast/services/kit"
	"github.com/holdfast-lb/holdfast/services/kit/apierr"
	"github.com/holdfast-lb/holdfast/services/kit/pki"
)

const (
	viewer = "viewer-token-viewer"
	admin  = "admin-token-of-admin"
)

// backend answers for every service behind the gateway.
type backend struct {
	schedulerv1.UnimplementedVirtualServiceServiceServer
	schedulerv1.UnimplementedRolloutServiceServer
	conntrackv1.UnimplementedSessionServiceServer

	mu   sync.Mutex
	got  []any
	meta metadata.MD
}

func (b *backend) note(ctx context.Context, r any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got = append(b.got, r)
	b.meta, _ = metadata.FromIncomingContext(ctx)
}

func (b *backend) CreateVirtualService(ctx context.Context, r *schedulerv1.CreateVirtualServiceRequest) (*schedulerv1.VirtualService, error) {
	b.note(ctx, r)
	if r.GetVirtualService().GetPort() == 0 {
		var v apierr.Violations
		v.Add("virtual_service.port", "is not 1 to 65535")
		return nil, v.Err()
	}
	return &schedulerv1.VirtualService{Name: "virtualServices/" + r.GetVirtualServiceId(), Port: r.GetVirtualService().GetPort()}, nil
}

func (b *backend) UpdateVirtualService(ctx context.Context, r *schedulerv1.UpdateVirtualServiceRequest) (*schedulerv1.VirtualService, error) {
	b.note(ctx, r)
	return r.GetVirtualService(), nil
}

func (b *backend) GetSession(ctx context.Context, r *conntrackv1.GetSessionRequest) (*conntrackv1.Session, error) {
	b.note(ctx, r)
	return &conntrackv1.Session{Name: r.GetName()}, nil
}

func (b *backend) CountSessions(ctx context.Context, r *conntrackv1.CountSessionsRequest) (*conntrackv1.CountSessionsResponse, error) {
	b.note(ctx, r)
	return &conntrackv1.CountSessionsResponse{Total: 7}, nil
}

func (b *backend) WatchRollout(_ *schedulerv1.WatchRolloutRequest, s grpc.ServerStreamingServer[schedulerv1.WatchRolloutResponse]) error {
	if err := s.Send(&schedulerv1.WatchRolloutResponse{Kind: dpdv1.WatchKind_WATCH_KIND_BOOKMARK, Rollout: &schedulerv1.Rollout{Revision: 1}}); err != nil {
		return err
	}
	if err := s.Send(&schedulerv1.WatchRolloutResponse{Kind: dpdv1.WatchKind_WATCH_KIND_UPDATE, Rollout: &schedulerv1.Rollout{Revision: 2}}); err != nil {
		return err
	}
	return apierr.New(apierr.SlowReader, "too slow")
}

func newGateway(t *testing.T, cfg Config) (*Gateway, *backend) {
	t.Helper()
	b := &backend{}
	log := slog.New(slog.DiscardHandler)
	s, err := kit.Listen(kit.ServerConfig{Listen: "127.0.0.1:0", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	schedulerv1.RegisterVirtualServiceServiceServer(s, b)
	schedulerv1.RegisterRolloutServiceServer(s, b)
	conntrackv1.RegisterSessionServiceServer(s, b)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	conn, err := kit.Dial(s.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the backend's server ended with %v", err)
		}
	})
	tokens, err := auth.ReadTokens(strings.NewReader("viewer eve " + viewer + "\nadmin al " + admin + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Backends, cfg.Tokens, cfg.Log = Backends{conn, conn, conn, conn}, tokens, log
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g, b
}

func call(t *testing.T, g *Gateway, method, path, token, body string) (int, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	g.Handler().ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestRequestsReachTheServiceAsTheProtoSays(t *testing.T) {
	g, b := newGateway(t, Config{})
	code, body := call(t, g, "POST", "/v1/virtualServices?virtual_service_id=web&validate_only=true", admin, `{"vip":"198.51.100.10","port":80,"protocol":"PROTOCOL_TCP"}`)
	r := b.got[0].(*schedulerv1.CreateVirtualServiceRequest)
	if code != 200 || r.GetVirtualServiceId() != "web" || !r.GetValidateOnly() || r.GetVirtualService().GetProtocol() != dpdv1.Protocol_PROTOCOL_TCP {
		t.Errorf("create: %d %s, %v", code, body, r)
	}
	for k := range b.meta {
		if strings.HasPrefix(k, "authorization") || strings.HasPrefix(k, "grpcgateway-") {
			t.Errorf("the service sees the header %s", k)
		}
	}
	code, body = call(t, g, "PATCH", "/v1/virtualServices/web", admin, `{"algorithm":"ALGORITHM_WLC","timeouts":{"udp":"5s"}}`)
	u := b.got[1].(*schedulerv1.UpdateVirtualServiceRequest)
	if code != 200 || u.GetVirtualService().GetName() != "virtualServices/web" || strings.Join(u.GetUpdateMask().GetPaths(), " ") != "algorithm timeouts.udp" {
		t.Errorf("patch: %d %s, %v", code, body, u)
	}
	// Session names hold the colons of IPv6 addresses, which a custom verb would begin with.
	for _, name := range []string{"tcp,192.0.2.1,5000,198.51.100.10,80", "udp,2001:db8::1,5000,2001:db8::10,7001"} {
		code, body = call(t, g, "GET", "/v1/sessions/"+name, viewer, "")
		if code != 200 || b.got[len(b.got)-1].(*conntrackv1.GetSessionRequest).GetName() != "sessions/"+name {
			t.Errorf("%s: %d %s", name, code, body)
		}
	}
	code, body = call(t, g, "GET", "/v1/sessions:count?filter=owner%3D%22nodes%2Fa%22&group_by=GROUP_BY_OWNER", viewer, "")
	c, ok := b.got[len(b.got)-1].(*conntrackv1.CountSessionsRequest)
	if code != 200 || !ok || c.GetFilter() != `owner="nodes/a"` || !strings.Contains(body, `"total":"7"`) {
		t.Errorf("count: %d %s, %v", code, body, c)
	}
}

func TestRefusalsAreStatusesAndReachNoService(t *testing.T) {
	g, b := newGateway(t, Config{})
	const ok = `{"vip":"198.51.100.10","port":80}`
	for _, tc := range []struct {
		name, method, path, token, body string
		code                            int
		reason                          string
	}{
		{"no token", "GET", "/v1/sessions:count", "", "", 401, "NO_IDENTITY"},
		{"wrong token", "GET", "/v1/sessions:count", viewer + "x", "", 401, "NO_IDENTITY"},
		{"no token and no such path", "GET", "/v1/none", "", "", 401, "NO_IDENTITY"},
		{"viewer writes", "POST", "/v1/virtualServices?virtual_service_id=a", viewer, ok, 403, "ROLE_DENIED"},
		{"viewer deletes sessions", "POST", "/v1/sessions:delete", viewer, `{"filter":"x"}`, 403, "ROLE_DENIED"},
		{"unknown field", "POST", "/v1/virtualServices", admin, `{"vpi":"198.51.100.10"}`, 400, ""},
		{"wrong type", "POST", "/v1/virtualServices", admin, `{"port":"eighty"}`, 400, ""},
		{"no JSON", "POST", "/v1/virtualServices", admin, `port=80`, 400, ""},
		{"cut off", "POST", "/v1/virtualServices", admin, `{"port":`, 400, ""},
		{"too large", "POST", "/v1/virtualServices", admin, `{"vip":"` + strings.Repeat("x", maxBody) + `"}`, 400, ""},
		{"no such path", "GET", "/v1/none", admin, "", 404, ""},
		{"no such method", "DELETE", "/v1/rollout", admin, "", 501, ""},
		{"wrong method", "POST", "/v1/rollout", admin, "", 501, ""},
		{"bad enum in the query", "GET", "/v1/sessions:count?group_by=NONSENSE", viewer, "", 400, ""},
		{"a dataplane's method", "POST", "/holdfast.dpd.v1.DataplaneService/Drain", admin, "{}", 404, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, body := call(t, g, tc.method, tc.path, tc.token, tc.body)
			var st struct {
				Code    int
				Message string
				Details []struct{ Reason string }
			}
			if err := json.Unmarshal([]byte(body), &st); err != nil || st.Code == 0 || st.Message == "" {
				t.Fatalf("no google.rpc.Status: %s", body)
			}
			reason := ""
			if len(st.Details) > 0 {
				reason = st.Details[0].Reason
			}
			if code != tc.code || reason != tc.reason {
				t.Errorf("%d %s, want %d %s: %s", code, reason, tc.code, tc.reason, body)
			}
		})
	}
	if len(b.got) != 0 {
		t.Errorf("a service was called: %v", b.got)
	}
}

func TestFieldViolationsReachTheCaller(t *testing.T) {
	g, _ := newGateway(t, Config{})
	code, body := call(t, g, "POST", "/v1/virtualServices?virtual_service_id=a", admin, `{}`)
	var st struct {
		Details []struct {
			Reason          string
			FieldViolations []struct{ Field string }
		}
	}
	if err := json.Unmarshal([]byte(body), &st); err != nil {
		t.Fatal(err)
	}
	if code != 400 || len(st.Details) != 2 || st.Details[0].Reason != "BAD_REQUEST" || st.Details[1].FieldViolations[0].Field != "virtual_service.port" {
		t.Errorf("%d %s", code, body)
	}
}

func TestOpenPathsNeedNoToken(t *testing.T) {
	g, _ := newGateway(t, Config{})
	if code, body := call(t, g, "GET", "/healthz", "", ""); code != 200 || body != "ok\n" {
		t.Errorf("healthz: %d %s", code, body)
	}
	code, body := call(t, g, "GET", "/openapi.json", "", "")
	var doc struct {
		Swagger string
		Info    struct{ Title string }
		Paths   map[string]any
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil || code != 200 {
		t.Fatalf("openapi: %d, %v", code, err)
	}
	for _, p := range []string{"/v1/virtualServices", "/v1/nodes", "/v1/sessions", "/v1/backends", "/v1/rollout:watch"} {
		if doc.Paths[p] == nil {
			t.Errorf("the document lacks %s", p)
		}
	}
	if doc.Swagger != "2.0" || doc.Info.Title != "holdfast" {
		t.Errorf("%s, %s", doc.Swagger, doc.Info.Title)
	}
}

// serve runs the gateway on a socket.
func serve(t *testing.T, g *Gateway) (url string, stop func() error) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Serve(ctx, lis) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("the gateway ended with %v", err)
		}
	})
	scheme := "http://"
	if g.cfg.TLS != nil {
		scheme = "https://"
	}
	return scheme + lis.Addr().String(), stop
}

func TestStreamsAreLinesOrEventsAndEndWithTheirError(t *testing.T) {
	g, _ := newGateway(t, Config{})
	url, _ := serve(t, g)
	for accept, want := range map[string][]string{
		mimeNDJSON: {`{"result":`, `{"result":`, `{"error":`},
		mimeEvents: {`data: {"result":`, "", `data: {"result":`, "", `data: {"error":`, ""},
	} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", url+"/v1/rollout:watch", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", accept)
		req.Header.Set("Authorization", "Bearer "+viewer)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for s := bufio.NewScanner(resp.Body); s.Scan(); {
			lines = append(lines, s.Text())
		}
		resp.Body.Close()
		if ct := resp.Header.Get("Content-Type"); ct != accept {
			t.Errorf("content type %q, want %q", ct, accept)
		}
		if len(lines) != len(want) {
			t.Fatalf("%s: %d lines: %q", accept, len(lines), lines)
		}
		for i := range want {
			if !strings.HasPrefix(lines[i], want[i]) {
				t.Errorf("%s: line %d is %q", accept, i, lines[i])
			}
		}
		if all := strings.Join(lines, "\n"); !strings.Contains(all, "WATCH_KIND_BOOKMARK") || !strings.Contains(all, "SLOW_READER") {
			t.Errorf("%s: %s", accept, all)
		}
	}
}

func TestCertificatesAreIdentitiesOverHTTPS(t *testing.T) {
	ca, err := pki.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	issue := func(role pki.Role) pki.Leaf {
		leaf, err := ca.Issue(pki.Identity{Role: role, Name: "x"}, time.Now(), "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		return leaf
	}
	creds, err := pki.New(ca.CertPEM(), issue(pki.RoleGateway))
	if err != nil {
		t.Fatal(err)
	}
	g, _ := newGateway(t, Config{TLS: ServerTLS(creds)})
	url, stop := serve(t, g)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.CertPEM())
	for _, tc := range []struct {
		name  string
		role  pki.Role
		token string
		code  int
	}{
		{"nothing", "", "", 401},
		{"token", "", admin, 200},
		{"operator's certificate", pki.RoleOperator, "", 200},
		{"viewer's certificate, admin's token", pki.RoleViewer, admin, 403},
		{"dataplane's certificate", pki.RoleDataplane, "", 401},
	} {
		conf := &tls.Config{RootCAs: roots}
		if tc.role != "" {
			leaf := issue(tc.role)
			pair, err := tls.X509KeyPair(leaf.Cert, leaf.Key)
			if err != nil {
				t.Fatal(err)
			}
			conf.Certificates = []tls.Certificate{pair}
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}}
		req, err := http.NewRequestWithContext(t.Context(), "POST", url+"/v1/virtualServices?virtual_service_id=a", bytes.NewReader([]byte(`{"port":80}`)))
		if err != nil {
			t.Fatal(err)
		}
		if tc.token != "" {
			req.Header.Set("Authorization", "Bearer "+tc.token)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != tc.code {
			t.Errorf("%s: %d %s", tc.name, resp.StatusCode, body)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestDeadServiceIsUnavailable(t *testing.T) {
	g, _ := newGateway(t, Config{})
	dead, err := kit.Dial("127.0.0.1:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	cfg := g.cfg
	cfg.Backends.Conntrack = dead
	g, err = New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if code, body := call(t, g, "GET", "/v1/sessions:count", viewer, ""); code != 503 {
		t.Errorf("%d %s", code, body)
	}
}

func FuzzRequestsNeverPassWithoutAnIdentity(f *testing.F) {
	f.Add("GET", "/v1/virtualServices", "Bearer x")
	f.Add("POST", "/v1/sessions:delete", "")
	f.Add("GET", "/v1/../healthz", "Basic Og==")
	f.Fuzz(func(t *testing.T, method, path, authorization string) {
		r, err := http.NewRequest(method, "http://x"+path, nil)
		if err != nil || strings.Contains(authorization, viewer) || strings.Contains(authorization, admin) {
			return
		}
		g, b := fuzzGateway(t)
		r.Header["Authorization"] = []string{authorization}
		w := httptest.NewRecorder()
		g.Handler().ServeHTTP(w, r)
		if n := len(b.calls); n != 0 {
			t.Fatal(fmt.Sprint("a service was called: ", b.calls))
		}
		if p := r.URL.Path; strings.HasPrefix(p, "/v1/") && w.Code == http.StatusOK {
			t.Fatalf("%s %q answered %d", method, path, w.Code)
		}
	})
}

// counter is a connection that only notes calls.
type counter struct{ calls []string }

func (c *counter) Invoke(_ context.Context, method string, _, _ any, _ ...grpc.CallOption) error {
	c.calls = append(c.calls, method)
	return nil
}

func (c *counter) NewStream(_ context.Context, _ *grpc.StreamDesc, method string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	c.calls = append(c.calls, method)
	return nil, io.EOF
}

func fuzzGateway(t *testing.T) (*Gateway, *counter) {
	t.Helper()
	tokens, err := auth.ReadTokens(strings.NewReader("viewer eve " + viewer + "\nadmin al " + admin + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	c := &counter{}
	g, err := New(Config{Backends: Backends{c, c, c, c}, Tokens: tokens, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return g, c
}
