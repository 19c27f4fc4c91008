package k8s

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-lb/holdfast/services/kit/pki"
)

// TestTheBusLetsEachRoleDoItsPart runs one server with the configuration as it is, but for the paths, the ports and the
// routes to the other two.
func TestTheBusLetsEachRoleDoItsPart(t *testing.T) {
	m := render(t)
	text := ""
	for _, c := range m.configs {
		text += c.Data["nats.conf"]
	}
	head, rest, ok := strings.Cut(text, "cluster {")
	_, tail, ok2 := strings.Cut(rest, "\n}\n")
	if !ok || !ok2 {
		t.Fatal("the cluster's block is not found")
	}
	dir := t.TempDir()
	text = strings.NewReplacer("/tls/", dir+"/", "/data", dir+"/data", "port: 4222", "port: -1", "http: 127.0.0.1:8222", "host: 127.0.0.1").Replace(head + tail)
	ca, err := pki.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.IssueTo(dir, pki.Identity{Role: pki.RoleService, Name: "nats"}, time.Now(), "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "nats.conf")
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("POD_NAME", "nats-0")
	opts, err := server.ProcessConfigFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	opts.NoLog, opts.NoSigs = true, true
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	defer func() { s.Shutdown(); s.WaitForShutdown() }()
	if !s.ReadyForConnections(10*time.Second) || !opts.SyncAlways {
		t.Fatal("the server does not start, or does not flush every write")
	}

	connect := func(role pki.Role, name string) (*nats.Conn, error) {
		leaf, err := ca.Issue(pki.Identity{Role: role, Name: name}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		creds, err := pki.New(ca.CertPEM(), leaf)
		if err != nil {
			t.Fatal(err)
		}
		return nats.Connect(s.ClientURL(), nats.Secure(creds.Client(pki.RoleService)), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	}
	for _, name := range []string{"scheduler", "sync-coordinator", "conntrack-query", "health"} {
		nc, err := connect(pki.RoleService, name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "of-" + name, LimitMarkerTTL: time.Minute}); err != nil {
			t.Errorf("%s makes no bucket: %v", name, err)
		}
	}
	reader, err := connect(pki.RoleOperator, "operator")
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	sub, err := reader.SubscribeSync("holdfast.v1.session.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.Flush(); err != nil {
		t.Fatal(err)
	}
	plane, err := connect(pki.RoleDataplane, "lb-a")
	if err != nil {
		t.Fatal(err)
	}
	defer plane.Close()
	if err := plane.Publish("holdfast.v1.session.lb-a.created", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := sub.NextMsg(5 * time.Second); err != nil {
		t.Errorf("an event does not arrive: %v", err)
	}
	for name, nc := range map[string]*nats.Conn{"a data plane": plane, "a reader": reader} {
		if err := nc.Publish("$KV.membership.state", []byte("{}")); err != nil {
			t.Fatal(err)
		}
		_ = nc.Flush()
		if !errors.Is(nc.LastError(), nats.ErrPermissionViolation) {
			t.Errorf("%s may write the membership: %v", name, nc.LastError())
		}
	}
	for name, id := range map[string]pki.Identity{
		"a data plane that is not named": {Role: pki.RoleDataplane, Name: "lb-z"},
		"a viewer":                       {Role: pki.RoleViewer, Name: "scheduler"},
	} {
		if nc, err := connect(id.Role, id.Name); err == nil {
			nc.Close()
			t.Errorf("%s was let in", name)
		}
	}
}
