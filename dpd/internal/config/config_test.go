package config

import (
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite REFERENCE.md")

func TestLoad(t *testing.T) {
	c, err := Load("testdata/lab.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if c.Node.Name != "lb1" || c.Workers != 2 || c.Poll != PollAdaptive || c.Sync.FaultLossPercent != 2.5 {
		t.Errorf("values of the file are lost: %+v", c)
	}
	if c.Timeouts.UDP != 60 || c.Timeouts.TCPEstablished != 3600 || c.Sync.Port != 7946 || !c.Sync.Enabled {
		t.Errorf("a section that is given in part loses its defaults: %+v %+v", c.Timeouts, c.Sync)
	}
	p := c.Ports[0]
	if p.MTU != 1500 || p.RxDesc != 1024 || p.Addresses[1] != netip.MustParsePrefix("2001:db8:2::11/64") {
		t.Errorf("port: %+v", p)
	}
	v4, v6 := c.NextHops()
	if v4 != netip.MustParseAddr("192.0.2.11") || v6 != netip.MustParseAddr("2001:db8:2::11") || c.RouterID() != v4 {
		t.Errorf("next hops %v %v, router id %v", v4, v6, c.RouterID())
	}
	c.BGP.NextHopV6, c.BGP.RouterID = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1")
	if _, v6 = c.NextHops(); v6 != c.BGP.NextHopV6 || c.RouterID() != c.BGP.RouterID {
		t.Error("configured next hop or router id is not used")
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestLoadStatic(t *testing.T) {
	c, err := Load("testdata/static.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s := c.Static.Services[0]
	if s.Algorithm != AlgorithmRR || s.Protocol != ProtocolTCP || s.Servers[0].Weight != 1 || s.Servers[1].Weight != 0 {
		t.Errorf("service: %+v", s)
	}
}

// base is a valid file; rows below break one thing each.
const base = `node: {name: lb1, data_dir: /d}
eal: {cores: [0], vdevs: [net_null0]}
announce: none
static: {node_id: 1}
sync: {enabled: false}
ports: [{name: up, device: net_null0, addresses: [192.0.2.11/24]}]
`

func TestProblems(t *testing.T) {
	if _, err := Parse("f", []byte(base)); err != nil {
		t.Fatalf("the base of this test is not valid: %v", err)
	}
	replace := func(old, new string) string {
		if !strings.Contains(base, old) {
			panic(old)
		}
		return strings.Replace(base, old, new, 1)
	}
	for name, row := range map[string]struct{ file, want string }{
		"an empty file":               {"", "f:1: node.name: is required"},
		"no YAML at all":              {"a: b: c", "f:1: not YAML: mapping values are not allowed in this context"},
		"a tab as indent":             {"node:\n\tname: x", "f:2: not YAML: found character that cannot start any token"},
		"a second document":           {base + "---\nnode: {}\n", "f:7: a second document; one is expected"},
		"a list at the top":           {"- 1\n", "f:1: keys are expected here, not a list"},
		"an unknown key":              {base + "colour: red\n", "f:7: colour: unknown key"},
		"a key in camel case":         {replace("data_dir", "dataDir"), `f:1: node.dataDir: unknown key; "data_dir" perhaps`},
		"a key given twice":           {base + "workers: 1\nworkers: 2\n", "f:8: workers: given twice; first in line 7"},
		"an alias":                    {replace("name: lb1", "name: &n lb1") + "log: {level: *n}\n", "f:7: log.level: aliases are not read; write the value out"},
		"a word for a number":         {base + "workers: many\n", `f:7: workers: "many" is no whole number`},
		"a fraction for a number":     {base + "workers: 1.5\n", `f:7: workers: "1.5" is no whole number`},
		"a number too large":          {base + "workers: 65\n", "f:7: workers: 65 is not between 1 and 64"},
		"a number beyond 64 bits":     {base + "workers: 99999999999999999999\n", `f:7: workers: "99999999999999999999" is no whole number`},
		"a number below zero":         {base + "workers: -1\n", "f:7: workers: -1 is not between 1 and 64"},
		"keys for a number":           {base + "workers: {n: 1}\n", "f:7: workers: a single value is expected here, not keys"},
		"a word for a switch":         {replace("enabled: false", "enabled: maybe"), `f:5: sync.enabled: "maybe" is neither true nor false`},
		"a loss above all":            {replace("enabled: false", "enabled: false, fault_loss_percent: 101"), "f:5: sync.fault_loss_percent: 101 is not between 0 and 100"},
		"a loss that is no number":    {replace("enabled: false", "enabled: false, fault_loss_percent: .nan"), `f:5: sync.fault_loss_percent: ".nan" is no number`},
		"an unknown poll policy":      {base + "poll: lazy\n", `f:7: poll: "lazy" is none of busy, adaptive`},
		"an unknown log level":        {base + "log: {level: all}\n", `f:7: log.level: "all" is none of debug, info, warn, error`},
		"a name with a slash":         {replace("lb1", "../x"), `f:1: node.name: "../x" is not a name of at most 63 letters, digits, '-', '_', '.'`},
		"an address without length":   {replace("192.0.2.11/24", "192.0.2.11"), `f:6: ports[0].addresses[0]: "192.0.2.11" is not address/length`},
		"a network as address":        {replace("192.0.2.11/24", "192.0.2.0/24"), "f:6: ports[0].addresses[0]: 192.0.2.0/24 is the address of the network itself"},
		"a loopback address":          {replace("192.0.2.11/24", "127.0.0.1/8"), "f:6: ports[0].addresses[0]: 127.0.0.1 is no address of a host"},
		"an address twice":            {replace("192.0.2.11/24", "192.0.2.11/24, 192.0.2.11/25"), "f:6: ports[0].addresses[1]: 192.0.2.11 is given twice"},
		"a port without device":       {replace("device: net_null0, ", ""), "f:6: ports[0].device: is required"},
		"a device that is not made":   {replace("device: net_null0", "device: net_null1"), `f:6: ports[0].device: "net_null1" is neither in eal.vdevs nor in eal.pci`},
		"no ports":                    {replace("ports: [{name: up, device: net_null0, addresses: [192.0.2.11/24]}]", ""), "f:1: ports: needs at least 1"},
		"ports as keys":               {replace("ports: [{name: up, device: net_null0, addresses: [192.0.2.11/24]}]", "ports: {a: 1}"), "f:6: ports: a list is expected here, not keys"},
		"a small MTU":                 {replace("name: up", "name: up, mtu: 576"), "f:6: ports[0].mtu: 576 is not between 1280 and 9216"},
		"a route off the networks":    {replace("name: up", "name: up, routes: [{to: 0.0.0.0/0, via: 198.51.100.1}]"), "f:6: ports[0].routes[0].via: 198.51.100.1 is in none of the port's networks"},
		"a route via itself":          {replace("name: up", "name: up, routes: [{to: 0.0.0.0/0, via: 192.0.2.11}]"), "f:6: ports[0].routes[0].via: 192.0.2.11 is in none of the port's networks"},
		"a route of two families":     {replace("name: up", "name: up, routes: [{to: '::/0', via: 192.0.2.1}]"), "f:6: ports[0].routes[0].via: 192.0.2.1 is not of the family of ::/0"},
		"a route with host bits":      {replace("name: up", "name: up, routes: [{to: 10.1.2.3/8, via: 192.0.2.1}]"), "f:6: ports[0].routes[0].to: 10.1.2.3/8 has bits beyond its length; 10.0.0.0/8 perhaps"},
		"a core twice":                {replace("cores: [0]", "cores: [0, 0]"), "f:2: eal.cores[1]: 0 is given twice"},
		"a core below zero":           {replace("cores: [0]", "cores: [-1]"), "f:2: eal.cores[0]: -1 is not between 0 and 1023"},
		"no core":                     {replace("cores: [0]", "cores: []"), "f:2: eal.cores: needs at least 1"},
		"no huge pages, no memory":    {replace("cores: [0]", "cores: [0], no_huge: true"), "f:2: eal.memory_mb: is required with eal.no_huge"},
		"a bad PCI address":           {replace("cores: [0]", "cores: [0], pci: [eth0]"), `f:2: eal.pci[0]: "eth0" is not a PCI address such as 0000:03:00.0`},
		"bgp without peers":           {replace("announce: none", "announce: bgp"), "f:1: bgp.asn: is required with announce: bgp"},
		"an IPv6 router id":           {base + "bgp: {router_id: '2001:db8::1'}\n", "f:7: bgp.router_id: 2001:db8::1 is no IPv4 address"},
		"half a certificate":          {base + "control: {tls: {cert: a.pem}}\n", "f:7: control.tls: cert, key and ca belong together; 1 of 3 are given"},
		"static and a coordinator":    {base + "control: {listen: '192.0.2.1:1', coordinators: ['h:1']}\n", "f:4: static: is not possible together with control.coordinators"},
		"neither of them":             {replace("static: {node_id: 1}", ""), "f:1: control.coordinators: either a coordinator or static is required"},
		"a coordinator without port":  {base + "control: {coordinators: [h]}\n", `f:7: control.coordinators[0]: "h" is not host:port`},
		"a bus of another scheme":     {base + "nats: {url: 'http://x'}\n", `f:7: nats.url: "http://x" begins neither with nats:// nor with tls://`},
		"sync without an address":     {replace("sync: {enabled: false}", "sync: {enabled: true}"), "f:4: static.sync_v4: sync_v4 or sync_v6 is required with sync.enabled"},
		"a key file":                  {replace("enabled: false", "enabled: false, key_file: k"), "f:5: sync.key_file: unknown key"},
		"peers without a coordinator": {replace("{node_id: 1}", "{node_id: 1,\n  peers: [{node_id: 2, sync_v4: 192.0.2.9}]}"), "f:5: static.peers: is not supported by this version: other members need a coordinator"},
		"a block of a stranger":       {replace("{node_id: 1}", "{node_id: 1, laddr_blocks: [{id: 1, addresses: [192.0.2.9], holder: 3}]}"), "f:4: static.laddr_blocks[0].holder: 3 is no member"},
		"a server of another family":  {replace("{node_id: 1}", "{node_id: 1, services: [{id: 1, name: w, vip: 192.0.2.9, port: 1, servers: [{id: 1, address: '2001:db8::1', port: 1}]}]}"), "f:4: static.services[0].servers[0].address: 2001:db8::1 is not of the family of 192.0.2.9"},
		"two services on one address": {replace("{node_id: 1}", "{node_id: 1, services: [{id: 1, name: v, vip: 192.0.2.9, port: 1}, {id: 2, name: w, vip: 192.0.2.9, port: 1}]}"), `f:4: static.services[1].vip: 192.0.2.9 port 1/tcp is already that of service "v"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("f", []byte(row.file))
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("accepted, or another error: %v", err)
			}
			if !strings.Contains("\n"+err.Error()+"\n", "\n"+row.want+"\n") {
				t.Errorf("got\n%v\nwant the line\n%s", err, row.want)
			}
		})
	}
}

func TestAllProblemsAtOnceInOrder(t *testing.T) {
	file := "node:\n  nam: x\nworkers: 0\neal:\n  cores: a\n  hugepages: 1\nports:\n- name: p\n  device: d\n  addresses: [1.2.3.4/33]\n  mtu: 1\npoll: x\n"
	_, err := Parse("f", []byte(file))
	want := []string{
		`f:1: node.name: is required`, `f:1: node.data_dir: is required`, `f:1: control.coordinators: either a coordinator or static is required`,
		`f:1: bgp.asn: is required with announce: bgp`, `f:1: bgp.peers: needs at least 1 with announce: bgp`, `f:1: bgp.router_id: is required when the first port has no IPv4 address`,
		`f:2: node.nam: unknown key; "name" perhaps`,
		`f:3: workers: 0 is not between 1 and 64`, `f:5: eal.cores: a list is expected here, not a single value`, `f:6: eal.hugepages: unknown key`,
		`f:9: ports[0].device: "d" is neither in eal.vdevs nor in eal.pci`, `f:10: ports[0].addresses[0]: "1.2.3.4/33" is not address/length`,
		`f:11: ports[0].mtu: 1 is not between 1280 and 9216`, `f:12: poll: "x" is none of busy, adaptive`,
	}
	got := strings.Split(err.Error(), "\n")
	for _, w := range want {
		found := false
		for _, g := range got {
			found = found || g == w
		}
		if !found {
			t.Errorf("missing: %s", w)
		}
	}
	if t.Failed() || len(got) != len(want) {
		t.Errorf("got %d problems, want %d:\n%v", len(got), len(want), err)
	}
}

func TestLoadRefusesWhatIsNoFile(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	big := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(big, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(big); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

func TestReferenceIsCurrent(t *testing.T) {
	if *update {
		if err := os.WriteFile("REFERENCE.md", []byte(Reference()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("REFERENCE.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != Reference() {
		t.Error("REFERENCE.md is not what the tags say; go generate ./dpd/internal/config")
	}
}

// The property: any bytes give either a Config that Validate accepts, or an *Error with at least one problem whose line
// lies in the file.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"testdata/lab.yaml", "testdata/static.yaml"} {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(base))
	f.Add([]byte("ports: [[[[{"))
	f.Add([]byte("? {a: b}\n: c\n"))
	f.Add([]byte("node: !!binary x\nworkers: !!int 'a'\nstatic: null\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("", data)
		if err == nil {
			if err := c.Validate(); err != nil {
				t.Fatalf("accepted by Parse, refused by Validate: %v", err)
			}
			return
		}
		var e *Error
		if !errors.As(err, &e) || len(e.Problems) == 0 {
			t.Fatalf("no *Error: %v", err)
		}
		lines := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + 2
		for _, p := range e.Problems {
			if p.Line > lines {
				t.Fatalf("line %d of %d: %s", p.Line, lines, p.Reason)
			}
		}
	})
}
