package proc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func sleeper(t *testing.T, s Set, script string) {
	t.Helper()
	if err := s.Start(Spec{Name: "p", Command: []string{"/bin/sh", "-c", script}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop("p", 0) })
}

// said waits for the process's word in its log; nothing signals it.
func said(t *testing.T, s Set, word string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); s.Tail("p", 1) != word; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("log ends with %q, want %q", s.Tail("p", 1), word)
		}
	}
}

func TestStartStop(t *testing.T) {
	s := Set{t.TempDir()}
	sleeper(t, s, "echo hello; exec sleep 60")
	if !s.Running("p") || len(s.Names()) != 1 {
		t.Fatal("does not run")
	}
	if err := s.Start(Spec{Name: "p", Command: []string{"/bin/true"}}); err == nil {
		t.Error("a second one of the same name was started")
	}
	said(t, s, "hello")
	if err := s.Stop("p", 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if s.Running("p") || len(s.Names()) != 0 {
		t.Error("runs after Stop")
	}
	if err := s.Stop("p", 0); err != nil {
		t.Errorf("a second Stop: %v", err)
	}
}

func TestStopKillsWhatIgnoresTerm(t *testing.T) {
	s := Set{t.TempDir()}
	sleeper(t, s, "trap '' TERM; echo ready; while :; do sleep 1; done")
	said(t, s, "ready")
	if err := s.Stop("p", 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if s.Running("p") {
		t.Error("still runs")
	}
}

func TestStopEndsAPausedProcess(t *testing.T) {
	s := Set{t.TempDir()}
	sleeper(t, s, "exec sleep 60")
	if err := s.Signal("p", syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop("p", 5*time.Second); err != nil || s.Running("p") {
		t.Errorf("%v, running %v", err, s.Running("p"))
	}
}

func TestNeverTouchesForeignProcesses(t *testing.T) {
	me, err := identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for name, pid := range map[string]string{
		"another start time": fmt.Sprintf("%d %d\n", me.pid, me.start+1),
		"pid 1":              "1 0\n",
		"a negative pid":     "-1 0\n",
		"pid 0":              "0 0\n",
		"no numbers":         "x\n",
		"an empty file":      "",
		"a pid without time": fmt.Sprintf("%d\n", me.pid),
	} {
		t.Run(name, func(t *testing.T) {
			s := Set{t.TempDir()}
			if err := os.WriteFile(filepath.Join(s.Dir, "p.pid"), []byte(pid), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := s.Signal("p", syscall.SIGKILL); !errors.Is(err, ErrNotRunning) {
				t.Errorf("Signal: %v", err)
			}
			if err := s.Stop("p", 0); err != nil {
				t.Errorf("Stop: %v", err)
			}
			if len(s.Names()) != 0 {
				t.Error("Stop left the stale file")
			}
		})
	}
}

func TestStartSaysWhatFails(t *testing.T) {
	s := Set{t.TempDir()}
	err := s.Start(Spec{Name: "p", Command: []string{"/no/such/program"}})
	if err == nil || !strings.Contains(err.Error(), "start p") {
		t.Errorf("got %v", err)
	}
	if _, err := s.Pid("p"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Pid: %v", err)
	}
}
