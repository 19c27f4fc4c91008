//go:build dpdk

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

// faster makes a result of nanoseconds a packet, measured in pairs, as rates: a ratio of 1 is as fast as the baseline.
func (r *report) faster(id, against, metric string, ours, baseline []float64, goal float64, note string) {
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = baseline[i] / ours[i]
	}
	a, b := median(ours), median(baseline)
	x := result{ID: id, Metric: metric, Unit: "Mpps", Ours: 1e3 / a, Baseline: 1e3 / b, Ratio: median(ratios),
		Spread: [2]float64{slices.Min(ratios), slices.Max(ratios)}, Note: fmt.Sprintf("%.1f ns a packet, %s %.1f; %s", a, against, b, note)}
	if goal > 0 {
		holds := x.Ratio >= goal && len(ours) >= 7
		x.Goal, x.Holds = &goal, &holds
	}
	fmt.Printf("Benchmark%s/by=holdfast 1 %.2f ns/packet\nBenchmark%s/by=%s 1 %.2f ns/packet\n", id, a, id, against, b)
	r.results = append(r.results, x)
}

// atLeast notes rates in millions a second, the median of which must reach the goal.
func (r *report) atLeast(id, metric string, rates []float64, goal float64) {
	m := median(rates)
	holds := m >= goal && len(rates) >= 7
	fmt.Printf("Benchmark%s/new 1 %.1f ns/session\n", id, 1e3/m)
	r.results = append(r.results, result{
		ID: id, Metric: metric, Unit: "M/s", Ours: m, Baseline: goal, Ratio: m / goal, Goal: &goal, Holds: &holds,
		Spread: [2]float64{slices.Min(rates) / m, slices.Max(rates) / m}, Note: "baseline: the goal",
	})
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

// steal tells how much another machine had of the processors in the run.
func (r *report) steal(a, b cpuTime) {
	if b.total <= a.total {
		return
	}
	s := float64(b.steal-a.steal) / float64(b.total-a.total)
	fmt.Printf("# steal time %.2f %%\n", 100*s)
	if s > 0.01 {
		for i := range r.results {
			r.results[i].Note += fmt.Sprintf("; steal %.1f %%", 100*s)
		}
	}
}

// freeHugePages is the number of huge pages of 2 MiB that nobody uses.
func freeHugePages() int {
	data, err := os.ReadFile("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0
	}
	return n
}
