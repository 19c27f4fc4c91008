package sched

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// service number id with a server for each weight; server j has id 100*id+j.
func service(id uint32, a Algorithm, weights ...uint32) ServiceConfig {
	s := ServiceConfig{
		ID: id, VIP: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(id >> 8), byte(id)}), 80),
		Proto: flow.ProtoTCP, Mode: flow.FullNAT, Algorithm: a,
	}
	for j, w := range weights {
		s.Servers = append(s.Servers, ServerConfig{
			ID: 100*id + uint32(j), Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(id >> 8), byte(id), byte(j)}), 8080), Weight: w, State: Up,
		})
	}
	return s
}

func compile(t testing.TB, prev *Snapshot, s ...ServiceConfig) *Snapshot {
	t.Helper()
	snap, err := Compile(&Config{Services: s}, prev)
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

func use(s *Snapshot) *State {
	st := NewState(0, 1)
	st.Use(s)
	return st
}

// picks draws n servers of service id and returns their numbers, -1 for none; open counts them as connections.
func picks(st *State, id uint32, n int, open bool) (got []int) {
	for range n {
		r, ok := st.Pick(st.Snapshot().Service(id))
		if !ok {
			got = append(got, -1)
			continue
		}
		if open {
			st.Opened(r)
		}
		got = append(got, int(r.ID-100*id))
	}
	return got
}

func TestOrderOfPicks(t *testing.T) {
	down := service(1, RR, 1, 1, 1, 1)
	down.Servers[1].State, down.Servers[2].State = Down, Drain
	limited := service(1, RR, 1, 1)
	limited.Servers[0].MaxConnections = 1
	limitedWRR := service(1, WRR, 1, 9)
	limitedWRR.Servers[1].MaxConnections = 2
	limitedWLC := service(1, WLC, 1, 9)
	limitedWLC.Servers[1].MaxConnections = 1
	allFull := service(1, WRR, 1)
	allFull.Servers[0].MaxConnections = 1
	for name, c := range map[string]struct {
		s    ServiceConfig
		want []int
	}{
		"rr in turn":                          {service(1, RR, 1, 5, 9), []int{0, 1, 2, 0, 1, 2}},
		"rr passes by weight 0":               {service(1, RR, 1, 0, 1), []int{0, 2, 0, 2}},
		"rr passes by down and drained":       {down, []int{0, 3, 0, 3}},
		"rr passes by the full":               {limited, []int{0, 1, 1, 1}},
		"wrr spreads the heavy":               {service(1, WRR, 5, 1, 1), []int{0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 1, 2, 0, 0}},
		"wrr of equal weights is rr":          {service(1, WRR, 7, 7, 7), []int{0, 1, 2, 0, 1, 2}},
		"wrr passes by weight 0":              {service(1, WRR, 0, 2, 0), []int{1, 1, 1}},
		"wrr passes by the full":              {limitedWRR, []int{1, 1, 0, 0, 0}},
		"wrr with all full":                   {allFull, []int{0, -1, -1}},
		"wlc fills by weight":                 {service(1, WLC, 1, 3), []int{1, 1, 1, 0, 1, 1, 1, 0}},
		"wlc passes by weight 0 and the full": {limitedWLC, []int{1, 0, 0}},
		"no server at all":                    {service(1, RR), []int{-1}},
		"none that takes flows":               {service(1, WLC, 0, 0), []int{-1}},
	} {
		t.Run(name, func(t *testing.T) {
			st := use(compile(t, nil, c.s))
			got := picks(st, 1, len(c.want), true)
			if name == "wlc fills by weight" { // the order among equals turns: count instead
				slices.Sort(got)
				slices.Sort(c.want)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestWeightsHoldInEveryRound(t *testing.T) {
	weights := []uint32{1, 65535, 7, 300, 300, 12}
	st := use(compile(t, nil, service(1, WRR, weights...)))
	total := 0
	for _, w := range weights {
		total += int(w)
	}
	for round := range 3 {
		count := make([]uint32, len(weights))
		for _, i := range picks(st, 1, total, false) {
			count[i]++
		}
		if !slices.Equal(count, weights) {
			t.Fatalf("round %d: %v, want %v", round, count, weights)
		}
	}
}

func TestWorkersBeginDifferently(t *testing.T) {
	for _, a := range []Algorithm{RR, WRR, WLC} {
		snap := compile(t, nil, service(1, a, 1, 1, 1))
		first := map[int]bool{}
		for w := range 3 {
			st := NewState(w, 3)
			st.Use(snap)
			first[picks(st, 1, 1, false)[0]] = true
		}
		if len(first) != 3 {
			t.Errorf("algorithm %d: %v", a, first)
		}
	}
}

func TestLimitIsSharedAmongWorkers(t *testing.T) {
	s := service(1, RR, 1)
	s.Servers[0].MaxConnections = 10
	snap := compile(t, nil, s)
	got := 0
	for w := range 3 {
		st := NewState(w, 3)
		st.Use(snap)
		for _, i := range picks(st, 1, 20, true) {
			if i >= 0 {
				got++
			}
		}
	}
	if got != 10 {
		t.Errorf("%d connections in all, want 10", got)
	}
}

func TestCountsOutliveSnapshotsByServerID(t *testing.T) {
	a, b, c := service(1, RR, 1, 1), service(2, RR, 1, 1), service(3, RR, 1, 1)
	s1 := compile(t, nil, a, b)
	st := use(s1)
	for id, n := range map[uint32]int{100: 1, 101: 2, 200: 3, 201: 4} {
		for range n {
			st.Opened(s1.Server(id))
		}
	}
	a.Servers = a.Servers[1:] // 100 goes, 300 and 301 come, the order turns
	s2 := compile(t, s1, c, b, a)
	st.Use(s2)
	for id, want := range map[uint32]uint32{101: 2, 200: 3, 201: 4, 300: 0, 301: 0} {
		if got := st.Connections(s2.Server(id)); got != want {
			t.Errorf("server %d: %d, want %d", id, got, want)
		}
	}
	st.Closed(100)
	st.Closed(999)
	st.Closed(300)
	st.Closed(201)
	if st.Connections(s2.Server(300)) != 0 || st.Connections(s2.Server(201)) != 3 {
		t.Error("closing went wrong")
	}
	if s2.Service(2) != s1.Service(2) {
		t.Error("an unchanged service was compiled again")
	}
}

func TestUnchangedServiceGoesOnWhereItStood(t *testing.T) {
	a, b := service(1, RR, 1, 1, 1), service(2, WRR, 1, 1, 1)
	s1 := compile(t, nil, a, b)
	st := use(s1)
	picks(st, 1, 1, false)
	picks(st, 2, 1, false)
	st.Use(compile(t, s1, service(3, RR, 1), b, a))
	if got := picks(st, 1, 2, false); !slices.Equal(got, []int{1, 2}) {
		t.Errorf("rr %v", got)
	}
	if got := picks(st, 2, 2, false); !slices.Equal(got, []int{1, 2}) {
		t.Errorf("wrr %v", got)
	}
}

func TestLookupIsByVIPPortAndProtocol(t *testing.T) {
	u := service(2, RR, 1)
	u.VIP, u.Proto = service(1, RR).VIP, flow.ProtoUDP
	x := service(3, RR)
	x.VIP = netip.MustParseAddrPort("[2001:db8::1]:80")
	x.Servers = []ServerConfig{{ID: 300, Addr: netip.MustParseAddrPort("[fd00::1]:80"), Weight: 1, State: Up}}
	snap := compile(t, nil, service(1, RR, 1), u, x)
	for name, c := range map[string]struct {
		proto    uint8
		src, dst string
		want     uint32
	}{
		"tcp":               {flow.ProtoTCP, "192.0.2.1:999", "198.51.0.1:80", 1},
		"udp":               {flow.ProtoUDP, "192.0.2.1:999", "198.51.0.1:80", 2},
		"ipv6":              {flow.ProtoTCP, "[2001:db8::9]:999", "[2001:db8::1]:80", 3},
		"another port":      {flow.ProtoTCP, "192.0.2.1:999", "198.51.0.1:81", 0},
		"another address":   {flow.ProtoTCP, "192.0.2.1:999", "198.51.0.2:80", 0},
		"another protocol":  {flow.ProtoUDP, "[2001:db8::9]:999", "[2001:db8::1]:80", 0},
		"the vip as source": {flow.ProtoTCP, "198.51.0.1:80", "192.0.2.1:999", 0},
	} {
		t.Run(name, func(t *testing.T) {
			k, err := flow.MakeKey(c.proto, netip.MustParseAddrPort(c.src), netip.MustParseAddrPort(c.dst))
			if err != nil {
				t.Fatal(err)
			}
			s := snap.Lookup(&k)
			if s == nil && c.want != 0 || s != nil && s.ID != c.want {
				t.Errorf("got %+v, want %d", s, c.want)
			}
		})
	}
	if snap.Server(100).AddrPort().String() != "10.0.1.0:8080" || snap.Server(300).AddrPort().String() != "[fd00::1]:80" {
		t.Errorf("%v %v", snap.Server(100).AddrPort(), snap.Server(300).AddrPort())
	}
	if snap.Server(1) != nil || snap.Service(9) != nil || len(snap.Services()) != 3 {
		t.Error("found what isn't there")
	}
}

func TestEveryFaultIsNamedByItsField(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		field  string
	}{
		"service id 0":             {func(c *Config) { c.Services[1].ID = 0 }, "services[1].id"},
		"service id twice":         {func(c *Config) { c.Services[1].ID = 1 }, "services[1].id"},
		"no vip":                   {func(c *Config) { c.Services[0].VIP = netip.AddrPort{} }, "services[0].vip"},
		"a multicast vip":          {func(c *Config) { c.Services[0].VIP = netip.MustParseAddrPort("224.0.0.1:80") }, "services[0].vip"},
		"a vip with port 0":        {func(c *Config) { c.Services[0].VIP = netip.MustParseAddrPort("192.0.2.1:0") }, "services[0].vip"},
		"a vip twice":              {func(c *Config) { c.Services[1].VIP = c.Services[0].VIP }, "services[1].vip"},
		"a mapped vip twice":       {func(c *Config) { c.Services[1].VIP = netip.MustParseAddrPort("[::ffff:198.51.0.1]:80") }, "services[1].vip"},
		"protocol sctp":            {func(c *Config) { c.Services[0].Proto = 132 }, "services[0].protocol"},
		"no mode":                  {func(c *Config) { c.Services[0].Mode = 0 }, "services[0].mode"},
		"no algorithm":             {func(c *Config) { c.Services[0].Algorithm = 0 }, "services[0].algorithm"},
		"a timeout of a year":      {func(c *Config) { c.Services[0].Timeouts[1] = 31536000 }, "services[0].timeouts"},
		"server id 0":              {func(c *Config) { c.Services[0].Servers[1].ID = 0 }, "services[0].servers[1].id"},
		"server id elsewhere":      {func(c *Config) { c.Services[1].Servers[0].ID = 101 }, "services[1].servers[0].id"},
		"server address twice":     {func(c *Config) { c.Services[0].Servers[1].Addr = c.Services[0].Servers[0].Addr }, "services[0].servers[1].address"},
		"server address zoned":     {func(c *Config) { c.Services[0].Servers[0].Addr = netip.MustParseAddrPort("[fe80::1%x]:1") }, "services[0].servers[0].address"},
		"server of another family": {func(c *Config) { c.Services[0].Servers[0].Addr = netip.MustParseAddrPort("[fd00::1]:1") }, "services[0].servers[0].address"},
		"weight out of range":      {func(c *Config) { c.Services[0].Servers[1].Weight = MaxWeight + 1 }, "services[0].servers[1].weight"},
		"no server state":          {func(c *Config) { c.Services[0].Servers[1].State = 0 }, "services[0].servers[1].state"},
		"too many services":        {func(c *Config) { c.Services = make([]ServiceConfig, MaxServices+1) }, "services"},
		"too many servers":         {func(c *Config) { c.Services[0].Servers = make([]ServerConfig, MaxServersPerService+1) }, "services[0].servers"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Services: []ServiceConfig{service(1, RR, 1, 1), service(2, WRR, 1)}}
			c.change(&cfg)
			snap, err := Compile(&cfg, nil)
			var bad *InvalidError
			if !errors.As(err, &bad) || snap != nil {
				t.Fatalf("got %v", err)
			}
			if len(bad.Fields) != 1 || bad.Fields[0].Field != c.field || bad.Fields[0].Reason == "" || !strings.Contains(err.Error(), c.field) {
				t.Errorf("got %v, want %s alone", err, c.field)
			}
		})
	}
}

func TestAllFaultsAreReportedAtOnceButBounded(t *testing.T) {
	cfg := Config{Services: make([]ServiceConfig, 500)}
	_, err := Compile(&cfg, nil)
	var bad *InvalidError
	if !errors.As(err, &bad) || len(bad.Fields) != maxFieldErrors || bad.More < 1000 {
		t.Errorf("%v", err)
	}
}

func TestSnapshotDoesNotShareTheCallersMemory(t *testing.T) {
	cfg := Config{Services: []ServiceConfig{service(1, RR, 1, 1)}}
	s1, err := Compile(&cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Services[0].Servers[0].State = Down
	s2, err := Compile(&cfg, s1)
	if err != nil {
		t.Fatal(err)
	}
	if s1.Server(100).State != Up || s2.Server(100).State != Down {
		t.Error("a snapshot changed, or a change was missed")
	}
}

func TestPickDoesNotAllocate(t *testing.T) {
	st := use(compile(t, nil, service(1, RR, 1, 2), service(2, WRR, 1, 2), service(3, WLC, 1, 2)))
	picks(st, 2, 1, false)
	k, _ := flow.MakeKey(flow.ProtoTCP, netip.MustParseAddrPort("192.0.2.1:9"), netip.MustParseAddrPort("198.51.0.2:80"))
	if n := testing.AllocsPerRun(100, func() {
		for id := range uint32(3) {
			r, _ := st.Pick(st.Snapshot().Service(id + 1))
			st.Opened(r)
			st.Closed(r.ID)
		}
		st.Snapshot().Lookup(&k)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if n := unsafe.Sizeof(Server{}); n != 48 {
		t.Errorf("a server takes %d bytes", n)
	}
}

func big(services, servers int) *Config {
	c := &Config{}
	for i := range services {
		s := ServiceConfig{ID: uint32(i + 1), VIP: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 80), Proto: flow.ProtoTCP, Mode: flow.FullNAT, Algorithm: WRR}
		for j := range servers {
			s.Servers = append(s.Servers, ServerConfig{ID: uint32(i*servers + j + 1), Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(j)}), 80), Weight: uint32(j), State: Up})
		}
		c.Services = append(c.Services, s)
	}
	return c
}

func BenchmarkCompile(b *testing.B) {
	c := big(10_000, 100)
	prev, err := Compile(c, nil)
	if err != nil {
		b.Fatal(err)
	}
	for name, p := range map[string]*Snapshot{"from nothing": nil, "unchanged": prev} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				if _, err := Compile(c, p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPick(b *testing.B) {
	for _, a := range []Algorithm{RR, WRR, WLC} {
		b.Run(fmt.Sprint(a), func(b *testing.B) {
			c := big(1, 100)
			c.Services[0].Algorithm = a
			st := use(compile(b, nil, c.Services...))
			s := st.Snapshot().Service(1)
			for range b.N {
				r, _ := st.Pick(s)
				st.Opened(r)
			}
		})
	}
}
