package nat_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	. "github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/checksum"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/nat"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

var (
	client4, vip4, laddr4, server4 = AP("192.0.2.7:40000"), AP("198.51.100.1:80"), AP("10.1.0.1:1025"), AP("10.2.0.5:8080")
	client6, vip6, laddr6, server6 = AP("[2001:db8::7]:40000"), AP("[2001:db8:1::1]:80"), AP("[fd00:1::1]:1025"), AP("[fd00:2::5]:8080")
)

func key(t testing.TB, proto uint8, src, dst netip.AddrPort) *flow.Key {
	t.Helper()
	k, err := flow.MakeKey(proto, src, dst)
	if err != nil {
		t.Fatal(err)
	}
	return &k
}

func parse(t testing.TB, data []byte) *packet.Info {
	t.Helper()
	var info packet.Info
	if why := packet.Parse(data, &info); why != packet.OK {
		t.Fatalf("refused: %v\n%x", why, data)
	}
	return &info
}

// verify has an independent parser recompute every checksum of the frame.
func verify(t testing.TB, data []byte) {
	t.Helper()
	if bad := badChecksums(t, data); len(bad) != 0 {
		t.Fatalf("bad checksums %v in\n%x", bad, data)
	}
}

func badChecksums(t testing.TB, data []byte) []gopacket.ChecksumMismatch {
	t.Helper()
	p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.Default)
	if e := p.ErrorLayer(); e != nil {
		t.Fatalf("%v\n%v", e.Error(), p)
	}
	for _, l := range p.Layers() {
		if s, ok := l.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok {
			if err := s.SetNetworkLayerForChecksum(p.NetworkLayer()); err != nil {
				t.Fatal(err)
			}
		}
	}
	err, bad := p.VerifyChecksums()
	if err != nil {
		t.Fatalf("%v\n%v", err, p)
	}
	return bad
}

func randomAddr(r *rand.Rand, v6 bool) netip.Addr {
	var b [16]byte
	for i := range b {
		b[i] = [...]byte{0, 0xff, byte(r.Uint32())}[r.IntN(3)]
	}
	if v6 {
		b[0] = 0x20
		return netip.AddrFrom16(b)
	}
	b[0] = 1 + byte(r.IntN(120))
	return netip.AddrFrom4([4]byte(b[:]))
}

func randomPayload(r *rand.Rand) []byte {
	b := make([]byte, r.IntN(200))
	for i := range b {
		b[i] = [...]byte{0, 0xff, byte(r.Uint32())}[r.IntN(3)]
	}
	return b
}

// TestRewriteEqualsBuildingAnew translates random packets and compares each with one that the builder makes, with full
// checksums, for the target tuple.
func TestRewriteEqualsBuildingAnew(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for i := range 20000 {
		v6 := r.IntN(2) == 0
		kind := r.IntN(4)
		ttl := uint8(2 + r.IntN(254))
		seq, ack, payload, vlan := r.Uint32(), r.Uint32(), randomPayload(r), r.IntN(4) == 0
		from := [2]netip.AddrPort{netip.AddrPortFrom(randomAddr(r, v6), uint16(r.Uint32())), netip.AddrPortFrom(randomAddr(r, v6), uint16(r.Uint32()))}
		to := [2]netip.AddrPort{netip.AddrPortFrom(randomAddr(r, v6), uint16(r.Uint32())), netip.AddrPortFrom(randomAddr(r, v6), uint16(r.Uint32()))}
		proto := uint8(packet.ProtoTCP)
		build := func(ap [2]netip.AddrPort, ttl uint8) []byte {
			var f *Frame
			switch kind {
			case 0:
				f = TCP(ap[0], ap[1]).Seq(seq).Ack(ack).MSS(1400)
			case 1:
				f, proto = UDP(ap[0], ap[1]), packet.ProtoUDP
			case 2:
				f, proto = UDP(ap[0], ap[1]), packet.ProtoUDP
				if !v6 {
					f.NoChecksum()
				}
			default:
				f, proto = Echo(ap[0].Addr(), ap[1].Addr(), ap[0].Port(), 7), packet.ProtoICMP
				if v6 {
					proto = packet.ProtoICMPv6
				}
			}
			if vlan {
				f.VLAN(100)
			}
			if v6 && ack&1 == 0 {
				f.Ext(60, make([]byte, 6))
			} else if !v6 && ack&1 == 0 {
				f.IPOptions([]byte{1, 1, 1, 0})
			}
			return f.TTL(ttl).Payload(payload).Pad(70).Bytes()
		}
		if kind == 3 {
			to[1] = netip.AddrPortFrom(to[1].Addr(), to[0].Port())
		}
		got, want := build(from, ttl), build(to, ttl-1)
		if v := nat.Rewrite(parse(t, got), got, key(t, proto, to[0], to[1])); v != nat.Done {
			t.Fatalf("packet %d: %v", i, v)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("packet %d\ngot  %x\nwant %x", i, got, want)
		}
		if i%16 == 0 {
			verify(t, got)
		}
	}
}

func TestRewriteTranslatesICMPErrors(t *testing.T) {
	router4, router6 := Addr("10.9.9.9"), Addr("fd00:9::9")
	const whole = 1 << 16
	for _, c := range []struct {
		name      string
		typ, code uint8
		rest      uint32
		came      *Frame // the packet that provoked the error, as it left us
		was       *Frame // the same packet before we translated it
		proto     uint8
		src, dst  netip.AddrPort // tuple of packets that go the error's way
		limit     int
		router    netip.Addr
	}{
		{name: "server side unreachable", typ: 3, code: 3, came: TCP(laddr4, server4).Seq(5).Text("data"), was: TCP(client4, vip4).Seq(5).Text("data"),
			proto: 6, src: vip4, dst: client4, limit: whole, router: router4},
		{name: "client side fragmentation needed with 28 bytes quoted", typ: 3, code: 4, rest: 1400, came: TCP(vip4, client4).Text("data"), was: TCP(server4, laddr4).Text("data"),
			proto: 6, src: laddr4, dst: server4, limit: 28, router: router4},
		{name: "time exceeded for UDP", typ: 11, came: UDP(laddr4, server4).Text("q"), was: UDP(client4, vip4).Text("q"),
			proto: 17, src: vip4, dst: client4, limit: whole, router: router4},
		{name: "UDP without checksum", typ: 3, code: 3, came: UDP(laddr4, server4).NoChecksum(), was: UDP(client4, vip4).NoChecksum(),
			proto: 17, src: vip4, dst: client4, limit: whole, router: router4},
		{name: "a quote with IPv4 options", typ: 3, code: 1, came: TCP(laddr4, server4).IPOptions([]byte{1, 1, 1, 0}), was: TCP(client4, vip4).IPOptions([]byte{1, 1, 1, 0}),
			proto: 6, src: vip4, dst: client4, limit: whole, router: router4},
		{name: "an odd number of quoted bytes", typ: 3, code: 1, came: TCP(laddr4, server4).Text("odd"), was: TCP(client4, vip4).Text("odd"),
			proto: 6, src: vip4, dst: client4, limit: 43, router: router4},
		{name: "a quoted echo", typ: 11, came: Echo(laddr4.Addr(), server4.Addr(), laddr4.Port(), 3), was: Echo(client4.Addr(), vip4.Addr(), client4.Port(), 3),
			proto: 1, src: netip.AddrPortFrom(vip4.Addr(), client4.Port()), dst: client4, limit: whole, router: router4},
		{name: "packet too big", typ: 2, rest: 1400, came: TCP(vip6, client6).Text("data"), was: TCP(server6, laddr6).Text("data"),
			proto: 6, src: laddr6, dst: server6, limit: whole, router: router6},
		{name: "ICMPv6 unreachable for UDP behind extension headers", typ: 1, code: 4, came: UDP(laddr6, server6).Ext(60, make([]byte, 6)).Text("q"), was: UDP(client6, vip6).Ext(60, make([]byte, 6)).Text("q"),
			proto: 17, src: vip6, dst: client6, limit: whole, router: router6},
		{name: "a quoted ICMPv6 echo", typ: 3, came: Echo(laddr6.Addr(), server6.Addr(), laddr6.Port(), 3), was: Echo(client6.Addr(), vip6.Addr(), client6.Port(), 3),
			proto: 58, src: netip.AddrPortFrom(vip6.Addr(), client6.Port()), dst: client6, limit: whole, router: router6},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ICMPError(c.router, c.typ, c.code, c.rest, c.came.Bytes(), c.limit).Bytes()
			want := ICMPError(c.src.Addr(), c.typ, c.code, c.rest, c.was.Bytes(), c.limit).TTL(63).Bytes()
			to := key(t, c.proto, c.src, c.dst)
			info := parse(t, got)
			if v := nat.Rewrite(info, got, to); v != nat.Done {
				t.Fatal(v)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("\ngot  %x\nwant %x", got, want)
			}
			addr, meta := parse(t, got).Against()
			if addr != to.Addr || meta != to.Meta {
				t.Fatal("the translated quote does not name the target flow")
			}
		})
	}
}

func TestRewriteLeavesWhatItRefuses(t *testing.T) {
	tcp := TCP(client4, vip4)
	errorAbout := func() []byte { return ICMPError(Addr("10.9.9.9"), 3, 3, 0, TCP(laddr4, server4).Bytes(), 100).Bytes() }
	broken := errorAbout()
	broken[len(broken)-1] ^= 1
	udp6 := UDP(client6, vip6).NoChecksum().Bytes()
	for _, c := range []struct {
		name string
		data []byte
		to   *flow.Key
		want nat.Verdict
	}{
		{"a packet with TTL 1", TCP(client4, vip4).TTL(1).Bytes(), key(t, 6, laddr4, server4), nat.TTLExpired},
		{"an ICMP error with TTL 1", ICMPError(Addr("10.9.9.9"), 3, 3, 0, TCP(laddr4, server4).Bytes(), 100).TTL(1).Bytes(), key(t, 6, vip4, client4), nat.TTLExpired},
		{"a target of the other family", tcp.Bytes(), key(t, 6, laddr6, server6), nat.FamilyMismatch},
		{"a target of another protocol", tcp.Bytes(), key(t, 17, laddr4, server4), nat.FamilyMismatch},
		{"a quoted protocol other than the target's", errorAbout(), key(t, 17, vip4, client4), nat.FamilyMismatch},
		{"an ICMP error with a bad checksum", broken, key(t, 6, vip4, client4), nat.BadChecksum},
		{"UDP over IPv6 without a checksum", udp6, key(t, 17, laddr6, server6), nat.ZeroChecksum},
		{"ARP", ARP(1, DefaultSrcMAC, client4.Addr(), [6]byte{}, vip4.Addr()).Bytes(), key(t, 6, laddr4, server4), nat.NotRoutable},
		{"neighbour discovery", NS(DefaultSrcMAC, client6.Addr(), vip6.Addr()).Bytes(), key(t, 58, laddr6, server6), nat.NotRoutable},
	} {
		t.Run(c.name, func(t *testing.T) {
			was := bytes.Clone(c.data)
			if got := nat.Rewrite(parse(t, c.data), c.data, c.to); got != c.want {
				t.Fatalf("got %v, want %v", got, c.want)
			}
			if !bytes.Equal(c.data, was) {
				t.Fatal("the packet was changed")
			}
		})
	}
	data := tcp.Bytes()
	info := packet.Info{TTL: 9, Meta: 6<<8 | 4}
	if got := nat.Rewrite(&info, data, key(t, 6, laddr4, server4)); got != nat.Refused {
		t.Fatalf("a refused packet: got %v", got)
	}
}

func TestDamageStaysVisible(t *testing.T) {
	for _, f := range []*Frame{TCP(client4, vip4).Text("data"), UDP(client6, vip6).Text("data")} {
		b := f.Bytes()
		b[len(b)-1] ^= 4
		info := parse(t, b)
		to := key(t, 6, laddr4, server4)
		if info.Family() == 6 {
			to = key(t, 17, laddr6, server6)
		}
		nat.Rewrite(info, b, to)
		if bad := badChecksums(t, b); len(bad) != 1 {
			t.Fatalf("a damaged payload has %d bad checksums after translation", len(bad))
		}
	}
}

func TestUDPChecksumThatComesToZeroIsSentAsAllOnes(t *testing.T) {
	// The payload is chosen so that the translated datagram sums to all ones.
	for _, c := range [][4]netip.AddrPort{{client4, vip4, laddr4, server4}, {client6, vip6, laddr6, server6}} {
		probe := UDP(c[2], c[3]).Payload([]byte{0, 0}).Bytes()
		info := parse(t, probe)
		sum := binary.BigEndian.Uint16(probe[info.L4+6:])
		payload := []byte{byte(sum >> 8), byte(sum)}
		b := UDP(c[0], c[1]).Payload(payload).Bytes()
		if v := nat.Rewrite(parse(t, b), b, key(t, 17, c[2], c[3])); v != nat.Done {
			t.Fatal(v)
		}
		if got := binary.BigEndian.Uint16(b[info.L4+6:]); got != 0xffff {
			t.Fatalf("checksum %#04x", got)
		}
		verify(t, b)
	}
}

func TestRewriteAllocatesNothing(t *testing.T) {
	b := TCP(client4, vip4).TTL(255).Text("data").Bytes()
	e := ICMPError(Addr("10.9.9.9"), 3, 3, 0, TCP(laddr4, server4).Bytes(), 100).TTL(255).Bytes()
	to := key(t, 6, laddr4, server4)
	var info packet.Info
	if n := testing.AllocsPerRun(100, func() {
		packet.Parse(b, &info)
		nat.Rewrite(&info, b, to)
		packet.Parse(e, &info)
		nat.Rewrite(&info, e, to)
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestVerdictNames(t *testing.T) {
	seen := map[string]bool{}
	for v := nat.Verdict(0); v < nat.NumVerdicts; v++ {
		if s := v.String(); s == "" || seen[s] {
			t.Errorf("verdict %d: %q", v, s)
		} else {
			seen[s] = true
		}
	}
	if nat.NumVerdicts.String() != "unknown_verdict" {
		t.Error("out of range")
	}
}

// FuzzRewrite takes any frame that Parse accepts there and back. On the way every tuple is the one asked for, and what
// comes back is what went, but for TTL and the IPv4 header checksum.
func FuzzRewrite(f *testing.F) {
	for _, b := range [][]byte{
		TCP(client4, vip4).Flags(SYN).MSS(1460).Bytes(),
		UDP(client6, vip6).Ext(0, make([]byte, 6)).Text("x").Bytes(),
		UDP(client4, vip4).NoChecksum().VLAN(9).IPOptions([]byte{1, 1, 1, 0}).Bytes(),
		Echo(client6.Addr(), vip6.Addr(), 4, 4).Bytes(),
		ICMPError(Addr("203.0.113.1"), 3, 4, 1400, TCP(vip4, client4).Text("data").Bytes(), 28).Bytes(),
		ICMPError(Addr("2001:db8:9::1"), 2, 0, 1400, TCP(vip6, client6).Ext(60, make([]byte, 6)).Bytes(), 200).Bytes(),
	} {
		f.Add(b, uint64(0x0a000001c0000201), uint64(1), uint32(0x04010050))
	}
	f.Fuzz(func(t *testing.T, data []byte, a, b uint64, ports uint32) {
		var info packet.Info
		if packet.Parse(data, &info) != packet.OK || info.TTL < 3 {
			return
		}
		own := flow.Key{Addr: info.Addr, Meta: info.Meta}
		if info.Class == packet.ClassError {
			own.Addr, own.Meta = info.Against()
			sealError(data, &info, &own)
			if packet.Parse(data, &info) != packet.OK {
				return
			}
		}
		if info.Class == packet.ClassEcho || own.Proto() == 1 || own.Proto() == 58 {
			ports = ports>>16 | ports&0xffff0000
		}
		to := flow.Key{Addr: [4]uint64{a | 1<<62}, Meta: own.Meta&0xffffffff | uint64(ports)<<32}
		to.Addr[0] &= 0x6fffffffffffffff
		if info.Family() == 6 {
			to.Addr = [4]uint64{0x2001<<48 | a>>16, b, a, 1}
		}
		was := bytes.Clone(data)
		if nat.Rewrite(&info, data, &to) != nat.Done {
			if !bytes.Equal(data, was) {
				t.Fatal("changed what it refused")
			}
			return
		}
		if why := packet.Parse(data, &info); why != packet.OK {
			t.Fatalf("the result is refused: %v", why)
		}
		got := flow.Key{Addr: info.Addr, Meta: info.Meta}
		if info.Class == packet.ClassError {
			got.Addr, got.Meta = info.Against()
		}
		if got != to {
			t.Fatalf("got %v, want %v", got, to)
		}
		if v := nat.Rewrite(&info, data, &own); v != nat.Done {
			t.Fatalf("the way back: %v", v)
		}
		normalize(t, was, data)
		if !bytes.Equal(data, was) {
			t.Fatalf("\ngot  %x\nwant %x", data, was)
		}
	})
}

// sealError makes an error come from the flow's endpoint, as it does after a first translation, with a valid checksum:
// a mutated one would be refused for its checksum and test nothing.
func sealError(data []byte, info *packet.Info, own *flow.Key) {
	info.Addr = own.Addr
	m := packet.ICMP(data[info.L4:info.End])
	m.SetChecksum(0)
	if info.Family() == 4 {
		h := packet.IPv4(data[info.L3:])
		h.SetAddr(own.Addr[0])
		h.SetChecksum(0)
		h.SetChecksum(checksum.Of(h[:h.HeaderLen()]))
		m.SetChecksum(checksum.Of(m))
		return
	}
	packet.IPv6(data[info.L3:]).SetAddr(&own.Addr)
	m.SetChecksum(checksum.PseudoIPv6(&own.Addr, packet.ProtoICMPv6, len(m)).Bytes(m).Checksum())
}

// normalize takes out of both frames what may differ after a journey: TTL, header checksum, and the second form of
// zero in checksums.
func normalize(t *testing.T, frames ...[]byte) {
	for _, b := range frames {
		info := parse(t, b)
		one := func(at int) {
			if at+2 <= int(info.End) && b[at] == 0xff && b[at+1] == 0xff {
				b[at], b[at+1] = 0, 0
			}
		}
		if info.Family() == 4 {
			copy(b[info.L3+8:], []byte{0})
			copy(b[info.L3+10:], []byte{0, 0})
		} else {
			b[info.L3+7] = 0
		}
		sumAt := map[uint8]int{6: 16, 17: 6, 1: 2, 58: 2}
		one(int(info.L4) + sumAt[info.Proto()])
		if info.Class == packet.ClassError {
			if info.Family() == 4 {
				one(int(info.Quote.L3) + 10)
			}
			one(int(info.Quote.L4) + sumAt[uint8(info.Quote.Meta>>8)])
			// The message's checksum covers those.
			copy(b[info.L4+2:], []byte{0, 0})
		}
	}
}

func BenchmarkRewrite(b *testing.B) {
	for _, c := range []struct {
		name  string
		frame []byte
		to    *flow.Key
	}{
		{"tcp4", TCP(client4, vip4).TTL(255).Bytes(), key(b, 6, laddr4, server4)},
		{"tcp6", TCP(client6, vip6).TTL(255).Bytes(), key(b, 6, laddr6, server6)},
		{"udp4", UDP(client4, vip4).TTL(255).Bytes(), key(b, 17, laddr4, server4)},
	} {
		b.Run(c.name, func(b *testing.B) {
			frame := bytes.Clone(c.frame) // rewritten over and over, it is soon no valid packet
			info := parse(b, frame)
			for b.Loop() {
				if nat.Rewrite(info, frame, c.to) != nat.Done {
					b.Fatal("refused")
				}
			}
		})
	}
}
