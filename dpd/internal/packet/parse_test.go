package packet_test

import (
	"bytes"
	"encoding/binary"
	"testing"
	"unsafe"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	. "github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

var (
	client4, vip4 = AP("192.0.2.7:40000"), AP("198.51.100.1:80")
	client6, vip6 = AP("[2001:db8::7]:40000"), AP("[2001:db8:1::1]:80")
	mac           = [6]byte{2, 0, 0, 0, 0, 9}
)

// edit changes bytes of a built frame behind the builder's back.
func edit(b []byte, at int, v ...byte) []byte {
	copy(b[at:], v)
	return b
}

// fixIPv4 makes the header checksum right again after an edit.
func fixIPv4(b []byte) []byte {
	h := b[14:]
	size := int(h[0]&15) * 4
	h[10], h[11] = 0, 0
	var sum uint32
	for i := 0; i+1 < size && i+1 < len(h); i += 2 {
		sum += uint32(h[i])<<8 | uint32(h[i+1])
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(h[10:], ^uint16(sum))
	return b
}

func TestParseAccepts(t *testing.T) {
	for _, c := range []struct {
		name  string
		frame *Frame
		want  packet.Info
	}{
		{"a TCP segment over IPv4", TCP(client4, vip4).Seq(7).Ack(9).Flags(ACK | PSH).Window(512).Text("hello"),
			packet.Info{Class: packet.ClassTCP, Seq: 7, Ack: 9, Window: 512, Flags: ACK | PSH, L3: 14, L4: 34, Payload: 54, PayloadLen: 5, End: 59, TTL: 64}},
		{"a SYN with options", TCP(client4, vip4).Flags(SYN).MSS(1460).TTL(3),
			packet.Info{Class: packet.ClassTCP, Flags: SYN, Window: 65535, L3: 14, L4: 34, Payload: 58, End: 58, TTL: 3}},
		{"a padded short frame", TCP(client4, vip4).Pad(60),
			packet.Info{Class: packet.ClassTCP, Flags: ACK, Window: 65535, L3: 14, L4: 34, Payload: 54, End: 54, Padding: 6, TTL: 64}},
		{"a tagged frame", TCP(client4, vip4).VLAN(0x6005),
			packet.Info{Class: packet.ClassTCP, Flags: ACK, Window: 65535, VLAN: 5, L3: 18, L4: 38, Payload: 58, End: 58, TTL: 64}},
		{"a priority-tagged frame", UDP(client4, vip4).VLAN(0),
			packet.Info{Class: packet.ClassUDP, L3: 18, L4: 38, Payload: 46, End: 46, TTL: 64}},
		{"IPv4 options", UDP(client4, vip4).IPOptions([]byte{1, 1, 1, 0}).Text("abc"),
			packet.Info{Class: packet.ClassUDP, L3: 14, L4: 38, Payload: 46, PayloadLen: 3, End: 49, TTL: 64}},
		{"the don't-fragment bit", UDP(client4, vip4).Frag(0x4000),
			packet.Info{Class: packet.ClassUDP, L3: 14, L4: 34, Payload: 42, End: 42, TTL: 64, DontFrag: true}},
		{"a TCP segment over IPv6", TCP(client6, vip6).Seq(1).Text("x"),
			packet.Info{Class: packet.ClassTCP, Seq: 1, Flags: ACK, Window: 65535, L3: 14, L4: 54, Payload: 74, PayloadLen: 1, End: 75, TTL: 64, DontFrag: true}},
		{"IPv6 extension headers up to the bound", UDP(client6, vip6).Ext(0, make([]byte, 6)).Ext(60, make([]byte, 14)).Ext(44, make([]byte, 6)).Ext(43, []byte{2, 0, 0, 0, 0, 0}).Text("q"),
			packet.Info{Class: packet.ClassUDP, L3: 14, L4: 94, Payload: 102, PayloadLen: 1, End: 103, TTL: 64, DontFrag: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got packet.Info
			if why := packet.Parse(c.frame.Bytes(), &got); why != packet.OK {
				t.Fatalf("refused: %v", why)
			}
			c.want.Addr, c.want.Meta, c.want.DstMAC = got.Addr, got.Meta, packet.MACWord(DefaultDstMAC)
			if got != c.want {
				t.Fatalf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestInfoCarriesTheFlowKey(t *testing.T) {
	for _, c := range []struct {
		name  string
		frame *Frame
		want  string
	}{
		{"of TCP over IPv4", TCP(client4, vip4), "tcp 192.0.2.7:40000>198.51.100.1:80"},
		{"of UDP over IPv6", UDP(client6, vip6), "udp [2001:db8::7]:40000>[2001:db8:1::1]:80"},
		{"of an echo by its identifier", Echo(client4.Addr(), vip4.Addr(), 77, 1), "icmp 192.0.2.7:77>198.51.100.1:77"},
		{"of an ICMPv6 echo reply", EchoReply(client6.Addr(), vip6.Addr(), 78, 1), "icmp [2001:db8::7]:78>[2001:db8:1::1]:78"},
		{"of IPv6 behind extension headers", TCP(client6, vip6).Ext(0, make([]byte, 6)), "tcp [2001:db8::7]:40000>[2001:db8:1::1]:80"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var info packet.Info
			if why := packet.Parse(c.frame.Bytes(), &info); why != packet.OK {
				t.Fatalf("refused: %v", why)
			}
			if got := (flow.Key{Addr: info.Addr, Meta: info.Meta}).String(); got != c.want {
				t.Fatalf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestParseReadsTheQuoteOfAnICMPError(t *testing.T) {
	router4, router6 := Addr("203.0.113.1"), Addr("2001:db8:9::1")
	sent4, sent6 := TCP(vip4, client4).Text("data").Bytes(), UDP(vip6, client6).Text("data").Bytes()
	ext6 := UDP(vip6, client6).Ext(60, make([]byte, 6)).Bytes()
	first := fixIPv4(edit(TCP(vip4, client4).Bytes(), 20, 0x20, 0))
	for _, c := range []struct {
		name    string
		frame   []byte
		against string
		l3, l4  uint16
	}{
		{"unreachable with a whole packet", ICMPError(router4, 3, 3, 0, sent4, 1000).Bytes(), "tcp 192.0.2.7:40000>198.51.100.1:80", 42, 62},
		{"fragmentation needed with 28 bytes", ICMPError(router4, 3, 4, 1400, sent4, 28).Bytes(), "tcp 192.0.2.7:40000>198.51.100.1:80", 42, 62},
		{"a first fragment", ICMP(router4, vip4.Addr(), 11, 1, 0).Payload(first[14:]).Bytes(), "tcp 192.0.2.7:40000>198.51.100.1:80", 42, 62},
		{"an echo that timed out", ICMPError(router4, 11, 0, 0, Echo(vip4.Addr(), client4.Addr(), 5, 1).Bytes(), 28).Bytes(), "icmp 192.0.2.7:5>198.51.100.1:5", 42, 62},
		{"packet too big", ICMPError(router6, 2, 0, 1400, sent6, 1000).Bytes(), "udp [2001:db8::7]:40000>[2001:db8:1::1]:80", 62, 102},
		{"a quote with extension headers", ICMPError(router6, 1, 4, 0, ext6, 1000).Bytes(), "udp [2001:db8::7]:40000>[2001:db8:1::1]:80", 62, 110},
	} {
		t.Run(c.name, func(t *testing.T) {
			var info packet.Info
			if why := packet.Parse(c.frame, &info); why != packet.OK {
				t.Fatalf("refused: %v", why)
			}
			addr, meta := info.Against()
			if got := (flow.Key{Addr: addr, Meta: meta}).String(); got != c.against {
				t.Errorf("against: got %s, want %s", got, c.against)
			}
			quoted := flow.Key{Addr: info.Quote.Addr, Meta: info.Quote.Meta}
			if got := quoted.Reverse(); got != (flow.Key{Addr: addr, Meta: meta}) {
				t.Errorf("reverse of the quote: got %v", got)
			}
			if info.Class != packet.ClassError || info.Quote.L3 != c.l3 || info.Quote.L4 != c.l4 || info.SrcPort() != 0 {
				t.Errorf("got %+v", info)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	v4 := func() []byte { return TCP(client4, vip4).Bytes() }
	v6 := func() []byte { return TCP(client6, vip6).Bytes() }
	udp := func() []byte { return UDP(client4, vip4).Text("abcd").Bytes() }
	icmpError := func(quote []byte) []byte { return ICMP(client4.Addr(), vip4.Addr(), 3, 1, 0).Payload(quote).Bytes() }
	icmp6Error := func(quote []byte) []byte { return ICMP(client6.Addr(), vip6.Addr(), 1, 0, 0).Payload(quote).Bytes() }
	for _, c := range []struct {
		name  string
		frame []byte
		want  packet.Reason
	}{
		{"nothing", nil, packet.Runt},
		{"13 bytes", v4()[:13], packet.Runt},
		{"a tag that is cut", TCP(client4, vip4).VLAN(5).Bytes()[:17], packet.Runt},
		{"64 KiB", make([]byte, 65536), packet.Oversize},
		{"an unknown EtherType", edit(v4(), 12, 0x88, 0xcc), packet.UnknownEtherType},
		{"a second tag", edit(TCP(client4, vip4).VLAN(5).Bytes(), 16, 0x81, 0x00), packet.UnknownEtherType},
		{"a service tag", edit(TCP(client4, vip4).VLAN(5).Bytes(), 12, 0x88, 0xa8), packet.UnknownEtherType},
		{"19 bytes of IPv4", v4()[:33], packet.Truncated},
		{"version 6 under the EtherType of IPv4", edit(v4(), 14, 0x65), packet.BadVersion},
		{"version 4 under the EtherType of IPv6", edit(v6(), 14, 0x40), packet.BadVersion},
		{"a header length of 16", fixIPv4(edit(v4(), 14, 0x44)), packet.BadIHL},
		{"a header length beyond the total length", fixIPv4(edit(v4(), 14, 0x4f)), packet.BadIHL},
		{"a total length below the header", fixIPv4(edit(v4(), 16, 0, 19)), packet.BadIHL},
		{"a total length beyond the frame", fixIPv4(edit(v4(), 16, 0, 41)), packet.Truncated},
		{"a flipped header bit", edit(v4(), 15, 1), packet.BadHeaderChecksum},
		{"a flipped bit in a header with options", edit(UDP(client4, vip4).IPOptions([]byte{1, 1, 1, 0}).Bytes(), 15, 1), packet.BadHeaderChecksum},
		{"a multicast source", TCP(AP("224.0.0.1:1"), vip4).Bytes(), packet.BadSource},
		{"the broadcast source", TCP(AP("255.255.255.255:1"), vip4).Bytes(), packet.BadSource},
		{"a loopback source", TCP(AP("127.0.0.1:1"), vip4).Bytes(), packet.BadSource},
		{"the unspecified source", TCP(AP("0.0.0.0:1"), vip4).Bytes(), packet.BadSource},
		{"an IPv6 multicast source", TCP(AP("[ff02::1]:1"), vip6).Bytes(), packet.BadSource},
		{"the IPv6 loopback source", TCP(AP("[::1]:1"), vip6).Bytes(), packet.BadSource},
		{"the unspecified IPv6 source", TCP(AP("[::]:1"), vip6).Bytes(), packet.BadSource},
		{"an echo from the unspecified IPv6 source", Echo(Addr("::"), vip6.Addr(), 1, 1).Bytes(), packet.BadSource},
		{"TTL 0", TCP(client4, vip4).TTL(0).Bytes(), packet.ZeroTTL},
		{"hop limit 0", TCP(client6, vip6).TTL(0).Bytes(), packet.ZeroTTL},
		{"a first fragment", TCP(client4, vip4).Frag(0x2000).Bytes(), packet.Fragment},
		{"a last fragment", TCP(client4, vip4).Frag(0x0001).Bytes(), packet.Fragment},
		{"39 bytes of IPv6", v6()[:53], packet.Truncated},
		{"an IPv6 payload length beyond the frame", edit(v6(), 18, 0, 21), packet.Truncated},
		{"an IPv6 first fragment", TCP(client6, vip6).Ext(44, []byte{0, 1, 0, 0, 0, 9}).Bytes(), packet.Fragment},
		{"an IPv6 last fragment", TCP(client6, vip6).Ext(44, []byte{0, 8, 0, 0, 0, 9}).Bytes(), packet.Fragment},
		{"a pending routing header", TCP(client6, vip6).Ext(43, []byte{0, 1, 0, 0, 0, 0}).Bytes(), packet.BadExtension},
		{"an extension header beyond the packet", edit(TCP(client6, vip6).Ext(60, make([]byte, 6)).Bytes(), 55, 4), packet.BadExtension},
		{"an extension header that is cut", edit(edit(v6(), 18, 0, 7), 20, 60), packet.BadExtension},
		{"five extension headers", TCP(client6, vip6).Ext(60, make([]byte, 6)).Ext(60, make([]byte, 6)).Ext(60, make([]byte, 6)).Ext(60, make([]byte, 6)).Ext(60, make([]byte, 6)).Bytes(), packet.BadExtension},
		{"no next header", edit(v6(), 20, 59), packet.UnknownProto},
		{"an IPsec header", edit(v6(), 20, 51), packet.UnknownProto},
		{"GRE", fixIPv4(edit(v4(), 23, 47)), packet.UnknownProto},
		{"ICMPv6 over IPv4", fixIPv4(edit(v4(), 23, 58)), packet.UnknownProto},
		{"ICMP over IPv6", edit(v6(), 20, 1), packet.UnknownProto},
		{"19 bytes of TCP", fixIPv4(edit(v4(), 16, 0, 39)), packet.Truncated},
		{"a TCP data offset of 16", edit(v4(), 46, 0x40), packet.BadTCPOffset},
		{"a TCP data offset beyond the segment", edit(v4(), 46, 0x60), packet.BadTCPOffset},
		{"SYN with FIN", TCP(client4, vip4).Flags(SYN | FIN).Bytes(), packet.BadTCPFlags},
		{"SYN with RST", TCP(client6, vip6).Flags(SYN | RST).Bytes(), packet.BadTCPFlags},
		{"7 bytes of UDP", fixIPv4(edit(udp(), 16, 0, 27)), packet.Truncated},
		{"a UDP length of 7", edit(udp(), 38, 0, 7), packet.BadUDPLength},
		{"a UDP length beyond the packet", edit(udp(), 38, 0, 13), packet.BadUDPLength},
		{"a redirect", ICMP(client4.Addr(), vip4.Addr(), 5, 1, 0).Payload(make([]byte, 28)).Bytes(), packet.UnknownICMP},
		{"a router advertisement", ICMP(client6.Addr(), vip6.Addr(), 134, 0, 0).TTL(255).Payload(make([]byte, 8)).Bytes(), packet.UnknownICMP},
		{"7 bytes of ICMP", fixIPv4(edit(Echo(client4.Addr(), vip4.Addr(), 1, 1).Bytes(), 16, 0, 27)), packet.Truncated},
		{"a solicitation without a target", ICMP(client6.Addr(), vip6.Addr(), 135, 0, 0).Payload(make([]byte, 15)).Bytes(), packet.Truncated},
		{"an empty quote", icmpError(nil), packet.BadQuote},
		{"a quote of 27 bytes", icmpError(v4()[14:41]), packet.BadQuote},
		{"a quote of another family", icmpError(v6()[14:]), packet.BadQuote},
		{"a quote with a bad header length", icmpError(edit(v4(), 14, 0x44)[14:]), packet.BadQuote},
		{"a quote with a header length beyond it", icmpError(edit(v4(), 14, 0x4f)[14:44]), packet.BadQuote},
		{"a quoted later fragment", icmpError(edit(v4(), 20, 0, 3)[14:]), packet.BadQuote},
		{"a quote of GRE", icmpError(edit(v4(), 23, 47)[14:]), packet.BadQuote},
		{"a quoted ICMP error", icmpError(icmpError(v4()[14:])[14:]), packet.BadQuote},
		{"a cut IPv6 quote", icmp6Error(v6()[14:61]), packet.BadQuote},
		{"a quoted later IPv6 fragment", icmp6Error(TCP(client6, vip6).Ext(44, []byte{0, 8, 0, 0, 0, 9}).Bytes()[14:]), packet.BadQuote},
		{"ARP of 27 bytes", ARP(1, mac, client4.Addr(), mac, vip4.Addr()).Bytes()[:41], packet.BadARP},
		{"ARP for another protocol", edit(ARP(1, mac, client4.Addr(), mac, vip4.Addr()).Bytes(), 16, 0x86, 0xdd), packet.BadARP},
	} {
		t.Run(c.name, func(t *testing.T) {
			info := packet.Info{Class: packet.ClassUDP}
			if got := packet.Parse(c.frame, &info); got != c.want || info.Class != packet.Refused {
				t.Fatalf("got %v and class %d, want %v", got, info.Class, c.want)
			}
		})
	}
}

func TestParseKeepsNothingOfTheLastPacket(t *testing.T) {
	frames := [][]byte{
		ICMPError(Addr("203.0.113.1"), 3, 3, 0, TCP(vip4, client4).Bytes(), 100).Bytes(),
		TCP(client6, vip6).VLAN(3).Flags(SYN).MSS(9).Bytes(),
		UDP(client4, vip4).Pad(60).Bytes(),
		ARP(1, mac, client4.Addr(), mac, vip4.Addr()).Bytes(),
		NS(mac, client6.Addr(), vip6.Addr()).Bytes(),
		{1, 2, 3},
	}
	for i, a := range frames {
		for j, b := range frames {
			var fresh, used packet.Info
			packet.Parse(a, &used)
			packet.Parse(b, &used)
			packet.Parse(b, &fresh)
			if fresh != used {
				t.Fatalf("frame %d after %d: got %+v, want %+v", j, i, used, fresh)
			}
		}
	}
}

func TestNeighbourPackets(t *testing.T) {
	var info packet.Info
	b := ARP(packet.ARPReply, mac, client4.Addr(), DefaultDstMAC, vip4.Addr()).Bytes()
	if why := packet.Parse(b, &info); why != packet.OK || info.Class != packet.ClassARP || info.Meta != 0 {
		t.Fatalf("ARP: %v, %+v", why, info)
	}
	if a := packet.ARP(b[info.L3:]); a.Op() != packet.ARPReply || a.SenderMAC() != mac || a.SenderIP() != client4.Addr().As4() || a.TargetIP() != vip4.Addr().As4() {
		t.Fatalf("ARP fields: %x", []byte(a))
	}
	b = NS(mac, Addr("::"), vip6.Addr()).Bytes()
	if why := packet.Parse(b, &info); why != packet.OK || info.Class != packet.ClassND || info.TTL != 255 || info.Unicast() || !info.ForMAC(1) {
		t.Fatalf("NS: %v, %+v", why, info)
	}
	h := packet.ICMP(b[info.L4:info.End])
	if got, ok, valid := h.LinkOption(packet.NDSourceLink); h.Target() != vip6.Addr().As16() || !ok || !valid || got != mac {
		t.Fatalf("NS fields: %x %v %v", got, ok, valid)
	}
	for name, options := range map[string][]byte{"zero length": {1, 0, 2, 0, 0, 0, 0, 9}, "cut": {1, 1, 2, 0}, "beyond the message": {1, 2, 2, 0, 0, 0, 0, 9}} {
		if _, ok, valid := packet.ICMP(append(bytes.Clone(h[:packet.NDSize]), options...)).LinkOption(1); ok || valid {
			t.Errorf("an option list that is %s passes", name)
		}
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	frames := [][]byte{TCP(client4, vip4).Bytes(), UDP(client6, vip6).Bytes(), ICMPError(client4.Addr(), 3, 3, 0, TCP(vip4, client4).Bytes(), 100).Bytes()}
	var info packet.Info
	if n := testing.AllocsPerRun(100, func() {
		for _, b := range frames {
			packet.Parse(b, &info)
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestInfoIsTwoCacheLines(t *testing.T) {
	if n := unsafe.Sizeof(packet.Info{}); n != 128 {
		t.Fatalf("%d bytes", n)
	}
}

func TestEveryReasonHasItsOwnName(t *testing.T) {
	seen := map[string]bool{}
	for r := packet.Reason(0); r < packet.NumReasons; r++ {
		if s := r.String(); s == "" || seen[s] {
			t.Errorf("reason %d: %q", r, s)
		} else {
			seen[s] = true
		}
	}
	if s := packet.NumReasons.String(); s != "unknown_reason" {
		t.Errorf("out of range: %q", s)
	}
}

// FuzzParse holds, for a hostile frame of any content: no panic, no write, every offset inside the frame and in order, and what
// is accepted reads the same in an independent parser.
func FuzzParse(f *testing.F) {
	for _, b := range [][]byte{
		TCP(client4, vip4).Flags(SYN).MSS(1460).Pad(60).Bytes(),
		UDP(client6, vip6).Ext(0, make([]byte, 6)).Text("x").Bytes(),
		UDP(client4, vip4).VLAN(9).IPOptions([]byte{1, 1, 1, 0}).Bytes(),
		ICMPError(Addr("203.0.113.1"), 3, 4, 1400, TCP(vip4, client4).Text("data").Bytes(), 28).Bytes(),
		ICMPError(Addr("2001:db8:9::1"), 2, 0, 1400, TCP(vip6, client6).Ext(60, make([]byte, 6)).Bytes(), 200).Bytes(),
		NA(mac, client6.Addr(), vip6.Addr(), client6.Addr(), packet.NDSolicited).Bytes(),
		ARP(1, mac, client4.Addr(), mac, vip4.Addr()).Bytes(),
	} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		was := bytes.Clone(data)
		var info packet.Info
		why := packet.Parse(data, &info)
		if !bytes.Equal(data, was) {
			t.Fatal("the frame was written to")
		}
		if (why == packet.OK) != (info.Class != packet.Refused) {
			t.Fatalf("%v and class %d", why, info.Class)
		}
		if why != packet.OK || info.Class == packet.ClassARP {
			return
		}
		if info.L3 < 14 || info.L4 <= info.L3 || info.Payload <= info.L4 || info.End < info.Payload+info.PayloadLen || int(info.End+info.Padding) != len(data) {
			t.Fatalf("offsets out of order: %+v", info)
		}
		if q := info.Quote; info.Class == packet.ClassError && (q.L3 < info.L4+8 || q.L4 < q.L3+20 || q.L4+8 > info.End) {
			t.Fatalf("quote out of bounds: %+v", info)
		}
		p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
		if l, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP); ok && info.Class == packet.ClassTCP {
			if uint16(l.SrcPort) != info.SrcPort() || uint16(l.DstPort) != info.DstPort() || l.Seq != info.Seq || l.Ack != info.Ack || l.Window != info.Window || len(l.Payload) != int(info.PayloadLen) {
				t.Fatalf("TCP differs: %+v and %+v", l, info)
			}
		}
		if l, ok := p.Layer(layers.LayerTypeUDP).(*layers.UDP); ok && info.Class == packet.ClassUDP {
			if uint16(l.SrcPort) != info.SrcPort() || uint16(l.DstPort) != info.DstPort() {
				t.Fatalf("UDP differs: %+v and %+v", l, info)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for _, c := range []struct {
		name  string
		frame []byte
	}{{"tcp4", TCP(client4, vip4).Pad(64).Bytes()}, {"tcp6", TCP(client6, vip6).Bytes()}, {"udp4", UDP(client4, vip4).Pad(60).Bytes()}} {
		b.Run(c.name, func(b *testing.B) {
			var infos [64]packet.Info
			for i := 0; b.Loop(); i++ {
				packet.Parse(c.frame, &infos[i&63])
			}
		})
	}
}
