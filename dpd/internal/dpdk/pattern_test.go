package dpdk

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/steer"
)

// draw writes a pattern as text: a line an item, spec / mask as hex with the zero tail left out.
func (p *pattern) draw() string {
	names := map[itemKind]string{itemEth: "eth", itemIPv4: "ipv4", itemIPv6: "ipv6", itemTCP: "tcp", itemUDP: "udp"}
	s := fmt.Sprintf("prio %d queue %d spread %d\n", p.priority, p.queue, len(p.spread))
	for _, it := range p.items {
		if it.any {
			s += names[it.kind] + " any\n"
			continue
		}
		s += fmt.Sprintf("%s %s / %s\n", names[it.kind], hex.EncodeToString(it.spec[:it.n]), hex.EncodeToString(it.mask[:it.n]))
	}
	return s
}

func TestPatternBytes(t *testing.T) {
	pfx := netip.MustParsePrefix
	for name, c := range map[string]struct {
		rule steer.Rule
		want string
	}{
		"sync datagrams to an IPv4 sip": {
			steer.Rule{Purpose: steer.Sync, Family: flow.IPv4, Dst: pfx("10.0.0.7/32"), Proto: flow.ProtoUDP, Port: 4791, PortMask: 0xffff, Queue: 2},
			`prio 0 queue 2 spread 0
			eth any
			ipv4 00000000 00000000 00000000 00000000 0a000007 / 00000000 00000000 00000000 00000000 ffffffff
			udp 0000 12b7 0000 0000 / 0000 ffff 0000 0000`},
		"sync datagrams to an IPv6 sip": {
			steer.Rule{Purpose: steer.Sync, Family: flow.IPv6, Dst: pfx("2001:db8::7/128"), Proto: flow.ProtoUDP, Port: 4791, PortMask: 0xffff, Queue: 1},
			`prio 0 queue 1 spread 0
			eth any
			ipv6 00000000 0000 00 00 00000000000000000000000000000000 20010db8000000000000000000000007 / 00000000 0000 00 00 00000000000000000000000000000000 ffffffffffffffffffffffffffffffff
			udp 0000 12b7 0000 0000 / 0000 ffff 0000 0000`},
		"local ports by their low bits": {
			steer.Rule{Purpose: steer.LocalPort, Priority: 1, Family: flow.IPv4, Dst: pfx("192.0.2.1/32"), Proto: flow.ProtoTCP, Port: 3, PortMask: 0xff, Queue: 1},
			`prio 1 queue 1 spread 0
			eth any
			ipv4 00000000 00000000 00000000 00000000 c0000201 / 00000000 00000000 00000000 00000000 ffffffff
			tcp 0000 0003 00000000 00000000 0000 0000 0000 0000 / 0000 00ff 00000000 00000000 0000 0000 0000 0000`},
		"prefix that ends within a byte": {
			steer.Rule{Priority: 2, Family: flow.IPv4, Dst: pfx("198.51.100.77/26"), Queue: 0},
			`prio 2 queue 0 spread 0
			eth any
			ipv4 00000000 00000000 00000000 00000000 c6336440 / 00000000 00000000 00000000 00000000 ffffffc0`},
		"any address of a family": {
			steer.Rule{Family: flow.IPv6, Dst: pfx("::/0"), Proto: flow.ProtoTCP},
			"prio 0 queue 0 spread 0\neth any\nipv6 any\ntcp any"},
		"catch-all": {
			steer.Rule{Purpose: steer.CatchAll, Priority: 3},
			"prio 3 queue 0 spread 0\neth any"},
		"spreading by the client's side": {
			steer.Rule{Purpose: steer.ClientHash, Priority: 2, Family: flow.IPv4, Dst: pfx("203.0.113.1/32"), Proto: flow.ProtoUDP, RSS: &steer.RSS{}},
			`prio 2 queue 0 spread 128
			eth any
			ipv4 00000000 00000000 00000000 00000000 cb007101 / 00000000 00000000 00000000 00000000 ffffffff
			udp any`},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := patternOf(&c.rule)
			if err != nil {
				t.Fatal(err)
			}
			// Spaces within the hex are for the reader.
			var want strings.Builder
			for _, line := range strings.Split(c.want, "\n") {
				f := strings.Fields(line)
				if len(f) > 2 && strings.Contains(line, "/") {
					spec, mask, _ := strings.Cut(strings.Join(f[1:], ""), "/")
					f = []string{f[0], spec, "/", mask}
				}
				want.WriteString(strings.Join(f, " ") + "\n")
			}
			if got := p.draw(); got != want.String() {
				t.Errorf("got\n%swant\n%s", got, want.String())
			}
		})
	}
}

func TestRulesThatCannotBePatterns(t *testing.T) {
	pfx := netip.MustParsePrefix
	for name, r := range map[string]steer.Rule{
		"protocol without a family":    {Proto: flow.ProtoUDP},
		"port without a family":        {PortMask: 1},
		"address without a family":     {Dst: pfx("10.0.0.0/8")},
		"port without a protocol":      {Family: flow.IPv4, Dst: pfx("10.0.0.0/8"), PortMask: 1},
		"no address":                   {Family: flow.IPv4, Proto: flow.ProtoTCP},
		"IPv6 address in an IPv4 rule": {Family: flow.IPv4, Dst: pfx("::/0")},
		"IPv4 address in an IPv6 rule": {Family: flow.IPv6, Dst: pfx("10.0.0.0/8")},
		"mapped address":               {Family: flow.IPv6, Dst: pfx("::ffff:10.0.0.1/128")},
		"unknown family":               {Family: 9, Dst: pfx("10.0.0.0/8")},
		"unknown protocol":             {Family: flow.IPv4, Dst: pfx("10.0.0.0/8"), Proto: 132},
		"port bits outside the mask":   {Family: flow.IPv4, Dst: pfx("10.0.0.0/8"), Proto: flow.ProtoTCP, Port: 0x100, PortMask: 0xff},
	} {
		t.Run(name, func(t *testing.T) {
			if p, err := patternOf(&r); err == nil {
				t.Errorf("became\n%s", p.draw())
			}
		})
	}
}
