package pki

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var now = time.Now()

func issue(t *testing.T, ca *CA, role Role, name string) *Credentials {
	t.Helper()
	leaf, err := ca.Issue(Identity{role, name}, now)
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(ca.CertPEM(), leaf)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newCA(t *testing.T) *CA {
	t.Helper()
	ca, err := NewCA(now)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// handshake runs both ends over a pipe and exchanges one byte, since TLS 1.3 tells the client late of a refusal.
func handshake(server, client *tls.Config) (serverErr, clientErr error) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	deadline := time.Now().Add(5 * time.Second)
	if err := errors.Join(a.SetDeadline(deadline), b.SetDeadline(deadline)); err != nil {
		return err, err
	}
	done := make(chan error, 1)
	go func() {
		s := tls.Server(a, server)
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte{1})
		}
		a.Close()
		done <- err
	}()
	c := tls.Client(b, client)
	if clientErr = c.Handshake(); clientErr == nil {
		_, clientErr = io.ReadFull(c, make([]byte, 1))
	}
	b.Close()
	return <-done, clientErr
}

func TestHandshakeHoldsOnlyBetweenExpectedIdentities(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	dpd, svc := issue(t, ca, RoleDataplane, "lb-a"), issue(t, ca, RoleService, "mesh")
	foreign := issue(t, other, RoleService, "mesh")
	noCert := svc.Client(RoleDataplane)
	noCert.Certificates = nil
	tls12 := svc.Client(RoleDataplane)
	tls12.MinVersion, tls12.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	mixed := *foreign // trusts our authority, shows a foreign certificate
	mixed.roots = svc.roots
	for _, tc := range []struct {
		name           string
		server, client *tls.Config
		ok             bool
	}{
		{"service dials dpd", dpd.Server(), svc.Client(RoleDataplane), true},
		{"one of several roles", dpd.Server(), svc.Client(RoleService, RoleDataplane), true},
		{"server of another role", svc.Server(), svc.Client(RoleDataplane), false},
		{"the server that is meant", dpd.Server(), svc.ClientOf(Identity{RoleDataplane, "lb-a"}), true},
		{"another one at its address", dpd.Server(), svc.ClientOf(Identity{RoleDataplane, "lb-b"}), false},
		{"its name in another role", dpd.Server(), svc.ClientOf(Identity{RoleService, "lb-a"}), false},
		{"its name of another authority", issue(t, other, RoleDataplane, "lb-a").Server(), svc.ClientOf(Identity{RoleDataplane, "lb-a"}), false},
		{"no role accepted", dpd.Server(), svc.Client(), false},
		{"client without certificate", dpd.Server(), noCert, false},
		{"client of another authority", dpd.Server(), mixed.Client(RoleDataplane), false},
		{"server of another authority", foreign.Server(), svc.Client(RoleService), false},
		{"TLS 1.2", dpd.Server(), tls12, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, c := handshake(tc.server, tc.client)
			if ok := s == nil && c == nil; ok != tc.ok {
				t.Errorf("server: %v, client: %v", s, c)
			}
		})
	}
}

func TestCertificateWithoutExactlyOneIdentityIsRefused(t *testing.T) {
	for _, uris := range [][]string{
		nil,
		{"spiffe://holdfast/service/a", "spiffe://holdfast/service/b"},
		{"spiffe://elsewhere/service/a"},
		{"https://holdfast/service/a"},
		{"spiffe://holdfast/king/a"},
		{"spiffe://holdfast/service/"},
		{"spiffe://holdfast/service"},
		{"spiffe://holdfast/service/a/b"},
		{"spiffe://holdfast/service/a?x=1"},
		{"spiffe://user@holdfast/service/a"},
		{"spiffe://holdfast:1/service/a"},
		{"spiffe://holdfast/service/A"},
		{"spiffe://holdfast/service/%61"},
	} {
		c := &x509.Certificate{}
		for _, s := range uris {
			u, err := url.Parse(s)
			if err != nil {
				t.Fatal(err)
			}
			c.URIs = append(c.URIs, u)
		}
		if id, err := FromCertificate(c); !errors.Is(err, ErrNoIdentity) {
			t.Errorf("%v gave %v, %v", uris, id, err)
		}
	}
}

func TestIssueRefusesWhatIsNoIdentity(t *testing.T) {
	ca := newCA(t)
	for _, id := range []Identity{{}, {RoleService, ""}, {"king", "a"}, {RoleService, "a b"}, {RoleService, strings.Repeat("a", 64)}, {RoleService, "-a"}} {
		if _, err := ca.Issue(id, now); err == nil {
			t.Errorf("%v got a certificate", id)
		}
	}
}

func TestLeafCannotSignOthers(t *testing.T) {
	ca := newCA(t)
	leaf, err := ca.Issue(Identity{RoleViewer, "eve"}, now)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(leaf.Cert, leaf.Key)
	if err != nil {
		t.Fatal(err)
	}
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	u, _ := url.Parse("spiffe://holdfast/service/eve")
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "eve"}, URIs: []*url.URL{u},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, pair.Leaf, key.Public(), pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	client := issue(t, ca, RoleService, "x").Client(RoleDataplane)
	client.Certificates = []tls.Certificate{{Certificate: [][]byte{der, pair.Certificate[0]}, PrivateKey: key}}
	if s, c := handshake(issue(t, ca, RoleDataplane, "lb-a").Server(), client); s == nil {
		t.Errorf("the server took a certificate signed by a leaf (client: %v)", c)
	}
}

func TestAuthorityInAFolderOutlivesTheProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	a, err := OpenCA(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	b, err := OpenCA(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	f, err := b.IssueTo(filepath.Join(dir, "mesh"), Identity{RoleService, "mesh"}, now, "127.0.0.1", "localhost")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Load(f)
	if err != nil {
		t.Fatal(err)
	}
	if c.Self() != (Identity{RoleService, "mesh"}) {
		t.Errorf("identity %v", c.Self())
	}
	if s, cl := handshake(issue(t, a, RoleDataplane, "lb-a").Server(), c.Client(RoleDataplane)); s != nil || cl != nil {
		t.Errorf("server: %v, client: %v", s, cl)
	}
	for path, want := range map[string]fs.FileMode{filepath.Join(dir, "ca-key.pem"): 0o600, f.Key: 0o600, f.Cert: 0o644} {
		st, err := os.Stat(path)
		if err != nil || st.Mode().Perm() != want {
			t.Errorf("%s has mode %v, %v", path, st.Mode(), err)
		}
	}
}

func TestOpenCARefusesDamagedFolders(t *testing.T) {
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, damage := range map[string]func(t *testing.T, dir string){
		"key missing": func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "ca-key.pem"))) },
		"key of another": func(t *testing.T, dir string) {
			o := t.TempDir()
			_, err := OpenCA(o, now)
			must(t, err)
			b, err := os.ReadFile(filepath.Join(o, "ca-key.pem"))
			must(t, err)
			must(t, os.WriteFile(filepath.Join(dir, "ca-key.pem"), b, 0o600))
		},
		"no PEM": func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, "ca.pem"), []byte("x"), 0o600))
		},
		"no certificate in the PEM": func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, "ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}}), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := OpenCA(dir, now); err != nil {
				t.Fatal(err)
			}
			damage(t, dir)
			if _, err := OpenCA(dir, now); err == nil {
				t.Error("it opened")
			}
		})
	}
}

func TestPolicyTakesTheMostSpecificKeyAndDeniesTheRest(t *testing.T) {
	p := Policy{
		"/a.A/One": {RoleDataplane},
		"/a.A/":    {RoleService, RoleGateway},
		"/b.B/":    {},
	}
	for _, tc := range []struct {
		method string
		role   Role
		want   bool
	}{
		{"/a.A/One", RoleDataplane, true},
		{"/a.A/One", RoleService, false},
		{"/a.A/Two", RoleService, true},
		{"/a.A/Two", RoleDataplane, false},
		{"/b.B/One", RoleService, false},
		{"/c.C/One", RoleService, false},
		{"", RoleService, false},
	} {
		if got := p.Allows(tc.method, tc.role); got != tc.want {
			t.Errorf("Allows(%q, %s) = %v", tc.method, tc.role, got)
		}
	}
	p[""] = []Role{RoleOperator}
	if !p.Allows("/c.C/One", RoleOperator) || p.Allows("/b.B/One", RoleOperator) {
		t.Error("the rest is not covered by the empty key alone")
	}
}

func TestPolicyRefusesCallersWithoutTLS(t *testing.T) {
	if err := (Policy{"": {RoleService}}).Check(context.Background(), "/a.A/One"); err == nil {
		t.Error("a caller without identity passed")
	}
}
