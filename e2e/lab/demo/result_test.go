package main

import (
	"net/netip"
	"testing"

	"github.com/holdfast-lb/holdfast/e2e/lab/load"
	conntrackv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/conntrack/v1"
	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
)

func TestLineIsWhatIssueAsksFor(t *testing.T) {
	r := result{connections: 200, broken: 0, takenOver: 61, silences: []float64{1, 2, 3, 250.6}, synced: 200}
	want := "demo: connections=200 broken=0 taken_over=61 blackout_ms_p50=2 p99=251 max=251 synced=200"
	if got := r.line(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestQuantile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for name, row := range map[string]struct {
		samples []float64
		q, want float64
	}{
		"no samples":          {nil, 0.5, 0},
		"one sample":          {[]float64{7}, 0.5, 7},
		"median of a hundred": {hundred, 0.5, 50},
		"p99 of a hundred":    {hundred, 0.99, 99},
		"the greatest":        {hundred, 1, 100},
	} {
		if got := quantile(row.samples, row.q); got != row.want {
			t.Errorf("%s: got %v, want %v", name, got, row.want)
		}
	}
}

func session(client, owner string, replicas ...string) *conntrackv1.Session {
	a := netip.MustParseAddrPort(client)
	return &conntrackv1.Session{
		Client: &dpdv1.Endpoint{Address: a.Addr().String(), Port: uint32(a.Port())}, Owner: owner, Replicas: replicas,
	}
}

func TestPlacement(t *testing.T) {
	flows := []load.Flow{
		{ID: 1, Kind: load.Active, Client: netip.MustParseAddrPort("192.0.2.1:1"), SilenceMs: 4},
		{ID: 2, Kind: load.Idle, Client: netip.MustParseAddrPort("[2001:db8::1]:2")},
		{ID: 3, Kind: load.UDP, Client: netip.MustParseAddrPort("192.0.2.1:3")},
		{ID: 4, Kind: load.Active, Client: netip.MustParseAddrPort("192.0.2.1:4"), Broken: "EOF", SilenceMs: 9},
	}
	a, b := "nodes/lb1", "nodes/lb2"
	before := place([]*conntrackv1.Session{
		session("192.0.2.1:1", a, a, b), session("[2001:db8::1]:2", a, a, b), session("192.0.2.1:3", b, a, b),
		session("192.0.2.1:4", a, a), session("198.51.100.1:9", b, a, b), {},
	})
	after := place([]*conntrackv1.Session{session("192.0.2.1:1", b, b), session("[2001:db8::1]:2", "nodes/unknown", b)})
	if c, all := before.replicated(flows, 2); c != 2 || all != 3 {
		t.Errorf("replicated: %d connections, %d flows", c, all)
	}
	owners := before.owners(flows)
	if owners[a] != 3 || owners[b] != 1 || busiest(owners, "") != a || busiest(owners, a) != b {
		t.Errorf("owners: %v", owners)
	}
	if got := busiest(map[string]int{"nodes/unknown": 5}, ""); got != "" {
		t.Errorf("the unknown node was chosen: %q", got)
	}
	if got := takenOver(flows, before, after, a); got != 1 {
		t.Errorf("taken over: %d", got)
	}
	if got := silences(flows); len(got) != 2 || got[1] != 9 {
		t.Errorf("silences: %v", got)
	}
	if got := slowest(flows); got.ID != 4 {
		t.Errorf("slowest: %v", got)
	}
	if got := brokenFlows(flows); len(got) != 1 || got[0].ID != 4 {
		t.Errorf("broken: %v", got)
	}
}

func TestVerdict(t *testing.T) {
	for name, row := range map[string]struct {
		broken  int
		err     error
		control bool
		want    int
	}{
		"nothing broke":                       {0, nil, false, 0},
		"one broke":                           {1, nil, false, 1},
		"a step failed":                       {0, errLab, false, 1},
		"the control broke some":              {5, nil, true, 0},
		"the control broke none":              {0, nil, true, 1},
		"the control failed at a step":        {0, errLab, true, 1},
		"the control broke some, then failed": {5, errLab, true, 1},
	} {
		if got := verdict(result{broken: row.broken}, row.err, row.control); got != row.want {
			t.Errorf("%s: exit %d, want %d", name, got, row.want)
		}
	}
}
