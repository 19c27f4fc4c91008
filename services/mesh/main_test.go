package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// text is a buffer that the log may write to from anywhere, also after the end: NATS tells late that it was closed.
type text struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *text) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *text) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestExitCodes(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("data-dir: x\nsede: y\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"help", []string{"-help"}, 0, "-data-dir"},
		{"an unknown flag", []string{"-x"}, 2, "-x"},
		{"an unknown key of the configuration", []string{"-config", bad}, 2, "bad.yaml:2"},
		{"a seed that is not understood", []string{"-seed", bad}, 2, "unknown section"},
		{"a bad log level", []string{"-log-level", "loud"}, 2, "log level"},
		{"an address that is not ours", []string{"-data-dir", t.TempDir(), "-listen", "192.0.2.1:1", "-nats-listen", "127.0.0.1:0"}, 1, "192.0.2.1"},
	} {
		var out, errs text
		if code := run(context.Background(), c.args, &out, &errs); code != c.code || !strings.Contains(errs.String(), c.says) {
			t.Errorf("%s: exit %d, said %q", c.name, code, errs.String())
		}
	}
}

func TestAStopIsNoFailure(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var out, errs text
	args := []string{"-data-dir", t.TempDir(), "-listen", "127.0.0.1:0", "-nats-listen", "127.0.0.1:0", "-http-listen", "127.0.0.1:0"}
	if code := run(ctx, args, &out, &errs); code != 0 || !strings.Contains(out.String(), "REST    http://127.0.0.1:") {
		t.Errorf("exit %d\n%s\n%s", code, out.String(), errs.String())
	}
}
