// Command sync measures session sync: P8 (full TCP lives with and without a peer), and of codec and seal P9 (encode and
// seal), P10 (open, decode and insert; the first half beside it) and P11 (bytes a session).
//
// The negative control is the same work with the seal switched off, taken by turns in one run (A B B A ...). Time is the
// processor time of the measuring thread, so that neighbours on the machine count for less. Lines in the form of go test
// -bench go to standard output, the results as a JSON list to -json.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"
)

func main() {
	out := flag.String("json", "", "`file` to write the results to, as a JSON list")
	pairs := flag.Int("pairs", 7, "pairs of measurements of each comparison, at least 7 for a result to count")
	slice := flag.Duration("slice", 100*time.Millisecond, "length of one measurement")
	flag.Parse()
	if err := run(*pairs, *slice, *out); err != nil {
		fmt.Fprintln(os.Stderr, "sync:", err)
		os.Exit(1)
	}
}

func run(pairs int, slice time.Duration, out string) error {
	runtime.LockOSThread()
	debug.SetGCPercent(-1) // as the data plane does
	fmt.Printf("goos: %s\ngoarch: %s\npkg: github.com/holdfast-lb/holdfast/dpd/bench/sync\n", runtime.GOOS, runtime.GOARCH)
	before := readCPU()
	var rep report
	for _, mtu := range []int{8000, 1400} {
		for _, family := range []uint8{4, 6} {
			w, err := newWork(family, mtu, usual)
			if err != nil {
				return err
			}
			name := fmt.Sprintf("IPv%d, MTU %d, %d servers", family, mtu, usual.services*usual.servers)
			// The goals speak of the MTU that is tried first; the other is shown beside it.
			goal := func(g float64) float64 {
				if mtu == 8000 {
					return g
				}
				return 0
			}
			if err := rep.compare("P9", "sync encode and seal, "+name, goal(20), pairs, slice, w.encode, w.encodeOpen); err != nil {
				return err
			}
			if err := rep.compare("P10", "sync open and decode, no insert, "+name, 0, pairs, slice, w.decode, w.decodeOpen); err != nil {
				return err
			}
			limit := 24.0
			if family == 6 {
				limit = 36
			}
			rep.atMost("P11", "wire bytes a session in bulk, "+name, "B", w.bytesOfSession(), 80, limit)
		}
	}
	for _, family := range []uint8{4, 6} {
		if err := measureInsert(&rep, family, 8000, pairs); err != nil {
			return err
		}
	}
	if err := measureLives(&rep, pairs); err != nil {
		return err
	}
	if err := measureShapes(&rep); err != nil {
		return err
	}
	rep.steal(before, readCPU())
	rep.table(os.Stdout)
	return rep.write(out)
}
