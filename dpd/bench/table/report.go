package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// result is one line of the bench table. Ratio is ours / baseline; Goal and Holds are absent where nothing was promised.
type result struct {
	ID       string     `json:"id"`
	Metric   string     `json:"metric"`
	Unit     string     `json:"unit"`
	Ours     float64    `json:"ours"`
	Baseline float64    `json:"baseline"`
	Ratio    float64    `json:"ratio"`
	Goal     *float64   `json:"goal"`
	Holds    *bool      `json:"holds"`
	Spread   [2]float64 `json:"spread"` // lowest and highest ratio of a pair
	Note     string     `json:"note,omitempty"`
}

type report struct{ results []result }

// threadTime is the processor time that this thread has used.
func threadTime() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0, fmt.Errorf("read thread time: %w", err)
	}
	return time.Duration(t.Nano()), nil
}

// atMost notes a figure that must not exceed its goal. With unit x the figure is the ratio itself.
func (r *report) atMost(id, metric, unit string, ours, baseline, goal float64) {
	x := result{ID: id, Metric: metric, Unit: unit, Ours: ours, Baseline: baseline, Ratio: ours / baseline}
	if unit == "x" {
		x.Ours, x.Baseline = x.Ratio, 1
	} else {
		x.Note = "baseline: DPVS"
	}
	holds := x.Ours <= goal
	x.Goal, x.Holds, x.Spread = &goal, &holds, [2]float64{x.Ratio, x.Ratio}
	r.add(x)
}

// atLeast notes rates in millions a second, the median of which must reach the goal; the spread is that of the rates over
// their median.
func (r *report) atLeast(id, metric string, rates []float64, goal float64, pairs int) {
	m := median(rates)
	holds := m >= goal && pairs >= 7
	r.add(result{
		ID: id, Metric: metric, Unit: "M/s", Ours: m, Baseline: goal, Ratio: m / goal, Goal: &goal, Holds: &holds,
		Spread: [2]float64{slices.Min(rates) / m, slices.Max(rates) / m}, Note: "baseline: the goal",
	})
}

func (r *report) add(x result) {
	name := strings.NewReplacer(" ", "_", ",", "").Replace(x.Metric)
	fmt.Printf("Benchmark%s/%s 1 %.4g %s\n", x.ID, name, x.Ours, x.Unit)
	r.results = append(r.results, x)
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

func (r *report) table(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "# id\tmetric\tours\tbaseline\tunit\tratio\tspread\tgoal\tholds\tnote")
	for _, x := range r.results {
		goal, holds := "-", "-"
		if x.Goal != nil {
			goal, holds = fmt.Sprintf("%.2f", *x.Goal), fmt.Sprint(*x.Holds)
		}
		fmt.Fprintf(t, "# %s\t%s\t%.2f\t%.2f\t%s\t%.2f\t%.2f..%.2f\t%s\t%s\t%s\n", x.ID, x.Metric, x.Ours, x.Baseline, x.Unit,
			x.Ratio, x.Spread[0], x.Spread[1], goal, holds, x.Note)
	}
	t.Flush()
}

func (r *report) write(name string) error {
	if name == "" {
		return nil
	}
	data, err := json.MarshalIndent(r.results, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(data, '\n'), 0o644)
}

// cpuTime is the first line of /proc/stat in ticks: of all processors, and what another machine had.
type cpuTime struct{ total, steal uint64 }

func readCPU() (c cpuTime) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return c // the share of steal is then unknown, and not printed
	}
	line, _, _ := strings.Cut(string(data), "\n")
	for i, f := range strings.Fields(line) {
		// user nice system idle iowait irq softirq steal; what follows is contained in user.
		if v, err := strconv.ParseUint(f, 10, 64); err == nil && i <= 8 {
			c.total += v
			if i == 8 {
				c.steal = v
			}
		}
	}
	return c
}

// steal says so if another machine had the processors for more than a hundredth of the run.
func (r *report) steal(a, b cpuTime) {
	if b.total <= a.total {
		return
	}
	if s := float64(b.steal-a.steal) / float64(b.total-a.total); s > 0.01 {
		fmt.Printf("# steal %.1f %%\n", 100*s)
		for i := range r.results {
			r.results[i].Note += fmt.Sprintf("; steal %.1f %%", 100*s)
		}
	}
}
