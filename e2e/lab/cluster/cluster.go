package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-lb/holdfast/e2e/lab/proc"
	"github.com/holdfast-lb/holdfast/e2e/lab/topo"
)

// Lab is a running lab.
type Lab struct {
	Options
	Dir   string // run folder
	bin   string // folder of the programs
	procs proc.Set
	out   io.Writer // progress for people
}

// Open finds the lab that is up.
func Open(out io.Writer) (*Lab, error) {
	dir := RunDir()
	o, err := loadOptions(dir)
	if err != nil {
		return nil, err
	}
	bin, err := binDir()
	if err != nil {
		return nil, err
	}
	return &Lab{Options: o, Dir: dir, bin: bin, procs: proc.Set{Dir: dir}, out: out}, nil
}

// binDir is where make build puts programs: beside this one if it was built so, else bin of the module that the current
// folder lies in.
func binDir() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	candidates := []string{filepath.Dir(self)}
	if dir, err := os.Getwd(); err == nil {
		for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
			if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
				candidates = append(candidates, filepath.Join(dir, "bin"))
				break
			}
		}
	}
	for _, c := range candidates {
		if _, err := os.Stat(filepath.Join(c, "realserver")); err == nil {
			return c, nil
		}
	}
	return "", errors.New("the lab's programs are not built: make build")
}

// Missing says in one line what a lab needs that this machine lacks, and what works without; "" when nothing is missing.
func Missing() string {
	var lacks []string
	if os.Geteuid() != 0 {
		lacks = append(lacks, "root (for network namespaces)")
	}
	for _, p := range []struct{ file, name string }{
		{frrBin + "/bgpd", "FRR"}, {"/usr/sbin/ethtool", "ethtool"}, {"ip", "iproute2"},
	} {
		if _, err := exec.LookPath(p.file); err != nil {
			lacks = append(lacks, p.name)
		}
	}
	if matches, _ := filepath.Glob("/usr/lib/*/librte_eal.so*"); len(matches) == 0 {
		lacks = append(lacks, "DPDK (libdpdk-dev)")
	}
	if len(lacks) == 0 {
		return ""
	}
	return "missing: " + strings.Join(lacks, ", ") + "; make setup as root installs packages; without them these work: services, gateway, make test-quick, e2e/mocked"
}

// Up builds a lab and waits until every node is admitted and every service answers. A lab that is up already is an error; what a crashed one left is
// taken away first. When it fails it takes away what it made, but the logs stay.
func Up(ctx context.Context, o Options, out io.Writer) (*Lab, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if m := Missing(); m != "" {
		return nil, errors.New(m)
	}
	bin, err := binDir()
	if err != nil {
		return nil, err
	}
	dir := RunDir()
	if _, err := loadOptions(dir); err == nil {
		if running := runningOf(dir); len(running) > 0 {
			return nil, fmt.Errorf("a lab is up already (%s runs); lab down ends it", running[0])
		}
	}
	if err := Down(io.Discard); err != nil {
		return nil, fmt.Errorf("taking away an earlier lab: %w", err)
	}
	l := &Lab{Options: o, Dir: dir, bin: bin, procs: proc.Set{Dir: dir}, out: out}
	if err := l.prepare(); err != nil {
		return nil, err
	}
	if err := l.build(ctx); err != nil {
		if down := Down(io.Discard); down != nil {
			err = errors.Join(err, down)
		}
		return nil, fmt.Errorf("%w\n(logs are in %s)", err, dir)
	}
	return l, nil
}

// prepare makes an empty run folder that says what the lab is.
func (l *Lab) prepare() error {
	if err := os.RemoveAll(l.Dir); err != nil {
		return err
	}
	if err := os.MkdirAll(l.Dir, 0o755); err != nil {
		return err
	}
	return l.save(l.Dir)
}

func runningOf(dir string) []string {
	s := proc.Set{Dir: dir}
	return slices.DeleteFunc(s.Names(), func(n string) bool { return !s.Running(n) })
}

func (l *Lab) say(format string, args ...any) { fmt.Fprintf(l.out, "lab: "+format+"\n", args...) }

func (l *Lab) build(ctx context.Context) error {
	steps := []struct {
		what string
		do   func(context.Context) error
	}{
		{"network", func(context.Context) error { return topo.Build(l.Nodes) }},
		{"router (FRR)", func(context.Context) error { return startRouter(l.procs) }},
		{"real servers", l.startServers},
		{"control plane", l.startControl},
		{"data planes", l.startNodes},
		{"admission", l.WaitAdmitted},
		{"services", l.WaitServing},
	}
	for _, s := range steps {
		if l.Static && (s.what == "control plane" || s.what == "admission") {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		began := time.Now()
		if err := s.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
		l.say("%s: %.1f s", s.what, time.Since(began).Seconds())
	}
	return nil
}

func (l *Lab) startServers(context.Context) error {
	for _, ns := range []string{topo.RS1, topo.RS2} {
		name := strings.TrimPrefix(ns, "hf-")
		if err := l.procs.Start(proc.Spec{Name: name, Namespace: ns, Command: []string{filepath.Join(l.bin, "realserver"), "-name", name}}); err != nil {
			return err
		}
		if err := waitFor(10*time.Second, name+" to listen", func() bool { return strings.HasPrefix(l.procs.Tail(name, 10), "ready") }); err != nil {
			return fmt.Errorf("%w\n%s", err, l.procs.Tail(name, 5))
		}
	}
	return nil
}

// Down ends every process of the lab and removes its network. It may be called at any time, also when there is no lab, or
// half of one.
func Down(out io.Writer) error {
	dir := RunDir()
	procs := proc.Set{Dir: dir}
	var failed []error
	// Nodes first: they say good-bye to a coordinator that still listens. All others in any order.
	names := procs.Names()
	slices.SortFunc(names, func(a, b string) int { return stopOrder(a) - stopOrder(b) })
	for _, group := range [][]string{filter(names, 0), filter(names, 1)} {
		results := make(chan error, len(group))
		for _, n := range group {
			go func() { results <- procs.Stop(n, 3*time.Second) }()
		}
		for range group {
			if err := <-results; err != nil {
				failed = append(failed, err)
			}
		}
	}
	if err := topo.Remove(); err != nil {
		failed = append(failed, err)
	}
	removeRouter()
	if err := os.Remove(filepath.Join(dir, stateFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		failed = append(failed, err)
	}
	if len(names) > 0 {
		fmt.Fprintf(out, "lab: down, %d processes ended\n", len(names))
	}
	return errors.Join(failed...)
}

// KeepLogs sets the run folder of a lab that is down aside, so that the next one does not overwrite what explains a failure.
func KeepLogs() (string, error) {
	kept := RunDir() + ".failed"
	if err := os.RemoveAll(kept); err != nil {
		return "", err
	}
	return kept, os.Rename(RunDir(), kept)
}

func stopOrder(name string) int {
	if strings.HasPrefix(name, "lb") {
		return 0
	}
	return 1
}

func filter(names []string, order int) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return stopOrder(n) != order })
}

// node finds the number of a node by its name (lb2), namespace (hf-lb2) or number (2).
func (l *Lab) node(name string) (int, error) {
	for i := 1; i <= l.Nodes; i++ {
		if name == topo.Node(i) || name == topo.LB(i) || name == fmt.Sprint(i) {
			return i, nil
		}
	}
	return 0, fmt.Errorf("no node %q; nodes are %s to %s", name, topo.Node(1), topo.Node(l.Nodes))
}

// Signal sends a signal to a node's data plane: kill, pause and resume.
func (l *Lab) Signal(name string, sig syscall.Signal) error {
	i, err := l.node(name)
	if err != nil {
		return err
	}
	return l.procs.Signal(topo.Node(i), sig)
}

// Running says whether a node's data plane runs.
func (l *Lab) Running(name string) bool {
	i, err := l.node(name)
	return err == nil && l.procs.Running(topo.Node(i))
}

// Start starts the data plane of a node that does not run.
func (l *Lab) Start(name string) error {
	i, err := l.node(name)
	if err != nil {
		return err
	}
	return l.startNode(i)
}

// Exec runs a command in a namespace (its name with or without hf-) with the caller's terminal and returns its exit code.
func (l *Lab) Exec(namespace string, command []string) (int, error) {
	if !strings.HasPrefix(namespace, "hf-") {
		namespace = "hf-" + namespace
	}
	if known := topo.Namespaces(l.Nodes); !slices.Contains(known, namespace) {
		return 0, fmt.Errorf("no namespace %q; there are %s", namespace, strings.Join(known, ", "))
	}
	cmd := exec.Command("ip", append([]string{"netns", "exec", namespace}, command...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// Program is one of ours that is to run in a namespace, for callers that handle its pipes themselves.
func (l *Lab) Program(namespace, program string, args ...string) *exec.Cmd {
	return l.command(namespace, filepath.Join(l.bin, program), args...)
}

func (l *Lab) command(namespace, program string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", namespace, program}, args...)...)
}

func ipOutput(namespace string, args ...string) (string, error) {
	out, err := exec.Command("ip", append([]string{"-n", namespace}, args...)...).Output()
	return string(out), err
}
