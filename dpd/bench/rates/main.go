// Command rates proves what session sync costs at real rates, and that one sick node costs the
// healthy ones nothing. It runs two and three nodes of real workers and sync threads in one process
// and in virtual time (package mesh), with 10 k lives a second for three minutes and 100 k for 30
// s, and the same with a joiner that never gets ready, a member that hears nothing, and a ring that
// is full. See scenarios for the list, verdict for what must hold.
//
//	rates            all of them
//	rates -run joiner,2x100k   those whose names contain one of these
//	rates -list      their names
//
// Each run ends with a line of figures and PASS or FAIL. The exit code is 0 when all passed, 1 when
// one did not, and 2 when one could not be run. Nothing is judged by real time; what a run took is
// printed beside it.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime/pprof"
	"strings"
	"time"
)

func main() {
	only := flag.String("run", "", "`names` of scenarios, or parts of them, separated by commas; empty: all")
	list := flag.Bool("list", false, "print the names of the scenarios")
	verbose := flag.Bool("v", false, "print what is measured every ten seconds")
	profile := flag.String("cpuprofile", "", "`file` to write a processor profile to")
	flag.Parse()
	if *profile != "" {
		f, err := os.Create(*profile)
		if err == nil {
			err = pprof.StartCPUProfile(f)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "rates:", err)
			os.Exit(2)
		}
		defer f.Close()
	}
	code := run(*only, *list, *verbose)
	pprof.StopCPUProfile()
	os.Exit(code)
}

func run(only string, list, verbose bool) (code int) {
	matched := false
	for _, s := range scenarios() {
		if !wanted(s.name, only) {
			continue
		}
		matched = true
		if list {
			fmt.Println(s.name)
			continue
		}
		began := time.Now()
		r, err := measure(s, verbose)
		if err != nil {
			fmt.Fprintf(os.Stderr, "rates: %s: %v\n", s.name, err)
			return 2
		}
		v := verdict(s, r)
		fmt.Printf("%s: %s | %.0f s\n", s.name, r, time.Since(began).Seconds())
		for _, c := range v {
			if !c.holds {
				fmt.Printf("  FAIL %s: %s\n", c.name, c.why)
				code = 1
			}
		}
		fmt.Printf("%s %s\n", map[bool]string{true: "PASS", false: "FAIL"}[passed(v)], s.name)
	}
	if !matched {
		fmt.Fprintf(os.Stderr, "rates: no scenario is called %q\n", only)
		return 2
	}
	return code
}

func wanted(name, only string) bool {
	if only == "" {
		return true
	}
	for part := range strings.SplitSeq(only, ",") {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}
