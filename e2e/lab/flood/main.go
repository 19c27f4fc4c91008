// Command flood proves in the lab that packets of strangers cost established connections nothing
// and new ones little. From the router's side of the segment it sends each kind of flood (kinds.go)
// for some seconds to the data planes, beside 20 established connections, at a rate that fills the
// tables of the nodes (65,536 sessions of each family) and takes all ports of a real server. Meanwhile
// one client, 20 ms away, opens connections. A minute after the last flood it opens some again.
//
// Its last line is
//
//	flood: kinds=5 rate=… reached=… lost=0 opened_worst=0.97 memory_grown_mb=3 after=1.00
//
// lost are established connections that broke, opened_worst is the least share of new connections
// that were established under a flood, memory_grown_mb is by how much the resident memory of a data
// plane grew at most after the first flood of all, after is the share of new connections a minute
// later. For each kind it prints the reasons that the nodes counted.
//
// Exit code: 0 when nothing was lost, each share is 0.9 or more, after is 1, memory grew by 32 MB
// at most and each kind was counted under some reason; 1 otherwise; 2 when the lab can't be run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

// spareThreads is how many threads may run Go code.
const spareThreads = 8

var errLab = errors.New("the lab does not run")

func main() {
	rate := flag.Int("rate", 20000, "packets a second")
	span := flag.Duration("span", 20*time.Second, "`time` of each flood")
	rest := flag.Duration("rest", time.Minute, "`time` after the last flood")
	limit := flag.Duration("limit", 20*time.Minute, "longest `time` of a run")
	verbose := flag.Bool("v", false, "print the lab's steps")
	flag.Parse()
	if flag.NArg() > 0 || *rate < 1 || *rate > 1_000_000 || *span <= 0 {
		fmt.Fprintln(os.Stderr, "flood: bad command line")
		os.Exit(2)
	}
	runtime.GOMAXPROCS(max(runtime.NumCPU(), spareThreads))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	r, err := run(ctx, *rate, *span, *rest, *verbose)
	code := 0
	for _, f := range r.faults() {
		fmt.Println("flood: fault:", f)
		code = 1
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "flood:", err)
		code = 1
	}
	if errors.Is(err, errLab) {
		os.Exit(2)
	}
	fmt.Println(r.line())
	os.Exit(code)
}
