package natsd

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestKeyValuesOutliveARestart(t *testing.T) {
	dir := t.TempDir()
	put := func(want string) {
		t.Helper()
		s, err := Start(Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		nc, err := nats.Connect(s.URL())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		kv, err := js.CreateOrUpdateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "b"})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if e, err := kv.Get(t.Context(), "k"); err == nil {
			got = string(e.Value())
		}
		if got != want {
			t.Errorf("found %q, want %q", got, want)
		}
		if _, err := kv.PutString(t.Context(), "k", "kept"); err != nil {
			t.Fatal(err)
		}
	}
	put("")
	put("kept")
}

func TestStartRefusesWhatCannotWork(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]Config{
		"no folder":            {},
		"listen without port":  {Dir: t.TempDir(), Listen: "127.0.0.1"},
		"listen with bad port": {Dir: t.TempDir(), Listen: "127.0.0.1:x"},
		"folder is a file":     {Dir: file},
		"address in use":       {Dir: t.TempDir(), Listen: taken.Addr().String()},
	} {
		if s, err := Start(cfg); err == nil {
			s.Close()
			t.Errorf("%s: it started", name)
		}
	}
}

func TestOnlyServicesReachTheStoreAndAnyoneFollowsEvents(t *testing.T) {
	s, err := Start(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	dial := func(url string) *nats.Conn {
		t.Helper()
		nc, err := nats.Connect(url, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	service, anyone := dial(s.URL()), dial(s.EventsURL())
	events, err := anyone.SubscribeSync("holdfast.v1.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := anyone.Flush(); err != nil {
		t.Fatal(err)
	}
	all, err := service.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	if err := service.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{"$KV.services.service.web", "$JS.API.STREAM.PURGE.KV_services", "holdfast.v1.node.a.REMOVED", "holdfast.v1.backend.web.DOWN", "holdfast.v1.session.a.created"} {
		if err := anyone.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := anyone.Flush(); err != nil {
		t.Fatal(err)
	}
	for name, sub := range map[string]*nats.Subscription{"service": all, "anyone": events} {
		if m, err := sub.NextMsg(5 * time.Second); err != nil || m.Subject != "holdfast.v1.session.a.created" {
			t.Errorf("%s got %v, %v", name, m, err)
		}
	}
	if spy, err := anyone.SubscribeSync("$KV.>"); err == nil {
		if err := anyone.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := service.Publish("$KV.services.service.web", []byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := service.Flush(); err != nil {
			t.Fatal(err)
		}
		if m, err := spy.NextMsg(50 * time.Millisecond); err == nil {
			t.Errorf("anyone saw %s", m.Subject)
		}
	}
	if _, err := nats.Connect(strings.Replace(s.URL(), s.secret, "wrong-secret-wrong", 1)); err == nil {
		t.Error("a wrong secret connects")
	}
}
