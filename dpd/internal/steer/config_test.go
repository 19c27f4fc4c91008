package steer

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func mapOf(t testing.TB, n int) Map {
	t.Helper()
	m, err := NewMap(n)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func prefixes(s ...string) (out []netip.Prefix) {
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func testConfig(t testing.TB, workers int) *Config {
	return &Config{
		Key: suiteKey, Map: mapOf(t, workers), SyncQueue: uint16(workers), SyncPort: 7400,
		Sips:   []netip.Addr{netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("fd09::1")},
		Laddrs: prefixes("10.1.0.0/24", "10.2.0.1/32", "fd01::/64"),
		VIPs:   prefixes("198.51.100.1/32", "2001:db8:1::1/128"),
	}
}

func TestRulesAreAsWritten(t *testing.T) {
	for _, row := range []struct {
		workers int
		want    string
	}{
		{1, `
			sync p0 udp 10.9.0.1/32 port 0x1ce8/0xffff -> queue 1
			sync p0 udp fd09::1/128 port 0x1ce8/0xffff -> queue 1
			local_port p1 tcp 10.1.0.0/24 -> queue 0
			local_port p1 udp 10.1.0.0/24 -> queue 0
			local_port p1 tcp 10.2.0.1/32 -> queue 0
			local_port p1 udp 10.2.0.1/32 -> queue 0
			local_port p1 tcp fd01::/64 -> queue 0
			local_port p1 udp fd01::/64 -> queue 0
			client_hash p2 tcp 198.51.100.1/32 -> queue 0
			client_hash p2 udp 198.51.100.1/32 -> queue 0
			client_hash p2 tcp 2001:db8:1::1/128 -> queue 0
			client_hash p2 udp 2001:db8:1::1/128 -> queue 0
			catch_all p3 -> queue 0`},
		{2, `
			sync p0 udp 10.9.0.1/32 port 0x1ce8/0xffff -> queue 2
			sync p0 udp fd09::1/128 port 0x1ce8/0xffff -> queue 2
			local_port p1 tcp 10.1.0.0/24 port 0x0000/0x0001 -> queue 0
			local_port p1 tcp 10.1.0.0/24 port 0x0001/0x0001 -> queue 1
			local_port p1 udp 10.1.0.0/24 port 0x0000/0x0001 -> queue 0
			local_port p1 udp 10.1.0.0/24 port 0x0001/0x0001 -> queue 1
			local_port p1 tcp 10.2.0.1/32 port 0x0000/0x0001 -> queue 0
			local_port p1 tcp 10.2.0.1/32 port 0x0001/0x0001 -> queue 1
			local_port p1 udp 10.2.0.1/32 port 0x0000/0x0001 -> queue 0
			local_port p1 udp 10.2.0.1/32 port 0x0001/0x0001 -> queue 1
			local_port p1 tcp fd01::/64 port 0x0000/0x0001 -> queue 0
			local_port p1 tcp fd01::/64 port 0x0001/0x0001 -> queue 1
			local_port p1 udp fd01::/64 port 0x0000/0x0001 -> queue 0
			local_port p1 udp fd01::/64 port 0x0001/0x0001 -> queue 1
			client_hash p2 tcp 198.51.100.1/32 -> rss
			client_hash p2 udp 198.51.100.1/32 -> rss
			client_hash p2 tcp 2001:db8:1::1/128 -> rss
			client_hash p2 udp 2001:db8:1::1/128 -> rss
			catch_all p3 -> queue 0`},
	} {
		t.Run(fmt.Sprintf("%d workers", row.workers), func(t *testing.T) {
			rules, err := Rules(testConfig(t, row.workers))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range rules {
				got = append(got, r.String())
			}
			want := strings.Fields(strings.ReplaceAll(strings.TrimSpace(row.want), " ", "_"))
			for i := range got {
				got[i] = strings.ReplaceAll(got[i], " ", "_")
			}
			if !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// TestRulesDoNotDependOnOrder nor on doubles, nor on prefixes within others.
func TestRulesDoNotDependOnOrder(t *testing.T) {
	c := testConfig(t, 3)
	want, err := Rules(c)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(c.Sips)
	slices.Reverse(c.Laddrs)
	slices.Reverse(c.VIPs)
	c.Sips = append(c.Sips, c.Sips[0])
	c.Laddrs = append(c.Laddrs, prefixes("10.1.0.7/32", "10.1.0.128/25", "10.1.0.0/24")...)
	c.VIPs = append(c.VIPs, c.VIPs[1])
	got, err := Rules(c)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("%d rules, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i].String() != want[i].String() {
			t.Errorf("rule %d: %v, want %v", i, got[i], want[i])
		}
	}
	if c.Laddrs[0] != netip.MustParsePrefix("fd01::/64") {
		t.Error("the configuration was written to")
	}
}

func TestManyVIPsTakeOneRule(t *testing.T) {
	c := testConfig(t, 2)
	for i := range MaxVIPRules {
		c.VIPs = append(c.VIPs, netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 32))
	}
	rules, err := Rules(c)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range rules {
		if r.Purpose == ClientHash {
			got = append(got, r.Dst.String())
		}
	}
	if want := []string{"0.0.0.0/0", "0.0.0.0/0", "2001:db8:1::1/128", "2001:db8:1::1/128"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestValidateRefuses(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*Config)
	}{
		{"a sync queue of a worker", func(c *Config) { c.SyncQueue = 1 }},
		{"no sync port", func(c *Config) { c.SyncPort = 0 }},
		{"no sync address", func(c *Config) { c.Sips[0] = netip.Addr{} }},
		{"a sync address with a zone", func(c *Config) { c.Sips[0] = netip.MustParseAddr("fe80::1%eth0") }},
		{"a 4-in-6 sync address", func(c *Config) { c.Sips[0] = netip.MustParseAddr("::ffff:10.0.0.1") }},
		{"no laddr", func(c *Config) { c.Laddrs[0] = netip.Prefix{} }},
		{"a laddr prefix with host bits", func(c *Config) { c.Laddrs[0] = netip.MustParsePrefix("10.1.0.1/24") }},
		{"a VIP prefix with host bits", func(c *Config) { c.VIPs[0] = netip.MustParsePrefix("10.1.0.1/24") }},
		{"a sync address among the laddrs", func(c *Config) { c.Sips[0] = netip.MustParseAddr("10.1.0.9") }},
		{"a VIP among the laddrs", func(c *Config) { c.VIPs = prefixes("10.1.0.9/32") }},
		{"a laddr that is a VIP", func(c *Config) { c.VIPs = prefixes("10.2.0.1/32") }},
		{"more workers than there may be", func(c *Config) { c.Map[9], c.SyncQueue = MaxWorkers, 100 }},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := testConfig(t, 2)
			row.change(c)
			if rules, err := Rules(c); !errors.Is(err, ErrConfig) || rules != nil {
				t.Errorf("%d rules, %v", len(rules), err)
			}
		})
	}
}
