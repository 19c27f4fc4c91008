//go:build dpdk

// Command bench measures the ground that the data plane stands on: how long a locked Go poll loop stalls, where burst
// vectors have to lie, and our macswap against testpmd's (P1).
//
// Two things are compared by turns in one run (A B B A ...), as ratios of neighbours, with median and spread. Lines in the
// form of go test -bench go to standard output, the results as a JSON list to -json.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/holdfast-lb/holdfast/dpd/internal/dpdk"
)

type options struct {
	core    int
	pairs   int
	slice   time.Duration
	stall   time.Duration
	huge    bool
	testpmd string
}

// mbufs is the number of packets of either side's pool.
const mbufs = 32768

func main() {
	var o options
	only := flag.String("run", "stall,vector,p1", "what to measure, separated by commas: stall, vector, p1")
	out := flag.String("json", "", "`file` to write the results to, as a JSON list")
	flag.IntVar(&o.core, "core", runtime.NumCPU()-1, "core of the measured loop; core 0 carries the rest")
	flag.IntVar(&o.pairs, "pairs", 8, "pairs of measurements of each comparison, at least 7 for a result to count")
	flag.DurationVar(&o.slice, "slice", 300*time.Millisecond, "length of one measurement")
	flag.DurationVar(&o.stall, "stall", 5*time.Second, "length of one stall measurement")
	flag.BoolVar(&o.huge, "huge", freeHugePages() >= 160, "use huge pages, for both sides; without them the TLB is what is measured")
	flag.StringVar(&o.testpmd, "testpmd", "dpdk-testpmd", "`program` to compare with")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, &o, strings.Split(*only, ","), *out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o *options, parts []string, out string) error {
	// As the data plane does: no collection but those that the measurement itself asks for.
	debug.SetGCPercent(-1)
	before := readCPU()
	if !o.huge {
		fmt.Println("# no huge pages (echo 300 > /proc/sys/vm/nr_hugepages): figures of P1 and G2 are those of the TLB")
	}
	fmt.Printf("goos: %s\ngoarch: %s\npkg: github.com/holdfast-lb/holdfast/dpd/internal/dpdk/bench\ncpu: %s\n", runtime.GOOS, runtime.GOARCH, cpuModel())
	var rep report
	rt, err := dpdk.Start(dpdk.Config{FilePrefix: fmt.Sprint("hfbench", os.Getpid()), Mbufs: mbufs, NoHuge: !o.huge, LogLevel: "error"})
	if err != nil {
		return err
	}
	defer rt.Close()
	for _, part := range parts {
		var err error
		switch part {
		case "stall":
			err = measureStall(ctx, o, &rep)
		case "vector":
			err = measureVectors(ctx, o, rt, &rep)
		case "p1":
			err = measureMacswap(ctx, o, rt, &rep)
		default:
			err = fmt.Errorf("unknown part, want stall, vector or p1")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
	}
	rep.table(os.Stdout)
	after := readCPU()
	steal, others := stealShare(before, after), othersShare(before, after)
	fmt.Printf("# steal time %.2f %%, other processes %.1f %% of the processors\n", 100*steal, 100*others)
	if steal > 0.01 || others > 0.05 {
		fmt.Println("# the machine was not ours alone: the figures are unsure")
	}
	return rep.write(out)
}
