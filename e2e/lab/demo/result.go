package main

import (
	"fmt"
	"math"
	"net/netip"
	"slices"

	"github.com/holdfast-lb/holdfast/e2e/lab/load"
	conntrackv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/conntrack/v1"
)

// result is what the last line says.
type result struct {
	connections int
	broken      int       // connections and UDP flows
	takenOver   int       // connections whose owner was killed and that another node owns now
	silences    []float64 // of every active connection at every death, in ms
	synced      int       // connections that every node held before the first death
}

// line is the demo's last line.
func (r result) line() string {
	return fmt.Sprintf("demo: connections=%d broken=%d taken_over=%d blackout_ms_p50=%.0f p99=%.0f max=%.0f synced=%d",
		r.connections, r.broken, r.takenOver, quantile(r.silences, 0.50), quantile(r.silences, 0.99), quantile(r.silences, 1), r.synced)
}

// quantile is the smallest sample that at least the share q of all samples does not exceed; 0 without samples.
func quantile(samples []float64, q float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	s := slices.Clone(samples)
	slices.Sort(s)
	return s[max(int(math.Ceil(q*float64(len(s))))-1, 0)]
}

// silences are those of active connections.
func silences(flows []load.Flow) []float64 {
	var list []float64
	for _, f := range flows {
		if f.Kind == load.Active {
			list = append(list, f.SilenceMs)
		}
	}
	return list
}

// slowest is the active connection with the longest silence.
func slowest(flows []load.Flow) (worst load.Flow) {
	for _, f := range flows {
		if f.Kind == load.Active && f.SilenceMs >= worst.SilenceMs {
			worst = f
		}
	}
	return worst
}

// brokenFlows are those that broke.
func brokenFlows(flows []load.Flow) []load.Flow {
	return slices.DeleteFunc(slices.Clone(flows), func(f load.Flow) bool { return f.Broken == "" })
}

// placement is where the cluster holds the flows: by the client's address and port.
type placement map[netip.AddrPort]*conntrackv1.Session

func place(sessions []*conntrackv1.Session) placement {
	p := placement{}
	for _, s := range sessions {
		a, err := netip.ParseAddr(s.GetClient().GetAddress())
		if err != nil {
			continue // no client of ours
		}
		p[netip.AddrPortFrom(a.Unmap(), uint16(s.GetClient().GetPort()))] = s
	}
	return p
}

// replicated counts the flows that at least n nodes hold.
func (p placement) replicated(flows []load.Flow, n int) (connections, all int) {
	for _, f := range flows {
		if s := p[f.Client]; s != nil && len(s.GetReplicas()) >= n {
			all++
			if f.Kind != load.UDP {
				connections++
			}
		}
	}
	return connections, all
}

// owners counts the flows of each owner.
func (p placement) owners(flows []load.Flow) map[string]int {
	m := map[string]int{}
	for _, f := range flows {
		if s := p[f.Client]; s != nil {
			m[s.GetOwner()]++
		}
	}
	return m
}

// busiest is the owner of most flows other than not; "" if there is none. Equal counts go by name.
func busiest(owners map[string]int, not string) string {
	best := ""
	for name, n := range owners {
		if name == not || name == "nodes/unknown" {
			continue
		}
		if best == "" || n > owners[best] || n == owners[best] && name < best {
			best = name
		}
	}
	return best
}

// takenOver counts the connections that owner had before and that another known node owns after.
func takenOver(flows []load.Flow, before, after placement, owner string) int {
	n := 0
	for _, f := range flows {
		b, a := before[f.Client], after[f.Client]
		if f.Kind != load.UDP && b.GetOwner() == owner && a != nil && a.GetOwner() != owner && a.GetOwner() != "nodes/unknown" {
			n++
		}
	}
	return n
}
