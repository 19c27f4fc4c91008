// Command table measures the session table: P4 (look-up and update against rte_hash on the same keys), P5 (its slope with the
// size), P6 (memory a session, as the kernel counts it), P7 (new sessions) and P8 (whole TCP lives).
//
//	table -json .bench/table.json
//
// The baseline of P4 is a C program (baseline/rte_hash.c) that is compiled here and measures by turns with us: A B B A. The
// negative control is the same table looked up one key at a time. Time is the processor time of the measuring thread.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
)

type options struct {
	sizes []int
	pairs int
	count int
}

func main() {
	out := flag.String("json", "", "`file` to write the results to, as a JSON list")
	sizes := flag.String("sizes", "1000000,10000000,20000000", "numbers of sessions to measure P4 at; P5 compares the last with the first")
	pairs := flag.Int("pairs", 7, "pairs of measurements of each comparison, at least 7 for a result to count")
	count := flag.Int("count", 4_000_000, "look-ups in one measurement")
	flag.Parse()
	o := options{pairs: max(*pairs, 1), count: max(*count, chunk)}
	for f := range strings.SplitSeq(*sizes, ",") {
		n, err := strconv.Atoi(f)
		if err != nil || n < 1000 || n > 100_000_000 {
			fmt.Fprintf(os.Stderr, "table: -sizes: %q: want numbers from 1000 to 100000000\n", f)
			os.Exit(2)
		}
		o.sizes = append(o.sizes, n)
	}
	if err := run(o, *out); err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

func run(o options, out string) error {
	runtime.LockOSThread()
	debug.SetGCPercent(-1) // as the data plane does
	fmt.Printf("goos: %s\ngoarch: %s\npkg: github.com/holdfast-lb/holdfast/dpd/bench/table\n", runtime.GOOS, runtime.GOARCH)
	before := readCPU()
	var rep report
	binary, clean, err := buildBaseline()
	if err != nil {
		return err
	}
	defer clean()
	var slope []float64
	for _, n := range o.sizes {
		ns, err := rep.lookups(o, n, binary)
		if err != nil {
			return err
		}
		slope = append(slope, ns)
	}
	if len(slope) > 1 {
		rep.atMost("P5", fmt.Sprintf("look-up + update at %s over %s sessions", short(o.sizes[len(slope)-1]), short(o.sizes[0])), "x",
			slope[len(slope)-1], slope[0], 1.25)
	}
	for _, six := range []bool{false, true} {
		if err := rep.memory(o.sizes[len(o.sizes)-1]/2, six); err != nil {
			return err
		}
	}
	if err := rep.newSessions(o); err != nil {
		return err
	}
	if err := rep.lives(o); err != nil {
		return err
	}
	rep.steal(before, readCPU())
	rep.table(os.Stdout)
	return rep.write(out)
}

// short is 10 M for 10000000.
func short(n int) string {
	switch {
	case n%1_000_000 == 0:
		return fmt.Sprintf("%d M", n/1_000_000)
	case n%1000 == 0:
		return fmt.Sprintf("%d k", n/1000)
	}
	return strconv.Itoa(n)
}
