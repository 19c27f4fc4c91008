// Command merge joins the results of the benchmark programs into one list and one table.
//
//	merge -out .bench/latest.json -must P1,P2,P3,P4,P6 FILE …
//
// Each FILE is a JSON list of {id, metric, unit, ours, baseline, ratio, goal, holds, spread, note}. The exit code is 1 if a goal of an id in
// -must does not hold or such an id was not measured, 2 if a file can't be read.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// result is one line. Goal and Holds are absent where nothing was promised.
type result struct {
	ID       string     `json:"id"`
	Metric   string     `json:"metric"`
	Unit     string     `json:"unit"`
	Ours     float64    `json:"ours"`
	Baseline float64    `json:"baseline"`
	Ratio    float64    `json:"ratio"`
	Goal     *float64   `json:"goal"`
	Holds    *bool      `json:"holds"`
	Spread   [2]float64 `json:"spread"`
	Note     string     `json:"note,omitempty"`
}

func main() {
	out := flag.String("out", "", "`file` to write the joined list to")
	must := flag.String("must", "", "`ids` whose goals must hold, separated by commas")
	flag.Parse()
	results, err := read(flag.Args())
	if err == nil && *out != "" {
		err = write(*out, results)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "merge:", err)
		os.Exit(2)
	}
	table(os.Stdout, results)
	if missed := misses(results, *must); len(missed) > 0 {
		fmt.Printf("bench: %s\n", strings.Join(missed, "; "))
		os.Exit(1)
	}
}

// read joins the files, sorted by id; the order within an id is that of the files.
func read(files []string) ([]result, error) {
	results := []result{}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var list []result
		if err := json.Unmarshal(data, &list); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for _, r := range list {
			if r.ID == "" || r.Metric == "" {
				return nil, fmt.Errorf("%s: %w", name, errors.New("a result without id or metric"))
			}
			results = append(results, r)
		}
	}
	slices.SortStableFunc(results, func(a, b result) int { return compareIDs(a.ID, b.ID) })
	return results, nil
}

// compareIDs orders P2 before P10.
func compareIDs(a, b string) int {
	na, ea := strconv.Atoi(strings.TrimLeft(a, "PR"))
	nb, eb := strconv.Atoi(strings.TrimLeft(b, "PR"))
	if ea == nil && eb == nil && a[:1] == b[:1] && na != nb {
		return na - nb
	}
	return strings.Compare(a, b)
}

func write(path string, results []result) error {
	data, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

func table(w io.Writer, results []result) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "id\tmetric\tours\tbaseline\tunit\tratio\tgoal\tholds\tnote")
	for _, r := range results {
		goal, holds := "", ""
		if r.Goal != nil {
			goal = strconv.FormatFloat(*r.Goal, 'g', 4, 64)
		}
		if r.Holds != nil {
			holds = map[bool]string{true: "yes", false: "NO"}[*r.Holds]
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, r.Metric, number(r.Ours), number(r.Baseline), r.Unit, number(r.Ratio), goal, holds, r.Note)
	}
	t.Flush()
}

// number leaves out what was not measured.
func number(f float64) string {
	if f == 0 {
		return ""
	}
	return strconv.FormatFloat(f, 'g', 4, 64)
}

// misses lists the ids in must whose goals don't hold, or that have none.
func misses(results []result, must string) []string {
	var list []string
	for _, id := range strings.FieldsFunc(must, func(r rune) bool { return r == ',' }) {
		found := false
		for _, r := range results {
			if r.ID != id || r.Holds == nil {
				continue
			}
			found = true
			if !*r.Holds {
				list = append(list, fmt.Sprintf("%s (%s) misses its goal", id, r.Metric))
			}
		}
		if !found {
			list = append(list, id+" was not measured")
		}
	}
	return list
}
