//go:build dpdk

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
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

// compare makes a result of pairs: ours[i] and baseline[i] were measured next to each other.
func (r *report) compare(id, metric, unit string, ours, baseline []float64, goal float64, note string) {
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = ours[i] / baseline[i]
	}
	res := result{ID: id, Metric: metric, Unit: unit, Ours: median(ours), Baseline: median(baseline), Ratio: median(ratios),
		Spread: [2]float64{slices.Min(ratios), slices.Max(ratios)}, Note: note}
	if goal > 0 {
		holds := res.Ratio >= goal && len(ours) >= 7
		res.Goal, res.Holds = &goal, &holds
	}
	r.results = append(r.results, res)
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
