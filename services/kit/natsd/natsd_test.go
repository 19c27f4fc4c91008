package natsd

import (
	"net"
	"os"
	"path/filepath"
	"testing"

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
