package mesh

import (
	"strings"
	"testing"

	schedulerv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/scheduler/v1"
)

const goodSeed = `
addressPools:
  laddr4: {purpose: POOL_PURPOSE_LADDR, prefixes: ["10.1.0.0/26"], blockSize: 4}
  sip4:
    purpose: POOL_PURPOSE_SIP
    prefixes: ["10.2.0.0/26"]
virtualServices:
  web:
    vip: 198.51.100.10
    port: 80
    protocol: PROTOCOL_TCP
    realServers:
      two: {address: 192.0.2.2, port: 8080}
      one: {address: 192.0.2.1, port: 8080, weight: 5}
healthChecks:
  web: {virtualService: virtualServices/web, type: CHECK_TYPE_NONE, interval: 3s}
`

func TestSeedIsReadInItsOrder(t *testing.T) {
	s, err := ParseSeed([]byte(goodSeed))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.pools) != 2 || s.pools[0].GetAddressPoolId() != "laddr4" || s.pools[1].GetAddressPool().GetPurpose() != schedulerv1.PoolPurpose_POOL_PURPOSE_SIP {
		t.Errorf("pools %v", s.pools)
	}
	if len(s.services) != 1 || s.services[0].GetVirtualService().GetPort() != 80 {
		t.Errorf("services %v", s.services)
	}
	if len(s.servers) != 2 || s.servers[0].GetRealServerId() != "two" || s.servers[1].GetRealServer().GetWeight() != 5 || s.servers[1].GetParent() != "virtualServices/web" {
		t.Errorf("servers %v", s.servers)
	}
	if len(s.checks) != 1 || s.checks[0].GetHealthCheck().GetInterval().AsDuration().Seconds() != 3 {
		t.Errorf("checks %v", s.checks)
	}
	for _, empty := range []string{"", "# nothing\n", "addressPools:\n"} {
		if s, err := ParseSeed([]byte(empty)); err != nil || len(s.pools) != 0 {
			t.Errorf("%q: %v %v", empty, s, err)
		}
	}
}

func TestEverythingWrongWithASeedIsToldWithItsLine(t *testing.T) {
	_, err := ParseSeed([]byte(`addressPools:
  a: {purpose: POOL_PURPOSE_LADDR, prefixs: []}
  b: {purpose: NONSENSE}
  b: {}
pools: {}
virtualServices:
  web: {port: many, realServers: {one: {addr: 192.0.2.1}}}
  x: 7
healthChecks: [1]
`))
	if err == nil {
		t.Fatal("understood")
	}
	for _, line := range []string{"line 2: ", "line 3: ", "line 4: ", "line 5: ", "line 7: ", "line 8: ", "line 9: "} {
		if !strings.Contains(err.Error(), line) {
			t.Errorf("nothing of %q in\n%v", line, err)
		}
	}
	if _, err := ParseSeed([]byte("a: [")); err == nil {
		t.Error("broken YAML was understood")
	}
}

// FuzzSeed: what is read has as many resources as it names, whatever the text.
func FuzzSeed(f *testing.F) {
	f.Add(goodSeed)
	f.Add("virtualServices: {web: {realServers: {a: {}}}}")
	f.Add("healthChecks: {x: &a {}, y: *a}")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSeed([]byte(text))
		if err != nil {
			return
		}
		for _, r := range s.servers {
			if r.GetRealServer() == nil || !strings.HasPrefix(r.GetParent(), "virtualServices/") {
				t.Fatalf("%v", r)
			}
		}
	})
}

func TestFirstAdmin(t *testing.T) {
	for lines, want := range map[string]string{
		"":                              "",
		"# admin a tokentoken\n":        "",
		"viewer v t1\nadmin a t2 # x\n": "t2",
		"admin a\nadmin b t3":           "t3",
	} {
		if got := firstAdmin(lines); got != want {
			t.Errorf("%q: %q", lines, got)
		}
	}
}
