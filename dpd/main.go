// Command dpd is a data plane of holdfast: it forwards packets on DPDK and keeps copies of its sessions on its peers.
//
//	dpd --config /etc/holdfast/dpd.yaml
//
// It exits with 0 after SIGINT or SIGTERM, with 1 when it can't run, and with 2 when the configuration is wrong; then
// every unknown key and every bad value is listed with its line.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/holdfast-lb/holdfast/dpd/node"
)

func main() {
	path := flag.String("config", "/etc/holdfast/dpd.yaml", "configuration `file`")
	check := flag.Bool("check", false, "check the configuration and exit")
	flag.Parse()
	cfg, err := node.LoadConfig(*path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if *check {
		return
	}
	slog.SetDefault(node.Logger(&cfg, os.Stderr))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, cfg); err != nil {
		slog.Error("dpd ends", "err", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, cfg node.Config) error {
	n, err := node.New(cfg, node.Options{})
	if err != nil {
		return err
	}
	return n.Run(ctx)
}
