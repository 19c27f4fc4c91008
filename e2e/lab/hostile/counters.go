package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-lb/holdfast/e2e/lab/topo"
)

// counters are those of a data plane, by name: sync_…, worker_… and dropped_….
type counters map[string]uint64

const metricsPort = 9100

// scrape reads the counters of all nodes. One that doesn't answer has none: they only explain, no
// verdict depends on them.
func (s *scenario) scrape() []counters {
	list := make([]counters, s.lab.Nodes)
	for i := range list {
		list[i] = scrapeNode(i)
	}
	return list
}

func scrapeNode(node int) counters {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	url := fmt.Sprintf("http://%v:%d/metrics", topo.V4(topo.NetMgmt, topo.LBHost(node+1)), metricsPort)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	return readCounters(resp.Body)
}

// readCounters reads the page of metrics.
func readCounters(page io.Reader) counters {
	c := counters{}
	for lines := bufio.NewScanner(page); lines.Scan(); {
		series, value, _ := strings.Cut(lines.Text(), "} ")
		family, labels, _ := strings.Cut(series, "{")
		prefix, label := "", `name="`
		switch family {
		case "holdfast_dpd_node":
		case "holdfast_dpd_worker":
			prefix = "worker_"
		case "holdfast_dpd_dropped_packets_total":
			prefix, label = "dropped_", `reason="`
		default:
			continue
		}
		_, name, _ := strings.Cut(labels, label)
		name, _, _ = strings.Cut(name, `"`)
		if v, err := strconv.ParseFloat(value, 64); err == nil && name != "" {
			c[prefix+name] += uint64(v)
		}
	}
	return c
}

// grown is by how much counters of all nodes grew. Those of a node that was started in between
// began at 0.
func grown(before, after []counters) counters {
	sum := counters{}
	for i, c := range after {
		again := c["sync_sent"] < before[i]["sync_sent"]
		for name, v := range c {
			if !again {
				v -= min(v, before[i][name])
			}
			sum[name] += v
		}
	}
	return sum
}

// panics are those that a thread of packets caught and survived.
func (c counters) panics() (n uint64) {
	for name, v := range c {
		if strings.HasSuffix(name, "panics") {
			n += v
		}
	}
	return n
}

// refusals are the n greatest of the counters that tell why a datagram was not taken.
func (c counters) refusals(n int) string {
	why := func(name string) bool {
		for _, p := range []string{"dropped_", "sync_refused_", "sync_seal_"} {
			if strings.HasPrefix(name, p) {
				return name != "sync_seal_opened"
			}
		}
		switch strings.TrimPrefix(name, "sync_") {
		case "foreign_source", "not_member", "self", "old_inc", "new_inc", "not_believed", "limited",
			"stale", "replies_limited", "too_short", "panics":
			return strings.HasPrefix(name, "sync_")
		}
		return false
	}
	names := slices.SortedFunc(maps.Keys(c), func(a, b string) int {
		return cmp.Or(cmp.Compare(c[b], c[a]), cmp.Compare(a, b))
	})
	var list []string
	for _, name := range names {
		if c[name] > 0 && why(name) && len(list) < n {
			list = append(list, fmt.Sprintf("%s %d", strings.TrimPrefix(name, "sync_"), c[name]))
		}
	}
	return strings.Join(list, ", ")
}
