package auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
	"github.com/holdfast-lb/holdfast/services/kit/apierr"
	"github.com/holdfast-lb/holdfast/services/kit/pki"
)

// TestEveryPublicRPCHasARole walks all protos: what has a REST path must have a role, and nothing else may have one.
func TestEveryPublicRPCHasARole(t *testing.T) {
	public := map[string]bool{}
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(f.Package()), "holdfast.") {
			return true
		}
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				m := s.Methods().Get(j)
				if !proto.HasExtension(m.Options(), annotations.E_Http) {
					continue
				}
				full := "/" + string(s.FullName()) + "/" + string(m.Name())
				public[full] = true
				role, ok := Needs[full]
				if !ok || role == Nobody {
					t.Errorf("%s has no role", full)
				}
				reads := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule).GetGet() != ""
				if reads != (role == Viewer) {
					t.Errorf("%s needs %s; what reads is for viewers, what writes is not", full, role)
				}
			}
		}
		return true
	})
	for full := range Needs {
		if !public[full] {
			t.Errorf("%s has a role but no REST path", full)
		}
	}
	if len(public) < 30 {
		t.Errorf("only %d public RPCs were found", len(public))
	}
}

// recorder is a connection that notes what reaches it.
type recorder struct{ calls []string }

func (r *recorder) Invoke(_ context.Context, method string, _, _ any, _ ...grpc.CallOption) error {
	r.calls = append(r.calls, method)
	return nil
}

func (r *recorder) NewStream(_ context.Context, _ *grpc.StreamDesc, method string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	r.calls = append(r.calls, method)
	return nil, nil
}

func TestGuardLetsThroughWhatTheRoleAllowsAndAuditsTheRest(t *testing.T) {
	for method, needs := range Needs {
		for role := Nobody; role <= Admin; role++ {
			var log strings.Builder
			r := &recorder{}
			g := Guard{Conn: r, Log: slog.New(slog.NewTextHandler(&log, nil))}
			ctx := WithCaller(t.Context(), Caller{Name: "eve", Role: role})
			err := g.Invoke(ctx, method, nil, nil)
			_, serr := g.NewStream(ctx, nil, method)
			if ok := role >= needs; (err == nil) != ok || (serr == nil) != ok || len(r.calls) != map[bool]int{true: 2}[ok] {
				t.Errorf("%s as %s: %v, %v, %d calls", method, role, err, serr, len(r.calls))
			}
			if audited := strings.Contains(log.String(), "caller=eve role="+role.String()); audited != (needs > Viewer) {
				t.Errorf("%s as %s: audit %q", method, role, log.String())
			}
		}
	}
}

func TestGuardRefusesWhatIsNotPublicAndCallersWithoutContext(t *testing.T) {
	g := Guard{Conn: &recorder{}, Log: slog.New(slog.DiscardHandler)}
	admin := WithCaller(t.Context(), Caller{Name: "a", Role: Admin})
	if err := g.Invoke(admin, syncv1.CoordinatorService_Join_FullMethodName, nil, nil); !apierr.Is(err, apierr.RoleDenied) {
		t.Errorf("Join through the gateway: %v", err)
	}
	if err := g.Invoke(t.Context(), syncv1.CoordinatorService_ListNodes_FullMethodName, nil, nil); !apierr.Is(err, apierr.NoIdentity) {
		t.Errorf("without a caller: %v", err)
	}
}

const file = `# comment
viewer   eve    0123456789abcdef   # trailing comment

operator bob.o  1123456789abcdef
admin    al@x   2123456789abcdef
`

func request(authorization string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", authorization)
	return r
}

func TestTokensNameTheirCaller(t *testing.T) {
	tokens, err := ReadTokens(strings.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	for header, want := range map[string]Caller{
		"Bearer 0123456789abcdef": {"eve", Viewer},
		"bearer 1123456789abcdef": {"bob.o", Operator},
		"BEARER 2123456789abcdef": {"al@x", Admin},
	} {
		if c, ok := tokens.Caller(request(header)); !ok || c != want {
			t.Errorf("%s is %+v, %v", header, c, ok)
		}
	}
	for _, header := range []string{"", "Bearer", "Bearer ", "Basic 0123456789abcdef", "0123456789abcdef", "Bearer 0123456789abcdeF", "Bearer 0123456789abcde"} {
		if c, ok := tokens.Caller(request(header)); ok {
			t.Errorf("%q is %+v", header, c)
		}
	}
	if _, ok := (*Tokens)(nil).Caller(request("Bearer 0123456789abcdef")); ok {
		t.Error("a gateway without tokens knows one")
	}
}

func TestBadTokenFilesAreRefusedWithEveryLineAndNoToken(t *testing.T) {
	_, err := ReadTokens(strings.NewReader("king eve 0123456789abcdef\nviewer eve\nviewer e*e 0123456789abcdef\nviewer eve short-secret\nviewer a 9123456789abcdef\nadmin b 9123456789abcdef\nviewer c " + strings.Repeat("x", 513) + "\n"))
	if err == nil {
		t.Fatal("it was read")
	}
	for _, want := range []string{"line 1:", "line 2:", "line 3:", "line 4:", "line 6: b has the same token as a", "line 7:"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "line 5") || strings.Contains(err.Error(), "0123456789abcdef") || strings.Contains(err.Error(), "short-secret") {
		t.Errorf("%v", err)
	}
}

func TestTokenFileIsMadeOnceAndKeptFromOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	if err := EnsureTokenFile(path); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := EnsureTokenFile(path); err != nil {
		t.Fatal(err)
	}
	if again, _ := os.ReadFile(path); string(again) != string(first) {
		t.Error("the second call changed it")
	}
	tokens, err := LoadTokens(path)
	if err != nil || len(tokens.callers) != 2 {
		t.Fatalf("%v, %v", tokens, err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadTokens(path); err == nil {
		t.Error("a file that others can read is taken")
	}
	if _, err := LoadTokens(path + ".none"); err == nil {
		t.Error("a file that is not there is taken")
	}
}

func TestClientCertificateIsTheIdentityAndBeatsTheToken(t *testing.T) {
	tokens, err := ReadTokens(strings.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := pki.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for role, want := range map[pki.Role]Role{pki.RoleOperator: Admin, pki.RoleViewer: Viewer, pki.RoleDataplane: Nobody, pki.RoleService: Nobody, pki.RoleGateway: Nobody} {
		leaf, err := ca.Issue(pki.Identity{Role: role, Name: "x"}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(leaf.Cert)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		r := request("Bearer 2123456789abcdef")
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}, VerifiedChains: [][]*x509.Certificate{{cert}}}
		c, ok := tokens.Caller(r)
		if c.Role != want || ok != (want != Nobody) {
			t.Errorf("%s is %+v, %v", role, c, ok)
		}
	}
}
