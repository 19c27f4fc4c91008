package node

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/control"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

func TestRoutesOfEachState(t *testing.T) {
	me, other := flow.Node{ID: 1, Inc: 5}, flow.Node{ID: 2, Inc: 1}
	m := &control.Membership{
		View: 3,
		Self: control.Member{Life: me, SIP: [2]netip.Addr{netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("fd09::1")}},
		Blocks: []control.Block{
			{ID: 1, Addrs: []netip.Addr{netip.MustParseAddr("10.8.0.1")}, Holder: me},
			{ID: 2, Addrs: []netip.Addr{netip.MustParseAddr("10.8.0.2")}, Holder: other},
			{ID: 3, Addrs: []netip.Addr{netip.MustParseAddr("10.8.0.3")}},
			{ID: 4, Addrs: []netip.Addr{netip.MustParseAddr("10.8.0.4")}, Holder: flow.Node{ID: 1, Inc: 4}},
		},
	}
	vips := []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	const sip = "sip 10.9.0.1 sip fd09::1"
	const laddrs = "laddr 10.8.0.1 laddr-backup+3 10.8.0.2 laddr-backup+3 10.8.0.3 laddr-backup+3 10.8.0.4"
	for _, row := range []struct {
		name  string
		state control.State
		has   [2]bool
		want  string
	}{
		{"nothing before a place in the cluster", control.StateStarting, [2]bool{true, true}, ""},
		{"only the sync address while joining", control.StateJoining, [2]bool{true, true}, sip},
		{"local addresses once ready, those of others and of former lives as backup", control.StateReady, [2]bool{true, true}, laddrs + " " + sip},
		{"VIPs once admitted", control.StateAdmitted, [2]bool{true, true}, "vip 192.0.2.1 " + laddrs + " " + sip},
		{"no VIPs while draining", control.StateDraining, [2]bool{true, true}, laddrs + " " + sip},
		{"nothing once drained", control.StateDrained, [2]bool{true, true}, ""},
		{"nothing once fenced", control.StateFenced, [2]bool{true, true}, ""},
		{"everything while only degraded", control.StateDegraded, [2]bool{true, true}, "vip 192.0.2.1 " + laddrs + " " + sip},
		{"nothing of a family without next hop", control.StateJoining, [2]bool{false, true}, "sip fd09::1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var got []string
			for _, r := range routes(row.state, m, vips, 3, row.has) {
				p := r.purpose
				if r.Prepend > 0 {
					p += fmt.Sprintf("+%d", r.Prepend)
				}
				got = append(got, p+" "+r.Prefix.Addr().String())
			}
			if s := strings.Join(got, " "); s != row.want {
				t.Errorf("routes are\n%s\nwant\n%s", s, row.want)
			}
		})
	}
}

func TestAnAddressIsAnnouncedOnceAndAsTheMostImportantThing(t *testing.T) {
	a := netip.MustParseAddr("10.8.0.1")
	me := flow.Node{ID: 1, Inc: 1}
	m := &control.Membership{Self: control.Member{Life: me, SIP: [2]netip.Addr{a}}, Blocks: []control.Block{{Addrs: []netip.Addr{a}, Holder: me}}}
	got := routes(control.StateAdmitted, m, []netip.Addr{a}, 3, [2]bool{true, true})
	if len(got) != 1 || got[0].purpose != purposeVIP {
		t.Errorf("routes: %v", got)
	}
	if p := plain(got); !slices.Equal(p, plain(got[:1])) {
		t.Errorf("plain: %v", p)
	}
}
