package query

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	conntrackv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/conntrack/v1"
	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
)

func sample() *conntrackv1.Session {
	return &conntrackv1.Session{
		Protocol: dpdv1.Protocol_PROTOCOL_TCP,
		Client:   &dpdv1.Endpoint{Address: "192.0.2.1", Port: 5000},
		Vip:      &dpdv1.Endpoint{Address: "2001:db8::10", Port: 80},
		Laddr:    &dpdv1.Endpoint{Address: "10.0.7.1", Port: 1025},
		Server:   &dpdv1.Endpoint{Address: "10.0.0.9", Port: 8080},
		State:    dpdv1.SessionState_SESSION_STATE_TCP_ESTABLISHED,
		Owner:    "nodes/lb-a", VirtualService: "virtualServices/web", RealServer: "virtualServices/web/realServers/one",
		Idle: durationpb.New(10 * time.Second),
	}
}

func TestFilterMatches(t *testing.T) {
	for filter, want := range map[string]bool{
		"":                                                true,
		"  ":                                              true,
		"protocol=tcp":                                    true,
		"protocol = PROTOCOL_TCP":                         true,
		"protocol=UDP":                                    false,
		"protocol != udp":                                 true,
		`client.address = "192.0.2.0/24"`:                 true,
		"client.address=192.0.2.1":                        true,
		"client.address=192.0.3.0/24":                     false,
		"client.address != 192.0.2.0/24":                  false,
		"vip.address=2001:db8::10":                        true,
		"vip.address=2001:db8::/32":                       true,
		"vip.address=0.0.0.0/0":                           false,
		"vip.port=80 AND client.port >= 5000":             true,
		"vip.port=80 AND client.port > 5000":              false,
		"client.port>=4000 AND client.port<=5000":         true,
		"laddr.port < 1025":                               false,
		"laddr.address=::ffff:10.0.7.1":                   true,
		"server.port=8080":                                true,
		"state=tcp_established":                           true,
		"state=TCP_FIN_WAIT":                              false,
		"state=TCP_ESTABLISHED AND state=TCP_FIN_WAIT":    false,
		"owner=lb-a":                                      true,
		"owner=nodes/lb-b":                                false,
		"virtual_service=web":                             true,
		"virtual_service!=virtualServices/web":            false,
		"real_server=virtualServices/web/realServers/one": true,
		"idle>=10s":                                       true,
		"idle>10s":                                        false,
		"idle<1m":                                         true,
	} {
		f, err := ParseFilter(filter)
		if err != nil {
			t.Errorf("%q: %v", filter, err)
			continue
		}
		if got := f.Match(sample()); got != want {
			t.Errorf("%q matches: %v", filter, got)
		}
	}
}

func TestFilterRefusals(t *testing.T) {
	for _, filter := range []string{
		"x=1", "protocol", "protocol=", "=tcp", "protocol=xyz", "protocol=unspecified", "protocol<tcp", "state=none",
		"client.port=65536", "client.port=-1", "client.port=http", "client.address=host", "client.address=10.0.0.0/33",
		"client.address=fe80::1%eth0", "vip.address > 10.0.0.1", "idle=soon", "idle>=-1s", "real_server=one",
		"protocol=tcp OR protocol=udp", "protocol=tcp protocol=udp", "protocol=tcp AND", "AND protocol=tcp", "NOT protocol=tcp",
		"(protocol=tcp)", `owner="lb`, "protocol==tcp", "protocol!tcp", "protocol ! = tcp", `"protocol"=tcp`, "owner=*", "client=192.0.2.1",
		"owner.name=lb-a", strings.Repeat("vip.port=80 AND ", 16) + "vip.port=80", strings.Repeat(" ", maxFilterLen+1),
	} {
		if f, err := ParseFilter(filter); err == nil {
			t.Errorf("%q was understood as %+v", filter, f)
		}
	}
}

func TestTuplePartIsPushedDownAndNothingElse(t *testing.T) {
	f, err := ParseFilter("protocol=udp AND client.address=192.0.2.0/24 AND client.port=5 AND vip.port!=80 AND vip.port=81 AND state=TCP_CLOSE AND owner=lb-a AND client.address=192.0.2.7")
	if err != nil {
		t.Fatal(err)
	}
	want := &dpdv1.SessionFilter{Protocols: []dpdv1.Protocol{dpdv1.Protocol_PROTOCOL_UDP}, ClientPrefix: "192.0.2.0/24", ClientPort: 5, VipPort: 81}
	if got := f.Tuple(); !proto.Equal(got, want) {
		t.Errorf("pushed %v", got)
	}
}

func TestExactIsAllOrNothing(t *testing.T) {
	d := cluster(2)
	d.Services[7], d.Servers[9] = "virtualServices/web", "virtualServices/web/realServers/one"
	f, err := ParseFilter("owner=lb-b AND virtual_service=web AND real_server=virtualServices/web/realServers/one AND state=TCP_CLOSE AND idle>=5s AND vip.port=80")
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.Exact(d)
	want := &dpdv1.SessionFilter{OwnerIds: []uint32{2}, ServiceIds: []uint32{7}, ServerIds: []uint32{9},
		States: []dpdv1.SessionState{dpdv1.SessionState_SESSION_STATE_TCP_CLOSE}, MinIdleMs: 5000, VipPort: 80}
	if err != nil || !proto.Equal(got, want) {
		t.Fatalf("%v %v", got, err)
	}
	for _, filter := range []string{
		"owner!=lb-a", "owner=lb-z", "virtual_service=none", "idle<5s", "idle>=2000h", "vip.port>80", "vip.port=0",
		"vip.port=80 AND vip.port=81", "state=TCP_CLOSE AND state=TCP_CLOSE",
	} {
		f, err := ParseFilter(filter)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := f.Exact(d); err == nil {
			t.Errorf("%q became %v", filter, got)
		}
	}
}

// FuzzFilter: what is pushed down never loses a session that the filter matches.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{"", "protocol=tcp AND client.port=5000", "client.address=192.0.2.0/24", `owner="lb-a"`, "idle>=1s", "vip.port=80 AND vip.port!=81"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		flt, err := ParseFilter(s)
		if err != nil {
			return
		}
		x, p := sample(), flt.Tuple()
		if !flt.Match(x) {
			return
		}
		if len(p.Protocols) > 0 && p.Protocols[0] != x.Protocol ||
			p.ClientPort != 0 && p.ClientPort != x.Client.Port || p.VipPort != 0 && p.VipPort != x.Vip.Port {
			t.Fatalf("%q matches but %v does not", s, p)
		}
	})
}

func FuzzNameIsReadBack(f *testing.F) {
	f.Add("sessions/tcp,192.0.2.1,5000,198.51.100.10,80")
	f.Add("sessions/icmpv6,2001:db8::1,1,2001:db8::2,1")
	f.Add("sessions/tcp,,,,")
	f.Fuzz(func(t *testing.T, name string) {
		tuple, err := ParseName(name)
		if err != nil {
			return
		}
		again, err := ParseName(Name(tuple))
		if err != nil || !proto.Equal(again, tuple) {
			t.Fatalf("%q became %v, then %v (%v)", name, tuple, again, err)
		}
	})
}

func TestNameRefusals(t *testing.T) {
	for _, name := range []string{
		"", "sessions/", "tcp,192.0.2.1,1,192.0.2.2,2", "sessions/tcp,192.0.2.1,1,192.0.2.2", "sessions/xxx,192.0.2.1,1,192.0.2.2,2",
		"sessions/unspecified,192.0.2.1,1,192.0.2.2,2", "sessions/TCP,192.0.2.1,1,192.0.2.2,2", "sessions/tcp,192.0.2.1,65536,192.0.2.2,2",
		"sessions/tcp,host,1,192.0.2.2,2", "sessions/tcp,fe80::1%x,1,fe80::2,2", "sessions/tcp,192.0.2.1,1,192.0.2.2,2,3",
	} {
		if got, err := ParseName(name); err == nil {
			t.Errorf("%q was read as %v", name, got)
		}
	}
}
