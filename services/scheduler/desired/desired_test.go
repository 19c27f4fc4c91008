package desired

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-lb/holdfast/services/kit/apierr"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(seq uint64) At { return At{Seq: seq, Now: epoch.Add(time.Duration(seq) * time.Second)} }

func web() ServiceSpec {
	return ServiceSpec{Endpoint: Endpoint{netip.MustParseAddr("198.51.100.10"), 80, TCP}, Mode: FullNAT, Algorithm: RR}
}

func backend(n int) ServerSpec {
	return ServerSpec{Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}), Port: 8080, Weight: 1, Admin: Enabled}
}

func prefixes(s ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(s))
	for i := range s {
		out[i] = netip.MustParsePrefix(s[i])
	}
	return out
}

// must applies a change that has to be right.
func must(t *testing.T, s *State) func(Change, error) Change {
	return func(c Change, err error) Change {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		s.Apply(c)
		return c
	}
}

// seeded has service web with servers a and b, and pool laddr.
func seeded(t *testing.T) *State {
	t.Helper()
	s := New()
	do := must(t, s)
	do(s.CreateService(at(1), "web", "r1", web()))
	do(s.CreateServer(at(2), "web", "b", "r2", backend(2)))
	do(s.CreateServer(at(3), "web", "a", "", backend(1)))
	do(s.CreatePool(at(4), "laddr", "r4", PoolSpec{Purpose: Laddr, Prefixes: prefixes("203.0.113.0/28", "203.0.113.64/28")}))
	return s
}

func dump(t *testing.T, s *State) string {
	t.Helper()
	b, err := json.Marshal(struct {
		S []*Service
		P []*Pool
		E int
	}{s.Services(), s.Pools(), len(s.endpoints)})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRefusalsNameTheirReasonAndChangeNothing(t *testing.T) {
	mod := func(f func(*ServiceSpec)) ServiceSpec { x := web(); x.Port = 81; f(&x); return x }
	srv := func(f func(*ServerSpec)) ServerSpec { x := backend(9); f(&x); return x }
	for _, tc := range []struct {
		name   string
		do     func(s *State) (Change, error)
		reason apierr.Reason
		fields []string
	}{
		{"same VIP, port and protocol", func(s *State) (Change, error) { return s.CreateService(at(9), "other", "", web()) }, apierr.VIPOverlap, nil},
		{"duplicate service", func(s *State) (Change, error) {
			return s.CreateService(at(9), "web", "", mod(func(*ServiceSpec) {}))
		}, apierr.DuplicateName, nil},
		{"duplicate service under another request", func(s *State) (Change, error) {
			return s.CreateService(at(9), "web", "r9", mod(func(*ServiceSpec) {}))
		}, apierr.DuplicateName, nil},
		{"VIP of a pool", func(s *State) (Change, error) {
			return s.CreateService(at(9), "x", "", mod(func(x *ServiceSpec) { x.VIP = netip.MustParseAddr("203.0.113.15") }))
		}, apierr.AddressIsVIP, nil},
		{"everything wrong at once", func(s *State) (Change, error) {
			return s.CreateService(at(9), "-", strings.Repeat("r", 65), ServiceSpec{Timeouts: Timeouts{UDP: maxTimeout + 1, TCPClose: maxTimeout + 1}})
		}, apierr.BadRequest, []string{"virtual_service_id", "request_id", "virtual_service.vip", "virtual_service.port", "virtual_service.protocol", "virtual_service.mode", "virtual_service.algorithm", "virtual_service.timeouts.tcp_close", "virtual_service.timeouts.udp"}},
		{"resets over UDP", func(s *State) (Change, error) {
			return s.CreateService(at(9), "x", "", mod(func(x *ServiceSpec) { x.Protocol, x.Port, x.Expire = UDP, 83, RST }))
		}, apierr.BadRequest, []string{"virtual_service.expire"}},
		{"an unknown way to expire", func(s *State) (Change, error) {
			return s.CreateService(at(9), "x", "", mod(func(x *ServiceSpec) { x.Port, x.Expire = 83, "loudly" }))
		}, apierr.BadRequest, []string{"virtual_service.expire"}},
		{"unknown service", func(s *State) (Change, error) { return s.UpdateService(at(9), "none", "", web()) }, apierr.VirtualServiceNotFound, nil},
		{"stale etag", func(s *State) (Change, error) { return s.UpdateService(at(9), "web", "v0", web()) }, apierr.ETagMismatch, nil},
		{"endpoint changes", func(s *State) (Change, error) {
			x := web()
			x.Port, x.VIP, x.Protocol = 81, netip.MustParseAddr("198.51.100.11"), UDP
			return s.UpdateService(at(9), "web", "", x)
		}, apierr.BadRequest, []string{"virtual_service.vip", "virtual_service.port", "virtual_service.protocol"}},
		{"delete with servers", func(s *State) (Change, error) { return s.DeleteService("web", "", false) }, apierr.NotEmpty, nil},
		{"delete of an unknown service", func(s *State) (Change, error) { return s.DeleteService("none", "", true) }, apierr.VirtualServiceNotFound, nil},
		{"delete with a stale etag", func(s *State) (Change, error) { return s.DeleteService("web", "v0", true) }, apierr.ETagMismatch, nil},
		{"server of an unknown service", func(s *State) (Change, error) { return s.CreateServer(at(9), "none", "c", "", backend(3)) }, apierr.VirtualServiceNotFound, nil},
		{"duplicate server", func(s *State) (Change, error) { return s.CreateServer(at(9), "web", "a", "", backend(3)) }, apierr.DuplicateName, nil},
		{"same address and port", func(s *State) (Change, error) { return s.CreateServer(at(9), "web", "c", "", backend(1)) }, apierr.ServerOverlap, nil},
		{"server of another family", func(s *State) (Change, error) {
			return s.CreateServer(at(9), "web", "c", "", srv(func(x *ServerSpec) { x.Address = netip.MustParseAddr("2001:db8::1") }))
		}, apierr.BadRequest, []string{"real_server.address"}},
		{"bad server", func(s *State) (Change, error) { return s.CreateServer(at(9), "web", "C", "", ServerSpec{}) }, apierr.BadRequest, []string{"real_server_id", "real_server.address", "real_server.port", "real_server.admin_state"}},
		{"unknown server", func(s *State) (Change, error) { return s.UpdateServer(at(9), "web", "none", "", backend(1)) }, apierr.RealServerNotFound, nil},
		{"stale server etag", func(s *State) (Change, error) { return s.UpdateServer(at(9), "web", "a", "v0", backend(1)) }, apierr.ETagMismatch, nil},
		{"server moves", func(s *State) (Change, error) { return s.UpdateServer(at(9), "web", "a", "", backend(7)) }, apierr.BadRequest, []string{"real_server.address"}},
		{"delete of an unknown server", func(s *State) (Change, error) { return s.DeleteServer("web", "none", "") }, apierr.RealServerNotFound, nil},
		{"address in two pools", func(s *State) (Change, error) {
			return s.CreatePool(at(9), "other", "", PoolSpec{Purpose: SIP, Prefixes: prefixes("203.0.113.8/32")})
		}, apierr.PoolOverlap, nil},
		{"pool over a VIP", func(s *State) (Change, error) {
			return s.CreatePool(at(9), "other", "", PoolSpec{Purpose: SIP, Prefixes: prefixes("198.51.100.0/24")})
		}, apierr.AddressIsVIP, nil},
		{"duplicate pool", func(s *State) (Change, error) {
			return s.CreatePool(at(9), "laddr", "", PoolSpec{Purpose: SIP, Prefixes: prefixes("192.0.2.0/30")})
		}, apierr.DuplicateName, nil},
		{"bad pool", func(s *State) (Change, error) {
			return s.CreatePool(at(9), "", "", PoolSpec{BlockSize: 257, Prefixes: append(prefixes("192.0.2.1/24", "192.0.2.0/30", "2001:db8::/64"), netip.Prefix{})})
		}, apierr.BadRequest, []string{"address_pool_id", "address_pool.purpose", "address_pool.block_size", "address_pool.prefixes[0]", "address_pool.prefixes[1]", "address_pool.prefixes[2]", "address_pool.prefixes[3]", "address_pool.prefixes"}},
		{"empty pool", func(s *State) (Change, error) {
			return s.CreatePool(at(9), "x", "", PoolSpec{Purpose: SIP, BlockSize: 1})
		}, apierr.BadRequest, []string{"address_pool.block_size", "address_pool.prefixes"}},
		{"pool shrinks by more than half", func(s *State) (Change, error) {
			return s.UpdatePool(at(9), "laddr", "", false, PoolSpec{Purpose: Laddr, Prefixes: prefixes("203.0.113.0/29", "203.0.113.8/30")})
		}, apierr.ShrinksByHalf, nil},
		{"pool changes its purpose", func(s *State) (Change, error) {
			return s.UpdatePool(at(9), "laddr", "", false, PoolSpec{Purpose: SIP, Prefixes: prefixes("203.0.113.0/28")})
		}, apierr.BadRequest, []string{"address_pool.purpose"}},
		{"delete of a pool without force", func(s *State) (Change, error) { return s.DeletePool("laddr", "", false) }, apierr.ShrinksByHalf, nil},
		{"unknown pool", func(s *State) (Change, error) { return s.DeletePool("none", "", true) }, apierr.AddressPoolNotFound, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := seeded(t)
			before := dump(t, s)
			_, err := tc.do(s)
			if !apierr.Is(err, tc.reason) {
				t.Fatalf("got %v (%s), want %s", err, apierr.ReasonOf(err), tc.reason.Name)
			}
			if f := apierr.Fields(err); !slices.Equal(f, tc.fields) {
				t.Errorf("fields %q, want %q", f, tc.fields)
			}
			if dump(t, s) != before {
				t.Error("the state changed")
			}
		})
	}
}

func TestAddressesThatNoOneCanUseAreRefused(t *testing.T) {
	for _, a := range []string{"0.0.0.0", "127.0.0.1", "224.0.0.1", "169.254.0.1", "255.255.255.255", "::", "::1", "ff02::1", "fe80::1", "fe80::1%eth0", "2001:db8::1%1", "::ffff:192.0.2.1"} {
		spec := web()
		spec.VIP = netip.MustParseAddr(a)
		if _, err := New().CreateService(at(1), "x", "", spec); !apierr.Is(err, apierr.BadRequest) {
			t.Errorf("%s gave %v", a, err)
		}
	}
}

func TestRepeatedRequestAnswersTheFirstResult(t *testing.T) {
	s := seeded(t)
	for name, do := range map[string]func() (Change, error){
		"service": func() (Change, error) { return s.CreateService(at(9), "web", "r1", web()) },
		"server":  func() (Change, error) { return s.CreateServer(at(9), "web", "b", "r2", backend(2)) },
		"pool": func() (Change, error) {
			return s.CreatePool(at(9), "laddr", "r4", PoolSpec{Purpose: Laddr, Prefixes: prefixes("203.0.113.0/28")})
		},
	} {
		if c, err := do(); err != nil || !c.Nothing {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

func TestUpdateMovesTheETagOfWhatChangedAlone(t *testing.T) {
	s := seeded(t)
	do := must(t, s)
	svc, a, err := s.FindServer("web", "a")
	if err != nil {
		t.Fatal(err)
	}
	spec := a.Spec
	spec.Weight = 7
	do(s.UpdateServer(at(10), "web", "a", a.Meta.ETag(), spec))
	now, a2, _ := s.FindServer("web", "a")
	if a2.Spec.Weight != 7 || a2.Meta.Version != 10 || a2.Meta.UID != 3 || !a2.Meta.Updated.Equal(at(10).Now) {
		t.Errorf("server %+v", a2)
	}
	if now.Meta != svc.Meta {
		t.Errorf("the service's meta moved: %+v", now.Meta)
	}
	if c := do(s.UpdateServer(at(11), "web", "a", "", spec)); !c.Nothing {
		t.Error("an equal spec is a change")
	}
	if _, err := s.UpdateServer(at(12), "web", "a", a.Meta.ETag(), spec); !apierr.Is(err, apierr.ETagMismatch) {
		t.Errorf("the old etag gave %v", err)
	}
	if x, _ := svc.Server("a"); x.Spec.Weight != 1 {
		t.Error("the old record changed in place")
	}
}

func TestVerdictsMarkServersAndLeaveETags(t *testing.T) {
	s := seeded(t)
	do := must(t, s)
	down := func(server string, n int) Verdict {
		b := backend(n)
		return Verdict{"web", server, b.Address, b.Port, Down}
	}
	c := s.Judge("web", []Verdict{down("a", 1), down("b", 9), down("none", 1), {Service: "other", Server: "b"}})
	do(c, nil)
	svc, a, _ := s.FindServer("web", "a")
	b, _ := svc.Server("b")
	if a.Health != Down || b.Health != Unknown || a.Meta.Version != 3 {
		t.Errorf("a %+v, b %+v", a, b)
	}
	if c := s.Judge("web", []Verdict{down("a", 1)}); !c.Nothing {
		t.Error("the same verdict again is a change")
	}
	if c := s.Judge("none", []Verdict{down("a", 1)}); !c.Nothing {
		t.Error("a verdict on an unknown service is a change")
	}
	do(s.Judge("web", []Verdict{{Service: "web", Server: "a"}}), nil)
	if _, x, _ := s.FindServer("web", "a"); x.Health != Unknown {
		t.Error("a verdict can't be taken back")
	}
	do(s.Judge("web", []Verdict{down("a", 1)}), nil)
	spec := a.Spec
	spec.Weight = 2
	do(s.UpdateServer(at(9), "web", "a", a.Meta.ETag(), spec))
	if _, a, _ := s.FindServer("web", "a"); a.Health != Down {
		t.Error("an update forgot the verdict")
	}
}

func TestPoolMayShrinkToHalfAndByForceToAnything(t *testing.T) {
	s := seeded(t)
	do := must(t, s)
	do(s.UpdatePool(at(9), "laddr", "", false, PoolSpec{Purpose: Laddr, Prefixes: prefixes("203.0.113.0/28")}))
	do(s.UpdatePool(at(10), "laddr", "", true, PoolSpec{Purpose: Laddr, Prefixes: prefixes("203.0.113.0/32")}))
	do(s.DeletePool("laddr", "", true))
	do(s.CreateService(at(11), "x", "", ServiceSpec{Endpoint: Endpoint{netip.MustParseAddr("203.0.113.1"), 1, UDP}, Mode: FullNAT, Algorithm: WLC}))
}

// TestRandomOperationsKeepTheInvariants drives the state with random operations beside a model that is a flat list of
// endpoints and servers.
func TestRandomOperationsKeepTheInvariants(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := New()
		endpoints := map[string]Endpoint{}
		servers := map[string]ServerSpec{}
		uids := map[uint32]bool{}
		for seq := uint64(1); seq < 400; seq++ {
			id, sid := fmt.Sprintf("s%d", r.IntN(5)), fmt.Sprintf("r%d", r.IntN(5))
			key := id + "/" + sid
			spec := web()
			spec.Port = uint16(1 + r.IntN(5))
			b := backend(1 + r.IntN(5))
			var c Change
			var err error
			var want bool
			switch r.IntN(4) {
			case 0:
				_, dup := endpoints[id]
				taken := false
				for _, e := range endpoints {
					taken = taken || e == spec.Endpoint
				}
				want = !dup && !taken
				if c, err = s.CreateService(at(seq), id, "", spec); want {
					endpoints[id] = spec.Endpoint
				}
			case 1:
				_, want = endpoints[id]
				_, dup := servers[key]
				want = want && !dup
				for k, o := range servers {
					want = want && (!strings.HasPrefix(k, id+"/") || o.Address != b.Address)
				}
				if c, err = s.CreateServer(at(seq), id, sid, "", b); want {
					servers[key] = b
				}
			case 2:
				_, want = servers[key]
				c, err = s.DeleteServer(id, sid, "")
				delete(servers, key)
			case 3:
				force := r.IntN(2) == 0
				_, want = endpoints[id]
				for k := range servers {
					want = want && (force || !strings.HasPrefix(k, id+"/"))
				}
				if c, err = s.DeleteService(id, "", force); want {
					delete(endpoints, id)
					for k := range servers {
						if strings.HasPrefix(k, id+"/") {
							delete(servers, k)
						}
					}
				}
			}
			if (err == nil) != want {
				t.Fatalf("seed %d, step %d: %v, the model says %v", seed, seq, err, want)
			}
			if err != nil {
				continue
			}
			s.Apply(c)
			if c.Service != nil {
				for _, m := range append([]Meta{c.Service.Meta}, metas(c.Service.Servers)...) {
					if m.UID == uint32(seq) && uids[m.UID] {
						t.Fatalf("seed %d, step %d: uid %d again", seed, seq, m.UID)
					}
					uids[m.UID] = true
				}
				if !slices.IsSortedFunc(c.Service.Servers, func(a, b Server) int { return strings.Compare(a.ID, b.ID) }) {
					t.Fatalf("seed %d, step %d: servers out of order", seed, seq)
				}
			}
			n := 0
			for _, x := range s.Services() {
				n += len(x.Servers)
			}
			if len(s.Services()) != len(endpoints) || len(s.endpoints) != len(endpoints) || n != len(servers) {
				t.Fatalf("seed %d, step %d: %d services and %d servers, the model has %d and %d", seed, seq, len(s.Services()), n, len(endpoints), len(servers))
			}
		}
	}
}

func metas(x []Server) []Meta {
	out := make([]Meta, len(x))
	for i := range x {
		out[i] = x[i].Meta
	}
	return out
}
