package main

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFramesAreThoseOfTheRFCs(t *testing.T) {
	for name, row := range map[string]struct{ src, dst, want string }{
		"IPv4": {"192.0.2.1:4096", "192.0.2.2:7946", `
			020000000002 020000000009 0800
			4500 001f 0001 4000 4011 b6c9 c0000201 c0000202
			1000 1f0a 000b 8867 616263`},
		"IPv6": {"[2001:db8::1]:4096", "[2001:db8::2]:7946", `
			020000000002 020000000009 86dd
			60000000 000b 11 40 20010db8000000000000000000000001 20010db8000000000000000000000002
			1000 1f0a 000b b0f6 616263`},
	} {
		t.Run(name, func(t *testing.T) {
			d := datagram{
				node: 1, src: netip.MustParseAddrPort(row.src), dst: netip.MustParseAddrPort(row.dst), payload: []byte("abc"),
			}
			var got []byte
			testFramer().frames(&d, func(b []byte) { got = append(got, b...) })
			if want := unhex(t, row.want); string(got) != string(want) {
				t.Errorf("got  %x\nwant %x", got, want)
			}
			s, ok := parseFrame(got)
			if !ok || s.src != d.src || s.dst != d.dst || string(s.payload) != "abc" || s.icmp || s.length != len(got)-etherLen {
				t.Errorf("%v %+v", ok, s)
			}
		})
	}
}

// A datagram longer than the MTU goes in fragments that give it again.
func TestFragmentsGiveTheDatagramAgain(t *testing.T) {
	for _, n := range []int{1400, 1472, 1473, 3000, maxPayload, maxPayload + 1} {
		for _, dst := range []string{"192.0.2.2:7946", "[2001:db8::2]:7946"} {
			d := datagram{dst: netip.MustParseAddrPort(dst), src: netip.MustParseAddrPort(dst), payload: make([]byte, n)}
			whole := make([]byte, 8+n)
			covered, ended := 0, false
			testFramer().frames(&d, func(b []byte) {
				ip := b[etherLen:]
				var at int
				var more bool
				if d.dst.Addr().Is4() {
					f := binary.BigEndian.Uint16(ip[6:])
					at, more, ip = int(f&0x1fff)*8, f&0x2000 != 0, ip[20:]
				} else if ip[6] == nextFrag {
					f := binary.BigEndian.Uint16(ip[42:])
					at, more, ip = int(f&^7), f&1 != 0, ip[48:]
				} else {
					ip = ip[40:]
				}
				covered += copy(whole[at:], ip)
				ended = ended || !more
			})
			if covered != len(whole) || !ended || int(binary.BigEndian.Uint16(whole[4:])) != len(whole) {
				t.Errorf("%d B to %s: %d B came", n, dst, covered)
			}
		}
	}
}

func TestWhatCountsAsReply(t *testing.T) {
	v4 := func(proto string, src, payload string) string {
		return "020000000009 020000000002 0800 4500 0024 0001 4000 40" + proto + " 0000 " + src + " c6120132 " + payload
	}
	for name, row := range map[string]struct {
		frame string
		want  bool
	}{
		"a datagram from a sync address":     {v4("11", "c6130201", "1f0a 1000 0010 0000 0000000000000000"), true},
		"from a data address":                {v4("11", "c612020b", "1f0a 1000 0010 0000 0000000000000000"), true},
		"from a VIP to its client":           {v4("11", "c6130050", "1b59 1000 0010 0000 0000000000000000"), false},
		"from a local address to a server":   {v4("11", "c6130101", "1b59 1000 0010 0000 0000000000000000"), false},
		"port unreachable":                   {v4("01", "c6130201", "0303 0000 00000000 0000000000000000"), true},
		"time exceeded":                      {v4("01", "c612020b", "0b00 0000 00000000 0000000000000000"), true},
		"an echo request that proves routes": {v4("01", "c6130101", "0800 0000 48460001 0000000000000000"), false},
		"ICMPv6 port unreachable": {`020000000009 020000000002 86dd 60000000 0008 3a 40
			fd686f6c6466000b0000000000000001 fd686f6c646600010000000000000032 0104 0000 00000000`, true},
		"a neighbour solicitation": {`020000000009 020000000002 86dd 60000000 0008 3a ff
			fd686f6c6466000b0000000000000001 fd686f6c646600010000000000000032 8700 0000 00000000`, false},
	} {
		s, ok := parseFrame(unhex(t, row.frame))
		if got := isReply(&s); !ok || got != row.want {
			t.Errorf("%s: %v %v", name, ok, got)
		}
	}
}

func TestFramesThatLieAreNotRead(t *testing.T) {
	for name, frame := range map[string]string{
		"short":         "020000000009",
		"IP length":     "020000000009 020000000002 0800 4500 0fff 0001 4000 4011 0000 c6130201 c6120132 1f0a 1000 0010 0000",
		"header length": "020000000009 020000000002 0800 4200 001c 0001 4000 4011 0000 c6130201 c6120132 1f0a 1000 0010 0000",
		"TCP":           "020000000009 020000000002 0800 4500 001c 0001 4000 4006 0000 c6130201 c6120132 1f0a 1000 0010 0000",
	} {
		if s, ok := parseFrame(unhex(t, frame)); ok {
			t.Errorf("%s: %+v", name, s)
		}
	}
}
