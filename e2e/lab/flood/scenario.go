package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-lb/holdfast/e2e/lab/cluster"
	"github.com/holdfast-lb/holdfast/e2e/lab/load"
	"github.com/holdfast-lb/holdfast/e2e/lab/topo"
)

const (
	established = 20
	roundTrip   = "20ms"                 // of the client that opens connections
	openEvery   = 250 * time.Millisecond // a new connection
	openLimit   = 5 * time.Second        // from which on it counts as refused
	metricsPort = 9100
)

type scenario struct {
	lab    *cluster.Lab
	held   *cluster.Client // established connections
	fresh  *cluster.Client // new ones
	seg    *segment
	near   bool // the client is not as far away as it should be
	broken map[uint32]bool
}

func run(ctx context.Context, rate int, span, rest time.Duration, verbose bool) (r result, err error) {
	r.rate = rate
	progress := io.Discard
	if verbose {
		progress = os.Stdout
	}
	s := &scenario{broken: map[uint32]bool{}}
	if s.lab, err = cluster.Up(ctx, cluster.Default(), progress); err != nil {
		return r, fmt.Errorf("%w: %w", errLab, err)
	}
	defer func() {
		if err := cluster.Down(io.Discard); err != nil {
			fmt.Fprintln(os.Stderr, "flood: taking the lab down:", err)
		}
	}()
	if err := s.prepare(ctx); err != nil {
		return r, fmt.Errorf("%w: %w", errLab, err)
	}
	if s.near {
		fmt.Println("flood: this kernel has no netem: the client that opens connections is not", roundTrip, "away")
	}
	defer s.seg.close()
	defer s.held.Stop()
	defer s.fresh.Stop()
	for i, k := range kinds {
		t, err := s.trial(ctx, k.name, span, func() func() float64 { return s.seg.start(k, rate, uint64(i)).stop })
		if err != nil {
			return r, err
		}
		fmt.Println("flood:", t.row())
		r.trials = append(r.trials, t)
	}
	if err := sleep(ctx, rest); err != nil {
		return r, err
	}
	r.after, err = s.trial(ctx, "after", span/2, func() func() float64 { return func() float64 { return 0 } })
	fmt.Println("flood:", r.after.row())
	return r, err
}

func (s *scenario) prepare(ctx context.Context) (err error) {
	if err := s.lab.WaitAdmitted(ctx); err != nil {
		return err
	}
	if err := s.lab.WaitServing(ctx); err != nil {
		return err
	}
	// The client's way to the router is that long; the attacker's is none.
	var dev string
	if err := inside(topo.Client, func() (err error) { dev, err = firstDevice(); return err }); err != nil {
		return err
	}
	code, err := s.lab.Exec(topo.Client, []string{"tc", "qdisc", "add", "dev", dev, "root", "netem", "delay", roundTrip})
	if err != nil {
		return fmt.Errorf("tc netem: %w", err)
	}
	s.near = code != 0 // a kernel without netem
	if s.seg, err = openSegment(s.lab.Nodes); err != nil {
		return err
	}
	if s.held, err = s.lab.StartClient(); err != nil {
		return err
	}
	if s.fresh, err = s.lab.StartClient(); err != nil {
		return err
	}
	_, err = s.held.Ask("open", plan(established/2, established/2, 30_000))
	return err
}

func plan(active, idle, stall int) load.Plan {
	return load.Plan{Active: active, Idle: idle, VIP4: topo.VIP4, VIP6: topo.VIP6, StreamPort: topo.PortStream, EchoPort: topo.PortEchoUDP,
		IntervalMs: 50, Payload: 200, StallMs: stall}
}

// trial opens connections for some time under what start begins.
func (s *scenario) trial(ctx context.Context, name string, span time.Duration, start func() (stop func() float64)) (t trial, err error) {
	t.kind = name
	before := s.scrape()
	stop := start()
	for began := time.Now(); time.Since(began) < span; {
		at := time.Now()
		t.tried++
		_, err := s.fresh.Ask("open", plan(0, 1+t.tried%2, int(openLimit/time.Millisecond)))
		if err == nil && time.Since(at) < openLimit {
			t.opened++
		} else if t.example == "" {
			t.example = fmt.Sprint("a new connection: ", err, " after ", time.Since(at).Round(time.Millisecond))
		}
		if err == nil {
			if _, err := s.fresh.Ask("close", nil); err != nil {
				stop()
				return t, fmt.Errorf("close a connection: %w", err)
			}
		}
		if err := sleep(ctx, openEvery-time.Since(at)); err != nil {
			stop()
			return t, err
		}
	}
	t.reached = stop()
	flows, err := s.held.Ask("wake", nil)
	if err != nil {
		return t, err
	}
	for _, f := range flows {
		if f.Broken != "" && !s.broken[f.ID] {
			s.broken[f.ID] = true
			t.lost++
			t.example = fmt.Sprintf("%s connection %v: %s", f.Kind, f.Client, f.Broken)
		}
	}
	t.reasons = map[string]uint64{}
	for name, v := range s.scrape() {
		if v > before[name] {
			t.reasons[name] = v - before[name]
		}
	}
	for i := range s.lab.Nodes {
		name := topo.Node(i + 1)
		if !s.lab.Running(name) {
			t.ended++
		}
		t.memory = max(t.memory, resident(s.lab.Dir, name))
	}
	return t, nil
}

// scrape sums why the nodes dropped packets, gave up sessions or refused messages.
func (s *scenario) scrape() map[string]uint64 {
	sum := map[string]uint64{}
	for i := range s.lab.Nodes {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet,
			fmt.Sprintf("http://%v:%d/metrics", topo.V4(topo.NetMgmt, topo.LBHost(i+1)), metricsPort), nil)
		if err == nil {
			if resp, err := http.DefaultClient.Do(req); err == nil {
				readReasons(resp.Body, sum)
				resp.Body.Close()
			}
		}
		cancel()
	}
	return sum
}

// readReasons adds the reasons of a page of metrics.
func readReasons(page io.Reader, sum map[string]uint64) {
	for lines := bufio.NewScanner(page); lines.Scan(); {
		series, value, _ := strings.Cut(lines.Text(), "} ")
		family, labels, _ := strings.Cut(series, "{")
		label := `name="`
		if family == "holdfast_dpd_dropped_packets_total" {
			label = `reason="`
		}
		_, name, ok := strings.Cut(labels, label)
		name, _, _ = strings.Cut(name, `"`)
		v, err := strconv.ParseFloat(value, 64)
		switch {
		case !ok || err != nil || !strings.HasPrefix(family, "holdfast_dpd_"):
		case label == `reason="`, name == "evicted", strings.HasPrefix(name, "host_") && !strings.HasSuffix(name, "_answered"):
			sum[name] += uint64(v)
		}
	}
}

// resident is a process's resident memory in bytes; 0 if it is not known.
func resident(dir, name string) int64 {
	pid, err := os.ReadFile(filepath.Join(dir, name+".pid"))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(pid), " ")
	status, err := os.ReadFile(filepath.Join("/proc", first, "status"))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kb, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, _ := strconv.ParseInt(kb, 10, 64)
	return n << 10
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(max(d, 0)):
		return nil
	}
}

// firstDevice is the client's device.
func firstDevice() (string, error) {
	list, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	for _, d := range list {
		if d.Flags&net.FlagLoopback == 0 && d.Flags&net.FlagUp != 0 {
			return d.Name, nil
		}
	}
	return "", errors.New("the client has no device")
}
