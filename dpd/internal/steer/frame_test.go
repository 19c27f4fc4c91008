package steer_test

import (
	"net/netip"
	"testing"

	. "github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/steer"
)

// TestFramesOfOneFlowMeet steers whole frames of a FullNAT flow: what the client and the server send, and the ICMP errors
// that routers on either side send about what we sent.
func TestFramesOfOneFlowMeet(t *testing.T) {
	m, err := steer.NewMap(3)
	if err != nil {
		t.Fatal(err)
	}
	c := steer.Config{
		Key: steer.Key{1, 2, 3, 4, 5, 6, 7, 8, 9}, Map: m, SyncQueue: 3, SyncPort: 7400,
		Sips:   []netip.Addr{Addr("10.9.0.1"), Addr("fd09::1")},
		Laddrs: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24"), netip.MustParsePrefix("fd01::/64")},
		VIPs:   []netip.Prefix{netip.MustParsePrefix("198.51.100.1/32"), netip.MustParsePrefix("2001:db8:1::1/128")},
	}
	rules, err := steer.Rules(&c)
	if err != nil {
		t.Fatal(err)
	}
	in, err := steer.NewInterpreter(steer.NewHasher(c.Key), rules)
	if err != nil {
		t.Fatal(err)
	}
	verdict := func(f *Frame) steer.Verdict {
		t.Helper()
		var info packet.Info
		if why := packet.Parse(f.Bytes(), &info); why != packet.OK {
			t.Fatal(why)
		}
		return in.Steer(&info)
	}
	for _, flow := range []struct {
		name                       string
		client, vip, laddr, server string // laddr without port
		router                     string
		unreachable, code          uint8
	}{
		{"IPv4", "192.0.2.7:40000", "198.51.100.1:80", "10.1.0.9", "10.3.0.1:8080", "192.0.2.254", 3, 4},
		{"IPv6", "[2001:db8::7]:40000", "[2001:db8:1::1]:80", "fd01::9", "[fd03::1]:8080", "2001:db8::fe", 2, 0},
	} {
		t.Run(flow.name, func(t *testing.T) {
			for n := range uint16(200) {
				client := netip.AddrPortFrom(AP(flow.client).Addr(), AP(flow.client).Port()+n)
				vip, server := AP(flow.vip), AP(flow.server)
				syn := TCP(client, vip)
				var info packet.Info
				if why := packet.Parse(syn.Bytes(), &info); why != packet.OK {
					t.Fatal(why)
				}
				local := netip.AddrPortFrom(Addr(flow.laddr), 0x8000|uint16(in.Bucket(info.Addr, info.Meta)))
				want := in.Steer(&info)
				if want.Kind != steer.ToWorker {
					t.Fatalf("%+v", want)
				}
				for what, f := range map[string]*Frame{
					"the server's packet": TCP(server, local),
					"an error about what went to the client": ICMPError(Addr(flow.router), flow.unreachable, flow.code, 1400,
						TCP(vip, client).Bytes(), 1000),
					"an error about what went to the server": ICMPError(Addr(flow.router), flow.unreachable, flow.code, 1400,
						TCP(local, server).Bytes(), 1000),
				} {
					if got := verdict(f); got != want {
						t.Fatalf("%s: %+v, want %+v", what, got, want)
					}
				}
			}
		})
	}
	for _, row := range []struct {
		name  string
		frame *Frame
		want  steer.Kind
	}{
		{"sync", UDP(AP("10.9.0.2:7400"), AP("10.9.0.1:7400")), steer.ToSync},
		{"sync over IPv6 with a VLAN tag", UDP(AP("[fd09::2]:7400"), AP("[fd09::1]:7400")).VLAN(7), steer.ToSync},
		{"an error about our sync datagram", ICMPError(Addr("10.9.0.254"), 3, 4, 1400,
			UDP(AP("10.9.0.1:7400"), AP("10.9.0.2:7400")).Bytes(), 1000), steer.ToHost},
		{"an echo request to the sync address", Echo(Addr("10.9.0.2"), Addr("10.9.0.1"), 1, 1), steer.ToHost},
		{"UDP to somebody else", UDP(AP("10.9.0.2:7400"), AP("10.9.0.3:7400")), steer.ToHost},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := verdict(row.frame); got.Kind != row.want {
				t.Errorf("got %+v, want kind %d", got, row.want)
			}
		})
	}
}
