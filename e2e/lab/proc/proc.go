// Package proc starts the lab's processes so that a later command, or one after a crash, can find and end exactly those:
// a pid alone may belong to somebody else by then, a pid together with its start time can't.
package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrNotRunning says that no process of that name runs.
var ErrNotRunning = errors.New("not running")

// Set is the processes of one run folder: NAME.pid and NAME.log each.
type Set struct{ Dir string }

// Spec is a process to start.
type Spec struct {
	Name      string // of its files
	Namespace string // network namespace; empty for the host's
	Command   []string
	Dir       string // working folder; the run folder if empty
	Env       []string
}

// id is what tells a process from every other that ever had its pid.
type id struct {
	pid   int
	start uint64 // clock ticks since boot
}

func (s Set) path(name, ext string) string { return filepath.Join(s.Dir, name+ext) }

// Start runs a process in a session of its own, so that it outlives the caller and its terminal. Its output goes to the
// end of NAME.log. A process of that name that still runs is an error.
func (s Set) Start(spec Spec) error {
	if _, err := s.find(spec.Name); err == nil {
		return fmt.Errorf("%s: already running", spec.Name)
	}
	log, err := os.OpenFile(s.path(spec.Name, ".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	args := spec.Command
	if spec.Namespace != "" {
		// ip execs the command, so the pid stays the same.
		args = append([]string{"ip", "netns", "exec", spec.Namespace}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = spec.Dir
	if cmd.Dir == "" {
		cmd.Dir = s.Dir
	}
	cmd.Env = append(os.Environ(), spec.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", spec.Name, err)
	}
	me, err := identify(cmd.Process.Pid)
	if err != nil {
		return fmt.Errorf("start %s: %w", spec.Name, err)
	}
	// Reaps it while this command lives; afterwards init does.
	go cmd.Wait() //nolint:errcheck // how it ended is in its log and seen by Running
	return os.WriteFile(s.path(spec.Name, ".pid"), fmt.Appendf(nil, "%d %d\n", me.pid, me.start), 0o644)
}

// identify reads the start time of a process. A zombie counts as gone.
func identify(pid int) (id, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return id{}, ErrNotRunning
	}
	// The second field is the command in brackets, which may hold anything; the others follow the last bracket.
	_, rest, ok := cutLast(string(data), ")")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return id{}, fmt.Errorf("/proc/%d/stat is not understood", pid)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return id{}, ErrNotRunning
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return id{}, err
	}
	return id{pid, start}, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// find is the running process of that name.
func (s Set) find(name string) (id, error) {
	data, err := os.ReadFile(s.path(name, ".pid"))
	if err != nil {
		return id{}, ErrNotRunning
	}
	var saved id
	if _, err := fmt.Sscanf(string(data), "%d %d", &saved.pid, &saved.start); err != nil || saved.pid <= 1 {
		return id{}, ErrNotRunning
	}
	now, err := identify(saved.pid)
	if err != nil || now != saved {
		return id{}, ErrNotRunning
	}
	return saved, nil
}

// Running says whether the process runs (or is stopped by Signal).
func (s Set) Running(name string) bool {
	_, err := s.find(name)
	return err == nil
}

// Pid is the process's id.
func (s Set) Pid(name string) (int, error) {
	p, err := s.find(name)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return p.pid, nil
}

// Signal sends a signal to the process.
func (s Set) Signal(name string, sig syscall.Signal) error {
	p, err := s.find(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	// A pidfd taken now, followed by the check again, closes the gap in which the pid could change hands.
	process, err := os.FindProcess(p.pid)
	if err != nil {
		return fmt.Errorf("%s: %w", name, ErrNotRunning)
	}
	defer process.Release() //nolint:errcheck
	if again, err := identify(p.pid); err != nil || again != p {
		return fmt.Errorf("%s: %w", name, ErrNotRunning)
	}
	if err := process.Signal(sig); err != nil {
		if errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("%s: %w", name, ErrNotRunning)
		}
		return fmt.Errorf("signal %s: %w", name, err)
	}
	return nil
}

// Stop ends the process: SIGTERM, and SIGKILL when it is still there after grace. One that does not run is fine. A
// stopped (paused) process is continued first, or it could not hear.
func (s Set) Stop(name string, grace time.Duration) error {
	defer os.Remove(s.path(name, ".pid"))
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGCONT} {
		if err := s.Signal(name, sig); errors.Is(err, ErrNotRunning) {
			return nil
		} else if err != nil {
			return err
		}
	}
	if s.wait(name, grace) {
		return nil
	}
	if err := s.Signal(name, syscall.SIGKILL); err != nil && !errors.Is(err, ErrNotRunning) {
		return err
	}
	if !s.wait(name, 5*time.Second) {
		return fmt.Errorf("%s: does not end", name)
	}
	return nil
}

// wait polls: a process that is not our child signals nobody.
func (s Set) wait(name string, limit time.Duration) bool {
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		if !s.Running(name) {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

// Names lists the processes that were started and not stopped, by their pid files.
func (s Set) Names() []string {
	matches, _ := fs.Glob(os.DirFS(s.Dir), "*.pid")
	for i, m := range matches {
		matches[i] = strings.TrimSuffix(m, ".pid")
	}
	return matches
}

// Tail is the end of the process's log, for messages.
func (s Set) Tail(name string, lines int) string {
	data, err := os.ReadFile(s.path(name, ".log"))
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
