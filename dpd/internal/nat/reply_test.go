package nat_test

import (
	"bytes"
	"testing"

	. "github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/nat"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

func words(s string) [2]uint64 {
	a := Addr(s)
	b := a.As16()
	var w [2]uint64
	for i := range 16 {
		w[i/8] = w[i/8]<<8 | uint64(b[i])
	}
	if a.Is4() {
		return [2]uint64{0, w[1] & 0xffffffff}
	}
	return w
}

func TestPutError(t *testing.T) {
	big := make([]byte, 3000)
	for _, c := range []struct {
		name string
		in   *Frame
		p    nat.Problem
		from string
		want func(in []byte) *Frame
	}{
		{"time exceeded over IPv4", TCP(client4, vip4).TTL(1).Text("hello"), nat.TimeExceeded, "198.51.100.9",
			func(in []byte) *Frame { return ICMPError(Addr("198.51.100.9"), 11, 0, 0, in, 548) }},
		{"fragmentation needed with the MTU", TCP(client4, vip4).Payload(big), nat.TooBig, "198.51.100.9",
			func(in []byte) *Frame { return ICMPError(Addr("198.51.100.9"), 3, 4, 1400, in, 548) }},
		{"host unreachable on a VLAN without its priority", UDP(client4, vip4).VLAN(0x6007), nat.HostUnreachable, "198.51.100.9",
			func(in []byte) *Frame {
				return ICMPError(Addr("198.51.100.9"), 3, 1, 0, in, 548).VLAN(7)
			}},
		{"no padding in the quote", UDP(client4, vip4).Pad(60), nat.NoRoute, "198.51.100.9",
			func(in []byte) *Frame { return ICMPError(Addr("198.51.100.9"), 3, 0, 0, in, 548) }},
		{"prohibited", Echo(client4.Addr(), vip4.Addr(), 1, 1), nat.Prohibited, "198.51.100.9",
			func(in []byte) *Frame { return ICMPError(Addr("198.51.100.9"), 3, 13, 0, in, 548) }},
		{"packet too big", TCP(client6, vip6).Payload(big), nat.TooBig, "2001:db8:1::9",
			func(in []byte) *Frame { return ICMPError(Addr("2001:db8:1::9"), 2, 0, 1400, in, 1232) }},
		{"port unreachable over IPv6", UDP(client6, vip6).Text("q"), nat.PortUnreachable, "2001:db8:1::9",
			func(in []byte) *Frame { return ICMPError(Addr("2001:db8:1::9"), 1, 4, 0, in, 1232) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := c.in.Bytes()
			info := parse(t, in)
			got := make([]byte, nat.ErrorSize(info))
			nat.PutError(got, info, in, c.p, 1400, words(c.from))
			// An answer goes back to where the packet came from, and ours sets DF over IPv4.
			want := c.want(in).Eth(DefaultSrcMAC, DefaultDstMAC)
			if info.Family() == 4 {
				want.Frag(0x4000)
			}
			if !bytes.Equal(got, want.Bytes()) {
				t.Fatalf("\ngot  %x\nwant %x", got, want.Bytes())
			}
			verify(t, got)
		})
	}
}

func TestNoErrorIsSentAbout(t *testing.T) {
	all := [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	for name, f := range map[string]*Frame{
		"an ICMP error":                ICMPError(client4.Addr(), 3, 1, 0, TCP(vip4, client4).Bytes(), 100),
		"a broadcast frame":            UDP(client4, vip4).Eth(all, DefaultSrcMAC),
		"a multicast destination":      UDP(client4, AP("224.0.0.5:5")),
		"the broadcast destination":    UDP(client4, AP("255.255.255.255:5")),
		"an IPv6 multicast":            UDP(client6, AP("[ff02::1]:5")),
		"a neighbour solicitation":     NS(DefaultSrcMAC, client6.Addr(), vip6.Addr()),
		"an ARP request":               ARP(1, DefaultSrcMAC, client4.Addr(), [6]byte{}, vip4.Addr()),
		"an IPv6 packet to all on L2":  UDP(client6, vip6).Eth([6]byte{0x33, 0x33}, DefaultSrcMAC),
		"an ICMPv6 packet too big too": ICMPError(client6.Addr(), 2, 0, 1400, TCP(vip6, client6).Bytes(), 100),
	} {
		if n := nat.ErrorSize(parse(t, f.Bytes())); n != 0 {
			t.Errorf("%s: %d bytes", name, n)
		}
	}
	if n := nat.ErrorSize(new(packet.Info)); n != 0 {
		t.Errorf("a refused packet: %d bytes", n)
	}
}

func TestPutResetContinuesItsSide(t *testing.T) {
	for _, c := range []struct {
		name string
		want *Frame
		seq  uint32
	}{
		{"over IPv4", TCP(vip4, client4).Flags(RST).Seq(77).Frag(0x4000), 77},
		{"over IPv6", TCP(vip6, client6).Flags(RST).Seq(0xffffffff), 0xffffffff},
	} {
		want := c.want.Window(0).Bytes()
		info := parse(t, want)
		k := flow.Key{Addr: info.Addr, Meta: info.Meta}
		got := make([]byte, nat.ResetSize(k.Family()))
		nat.PutReset(got, &k, c.seq)
		if !bytes.Equal(got, want[info.L3:]) {
			t.Errorf("%s\ngot  %x\nwant %x", c.name, got, want[info.L3:])
		}
	}
}
