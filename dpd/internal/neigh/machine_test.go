package neigh

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

var (
	ourMAC   = [6]byte{2, 0, 0, 0, 0, 0x10}
	ourMAC2  = [6]byte{2, 0, 0, 0, 0, 0x20}
	gwMAC    = [6]byte{2, 0, 0, 0, 1, 1}
	peerMAC  = [6]byte{2, 0, 0, 0, 1, 9}
	evilMAC  = [6]byte{2, 6, 6, 6, 6, 6}
	our4     = dpdtest.Addr("10.0.0.10")
	our6     = dpdtest.Addr("2001:db8::10")
	gw4      = dpdtest.Addr("10.0.0.1")
	gw6      = dpdtest.Addr("2001:db8::1")
	peer4    = dpdtest.Addr("10.0.0.9")
	peer6    = dpdtest.Addr("2001:db8::9")
	far4     = dpdtest.Addr("192.0.2.7")
	far6     = dpdtest.Addr("2001:db8:f::7")
	linkOurs = dpdtest.Addr("fe80::ff:fe00:10")
)

type sent struct {
	port  int
	frame []byte
}

// world is a machine with what it sent and a clock moved by hand.
type world struct {
	t    *testing.T
	m    *Machine
	pool *dpdtest.Pool
	now  uint32
	out  []sent
}

func testConfig() Config {
	return Config{Ports: []Port{
		{MAC: ourMAC, MTU: 1500, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.10/24"), netip.MustParsePrefix("2001:db8::10/64")}},
		{MAC: ourMAC2, MTU: 9000, VLAN: 7, Addresses: []netip.Prefix{netip.MustParsePrefix("10.7.0.10/24")}},
	}}
}

func withGateways(c Config) Config {
	c.Ports[0].Routes = []Route{
		{netip.MustParsePrefix("0.0.0.0/0"), gw4},
		{netip.MustParsePrefix("::/0"), gw6},
	}
	return c
}

func newWorld(t *testing.T, c Config) *world {
	t.Helper()
	// The clock begins just before it wraps: every comparison is exercised across it.
	w := &world{t: t, pool: dpdtest.NewPool(256), now: ^uint32(0) - 2500}
	c.Pool = w.pool
	c.Send = func(port int, p port.Packet) {
		w.out = append(w.out, sent{port, bytes.Clone(p.Data)})
		w.pool.FreeOne(p)
	}
	var err error
	if w.m, err = New(w.now, c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, e := range w.m.list {
			w.m.dropWaiting(e, Unreachable)
		}
		dpdtest.CheckLeaks(t, w.pool)
		if w.m.waiting != 0 {
			t.Errorf("%d packets wait in no queue", w.m.waiting)
		}
	})
	return w
}

// quiet lets the announcements of the start pass.
func (w *world) quiet() *world {
	w.pass(5000)
	w.out = nil
	return w
}

// pass lets ms milliseconds go by in steps of ten.
func (w *world) pass(ms int) {
	for ; ms > 0; ms -= 10 {
		w.now += 10
		w.m.Tick(w.now)
	}
}

func (w *world) in(p int, f *dpdtest.Frame) {
	w.t.Helper()
	w.raw(p, f.Bytes())
}

func (w *world) raw(p int, frame []byte) {
	w.t.Helper()
	k := w.pool.Make(frame)
	var info packet.Info
	if why := packet.Parse(k.Data, &info); why != packet.OK {
		w.t.Fatalf("refused: %v", why)
	}
	w.m.Input(w.now, p, &info, k)
}

// take returns what was sent since the last time. Every frame must be one that an independent parser accepts.
func (w *world) take() []sent {
	w.t.Helper()
	out := w.out
	w.out = nil
	for _, s := range out {
		p := gopacket.NewPacket(s.frame, layers.LayerTypeEthernet, gopacket.Default)
		if e := p.ErrorLayer(); e != nil {
			w.t.Fatalf("%v\n%v", e.Error(), p)
		}
		for _, l := range p.Layers() {
			if c, ok := l.(interface {
				SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
			}); ok {
				if err := c.SetNetworkLayerForChecksum(p.NetworkLayer()); err != nil {
					w.t.Fatal(err)
				}
			}
		}
		if err, bad := p.VerifyChecksums(); err != nil || len(bad) > 0 {
			w.t.Fatalf("%v, bad checksums %v\n%v", err, bad, p)
		}
	}
	return out
}

func (w *world) count(c Count) uint64 { return w.m.pub.Count(c) }

// expect compares what was sent with the built frames, in order.
func (w *world) expect(port int, want ...*dpdtest.Frame) {
	w.t.Helper()
	got := w.take()
	if len(got) != len(want) {
		w.t.Fatalf("sent %d frames, want %d: %x", len(got), len(want), got)
	}
	for i := range want {
		if b := want[i].Bytes(); got[i].port != port || !bytes.Equal(got[i].frame, b) {
			w.t.Fatalf("frame %d by port %d\ngot  %x\nwant %x by port %d", i, got[i].port, got[i].frame, b, port)
		}
	}
}

func (w *world) state(a netip.Addr) string {
	for _, e := range w.m.list {
		if e.addr == a {
			return e.state.String()
		}
	}
	return "absent"
}

func request(target netip.Addr) *dpdtest.Frame {
	return dpdtest.ARP(packet.ARPRequest, peerMAC, peer4, [6]byte{}, target)
}

func TestARPIsAnsweredFor(t *testing.T) {
	w := newWorld(t, testConfig()).quiet()
	if err := w.m.SetAddresses([]Owned{
		{netip.MustParsePrefix("10.0.0.50/32"), true},
		{netip.MustParsePrefix("10.0.0.64/28"), true},
		{netip.MustParsePrefix("10.0.0.99/32"), false},
	}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		target string
		port   int
		answer bool
	}{
		{"the port's address", "10.0.0.10", 0, true},
		{"a service address", "10.0.0.50", 0, true},
		{"an address of a block", "10.0.0.79", 0, true},
		{"an address beyond the block", "10.0.0.80", 0, false},
		{"an address that is reached by routing", "10.0.0.99", 0, false},
		{"a stranger's address", "10.0.0.200", 0, false},
		{"another port's address", "10.7.0.10", 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.out = nil
			w.in(c.port, request(dpdtest.Addr(c.target)).Pad(60))
			if !c.answer {
				w.expect(0)
				return
			}
			w.expect(0, dpdtest.ARP(packet.ARPReply, ourMAC, dpdtest.Addr(c.target), peerMAC, peer4).Pad(60))
		})
	}
}

func TestARPOnAVLANKeepsTheTag(t *testing.T) {
	w := newWorld(t, testConfig()).quiet()
	ask := func() *dpdtest.Frame {
		return dpdtest.ARP(packet.ARPRequest, peerMAC, dpdtest.Addr("10.7.0.9"), [6]byte{}, dpdtest.Addr("10.7.0.10"))
	}
	w.in(1, ask())
	w.in(1, ask().VLAN(8))
	w.expect(1)
	if n := w.count(WrongLink); n != 2 {
		t.Fatalf("%d on the wrong link", n)
	}
	w.in(1, ask().VLAN(7))
	w.expect(1, dpdtest.ARP(packet.ARPReply, ourMAC2, dpdtest.Addr("10.7.0.10"), peerMAC, dpdtest.Addr("10.7.0.9")).VLAN(7))
	// A priority tag is no VLAN.
	w.in(0, request(our4).VLAN(0))
	w.expect(0, dpdtest.ARP(packet.ARPReply, ourMAC, our4, peerMAC, peer4).VLAN(0))
}

func TestARPThatIsNotBelieved(t *testing.T) {
	for _, c := range []struct {
		name  string
		frame *dpdtest.Frame
		want  Count
	}{
		{"a reply without a question", dpdtest.ARP(packet.ARPReply, peerMAC, peer4, ourMAC, our4), Unasked},
		{"a gratuitous request of a stranger", dpdtest.ARP(packet.ARPRequest, peerMAC, peer4, [6]byte{}, peer4), Unasked},
		{"our own broadcast", dpdtest.ARP(packet.ARPRequest, ourMAC, our4, [6]byte{}, peer4), Unasked},
		{"an unknown operation", dpdtest.ARP(3, peerMAC, peer4, ourMAC, our4), BadMessage},
		{"a request from a group", dpdtest.ARP(packet.ARPRequest, [6]byte{1}, peer4, [6]byte{}, our4), BadMessage},
		{"a frame for another station", dpdtest.ARP(packet.ARPReply, peerMAC, peer4, gwMAC, our4), WrongLink},
		{"a request for another's address", request(gw4), NotOurs},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, testConfig()).quiet()
			w.in(0, c.frame)
			w.m.Tick(w.now)
			w.expect(0)
			if w.count(c.want) != 1 || len(w.m.list) != 0 {
				t.Fatalf("counted %d, %d neighbours", w.count(c.want), len(w.m.list))
			}
		})
	}
}

func TestSendersOfRequestsAreLearned(t *testing.T) {
	w := newWorld(t, testConfig()).quiet()
	w.in(0, request(our4))
	w.m.Tick(w.now)
	if h := w.m.pub.Load().Route(peer4); h == nil || h.Dst != peerMAC || h.Src != ourMAC || h.Port != 0 || w.state(peer4) != "stale" {
		t.Fatalf("hop %+v, %s", h, w.state(peer4))
	}
	// Off-link senders, probes and the senders of requests for others are answered at most.
	w.in(0, dpdtest.ARP(packet.ARPRequest, peerMAC, far4, [6]byte{}, our4))
	w.in(0, dpdtest.ARP(packet.ARPRequest, peerMAC, dpdtest.Addr("0.0.0.0"), [6]byte{}, our4))
	w.in(0, dpdtest.ARP(packet.ARPRequest, peerMAC, dpdtest.Addr("10.0.0.8"), [6]byte{}, gw4))
	if len(w.m.list) != 1 {
		t.Fatalf("%d neighbours", len(w.m.list))
	}
}

func TestLearningIsLimited(t *testing.T) {
	c := testConfig()
	c.MaxNeighbors = 16
	w := newWorld(t, c).quiet()
	for i := range 200 {
		w.in(0, dpdtest.ARP(packet.ARPRequest, peerMAC, netip.AddrFrom4([4]byte{10, 0, 0, byte(20 + i)}), [6]byte{}, our4))
	}
	if w.count(Limited) == 0 || len(w.m.list) != 16 {
		t.Fatalf("%d neighbours, limited %d times", len(w.m.list), w.count(Limited))
	}
	// The next second brings new ones in place of the oldest stale ones.
	w.pass(1000)
	w.in(0, request(our4))
	if w.m.find(0, peer4) == nil || len(w.m.list) != 16 {
		t.Fatal("a full table of stale neighbours has no room")
	}
}

func TestNeighbourSolicitationIsAnswered(t *testing.T) {
	w := newWorld(t, testConfig()).quiet()
	if err := w.m.SetAddresses([]Owned{{netip.MustParsePrefix("2001:db8::50/128"), true}, {netip.MustParsePrefix("2001:db8::60/128"), false}}); err != nil {
		t.Fatal(err)
	}
	vip := dpdtest.Addr("2001:db8::50")
	for _, c := range []struct {
		name     string
		ask      *dpdtest.Frame
		want     *dpdtest.Frame
		unlearnt bool
	}{
		{name: "for the port's address with override", ask: dpdtest.NS(peerMAC, peer6, our6), want: dpdtest.NA(ourMAC, our6, peer6, our6, packet.NDSolicited|packet.NDOverride).Eth(peerMAC, ourMAC)},
		{name: "for the link-local address", ask: dpdtest.NS(peerMAC, peer6, linkOurs), want: dpdtest.NA(ourMAC, linkOurs, peer6, linkOurs, packet.NDSolicited|packet.NDOverride).Eth(peerMAC, ourMAC)},
		{name: "for a service address without override", ask: dpdtest.NS(peerMAC, peer6, vip), want: dpdtest.NA(ourMAC, vip, peer6, vip, packet.NDSolicited).Eth(peerMAC, ourMAC)},
		{name: "to duplicate address detection, to all nodes", ask: dpdtest.NS(peerMAC, dpdtest.Addr("::"), our6), want: nil},
		{name: "not for an address that is reached by routing", ask: dpdtest.NS(peerMAC, peer6, dpdtest.Addr("2001:db8::60")), unlearnt: true},
		{name: "not for a stranger's", ask: dpdtest.NS(peerMAC, peer6, gw6), unlearnt: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.out = nil
			b := c.ask.Bytes()
			if c.ask == nil {
				t.Fatal("no question")
			}
			if c.name == "to duplicate address detection, to all nodes" {
				// A probe has no link-layer option.
				b = dpdtest.ICMP(dpdtest.Addr("::"), dpdtest.Addr("ff02::1:ff00:10"), packet.ICMPv6Solicit, 0, 0).Payload(our6.AsSlice()).TTL(255).Eth([6]byte{0x33, 0x33, 0xff, 0, 0, 0x10}, peerMAC).Bytes()
				c.want = dpdtest.NA(ourMAC, our6, dpdtest.Addr("ff02::1"), our6, packet.NDOverride).Eth([6]byte{0x33, 0x33, 0, 0, 0, 1}, ourMAC)
			}
			w.raw(0, b)
			if c.want == nil {
				w.expect(0)
			} else {
				w.expect(0, c.want)
			}
		})
	}
	if e := w.m.find(0, peer6); e == nil || e.hop.Dst != peerMAC {
		t.Fatal("the asker was not learned")
	}
}

func TestNeighbourMessagesThatAreRefused(t *testing.T) {
	damaged := func(f *dpdtest.Frame) []byte {
		b := f.Bytes()
		b[len(b)-1] ^= 1
		return b
	}
	for _, c := range []struct {
		name  string
		frame []byte
		want  Count
	}{
		{"hop limit 254", dpdtest.NS(peerMAC, peer6, our6).TTL(254).Bytes(), BadMessage},
		{"a bad checksum", damaged(dpdtest.NS(peerMAC, peer6, our6)), BadMessage},
		{"a multicast target", dpdtest.NS(peerMAC, peer6, dpdtest.Addr("ff02::1")).Bytes(), BadMessage},
		{"a probe with a link-layer option", dpdtest.NS(peerMAC, dpdtest.Addr("::"), our6).Bytes(), BadMessage},
		{"a probe that is not sent to the group", dpdtest.NS(peerMAC, dpdtest.Addr("::"), our6).Eth(ourMAC, peerMAC).Bytes(), BadMessage},
		{"an option of length zero", dpdtest.ICMP(peer6, our6, packet.ICMPv6Solicit, 0, 0).Payload(append(our6.AsSlice(), 1, 0, 0, 0, 0, 0, 0, 0)).TTL(255).Eth(ourMAC, peerMAC).Bytes(), BadMessage},
		{"a code", dpdtest.ICMP(peer6, our6, packet.ICMPv6Solicit, 1, 0).Payload(our6.AsSlice()).TTL(255).Eth(ourMAC, peerMAC).Bytes(), BadMessage},
		{"a solicited advertisement to a group", dpdtest.NA(peerMAC, peer6, dpdtest.Addr("ff02::1"), peer6, packet.NDSolicited).Eth(ourMAC, peerMAC).Bytes(), BadMessage},
		{"an advertisement without a question", dpdtest.NA(peerMAC, peer6, our6, peer6, packet.NDSolicited).Eth(ourMAC, peerMAC).Bytes(), Unasked},
		{"an unasked advertisement of a stranger", dpdtest.NA(peerMAC, peer6, dpdtest.Addr("ff02::1"), peer6, packet.NDOverride).Eth([6]byte{0x33, 0x33, 0, 0, 0, 1}, peerMAC).Bytes(), Unasked},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, testConfig()).quiet()
			w.raw(0, c.frame)
			w.m.Tick(w.now)
			w.expect(0)
			if w.count(c.want) != 1 || len(w.m.list) != 0 {
				t.Fatalf("counted %d, %d neighbours", w.count(c.want), len(w.m.list))
			}
		})
	}
}

func TestEcho(t *testing.T) {
	w := newWorld(t, testConfig()).quiet()
	if err := w.m.SetAddresses([]Owned{{netip.MustParsePrefix("198.51.100.1/32"), false}}); err != nil {
		t.Fatal(err)
	}
	vip := dpdtest.Addr("198.51.100.1")
	in := func(f *dpdtest.Frame) *dpdtest.Frame { return f.Eth(ourMAC, gwMAC) }
	out := func(f *dpdtest.Frame) *dpdtest.Frame { return f.Eth(gwMAC, ourMAC) }

	w.in(0, in(dpdtest.Echo(far4, our4, 7, 9).Text("ping").TTL(3)))
	w.expect(0, out(dpdtest.EchoReply(our4, far4, 7, 9).Text("ping")))
	w.in(0, in(dpdtest.Echo(far6, our6, 7, 9).Text("odd")))
	w.expect(0, out(dpdtest.EchoReply(our6, far6, 7, 9).Text("odd")))
	w.in(0, in(dpdtest.Echo(far4, vip, 7, 9).IPOptions([]byte{1, 1, 1, 0})))
	w.expect(0, out(dpdtest.EchoReply(vip, far4, 7, 9).IPOptions([]byte{1, 1, 1, 0})))

	bad := in(dpdtest.Echo(far4, our4, 7, 9).Text("ping")).Bytes()
	bad[len(bad)-1] ^= 1
	w.raw(0, bad)
	w.in(0, in(dpdtest.Echo(far4, dpdtest.Addr("198.51.100.2"), 7, 9)))
	w.in(0, dpdtest.Echo(far4, our4, 7, 9).Eth(broadcast, gwMAC))
	w.in(0, in(dpdtest.EchoReply(far4, our4, 7, 9)))
	w.in(0, in(dpdtest.Echo(our4, our4, 7, 9)))
	w.expect(0)
	if w.count(BadMessage) != 2 || w.count(NotOurs) != 2 || w.count(Unasked) != 1 {
		t.Fatalf("bad %d, not ours %d, unasked %d", w.count(BadMessage), w.count(NotOurs), w.count(Unasked))
	}
	for range 1200 {
		w.in(0, in(dpdtest.Echo(far4, our4, 7, 9)))
	}
	if n := len(w.take()); n > echoPerSecond || w.count(Limited) == 0 {
		t.Fatalf("%d answers in one second", n)
	}
}

func TestAnEmptyPoolIsSurvived(t *testing.T) {
	w := newWorld(t, withGateways(testConfig()))
	w.pool.Exhaust(true)
	w.pass(3000)
	if w.count(PoolEmpty) == 0 {
		t.Fatal("not counted")
	}
	w.pool.Exhaust(false)
	w.pass(3000)
	if len(w.take()) == 0 {
		t.Fatal("not recovered")
	}
}

func TestBadConfiguration(t *testing.T) {
	p := netip.MustParsePrefix
	for _, c := range []struct {
		name string
		edit func(*Config)
		want error
	}{
		{"no ports", func(c *Config) { c.Ports = nil }, ErrPort},
		{"a group MAC", func(c *Config) { c.Ports[0].MAC = [6]byte{1} }, ErrPort},
		{"an MTU of 0", func(c *Config) { c.Ports[0].MTU = 0 }, ErrPort},
		{"VLAN 4095", func(c *Config) { c.Ports[0].VLAN = 4095 }, ErrPort},
		{"a multicast address", func(c *Config) { c.Ports[0].Addresses = []netip.Prefix{p("224.0.0.1/32")} }, ErrAddress},
		{"an invalid address", func(c *Config) { c.Ports[0].Addresses = []netip.Prefix{{}} }, ErrAddress},
		{"an address twice", func(c *Config) { c.Ports[1].Addresses = c.Ports[0].Addresses }, ErrAddress},
		{"a gateway off the link", func(c *Config) { c.Ports[0].Routes = []Route{{p("0.0.0.0/0"), dpdtest.Addr("10.1.0.1")}} }, ErrRoute},
		{"a gateway that is ours", func(c *Config) { c.Ports[0].Routes = []Route{{p("0.0.0.0/0"), our4}} }, ErrRoute},
		{"a gateway of another family", func(c *Config) { c.Ports[0].Routes = []Route{{p("0.0.0.0/0"), gw6}} }, ErrRoute},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := testConfig()
			c.edit(&cfg)
			if _, err := New(0, cfg); !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
		})
	}
	w := newWorld(t, testConfig())
	if err := w.m.SetAddresses([]Owned{{p("ff02::1/128"), true}}); !errors.Is(err, ErrAddress) {
		t.Fatal(err)
	}
	if err := w.m.SetAddresses(make([]Owned, maxAddresses+1)); !errors.Is(err, ErrTooMany) {
		t.Fatal(err)
	}
}

func TestNamesAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for c := Count(0); c < NumCounts; c++ {
		if s := c.String(); s == "" || seen[s] {
			t.Errorf("count %d: %q", c, s)
		} else {
			seen[s] = true
		}
	}
	if NumCounts.String() != "unknown_count" || numStates.String() != "unknown" {
		t.Error("out of range")
	}
}

// FuzzInput throws any frame at a machine with learned neighbours: it neither panics, nor loses a packet, nor lets a
// packet that nobody asked for change a binding.
func FuzzInput(f *testing.F) {
	for _, b := range []*dpdtest.Frame{
		request(our4), dpdtest.ARP(packet.ARPReply, evilMAC, peer4, ourMAC, our4), dpdtest.NS(evilMAC, peer6, our6), dpdtest.NA(evilMAC, peer6, our6, peer6, packet.NDSolicited|packet.NDOverride),
		dpdtest.Echo(far4, our4, 1, 1).Eth(ourMAC, gwMAC), dpdtest.EchoReply(gw4, our4, echoID, 1).Eth(ourMAC, gwMAC),
	} {
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) > dpdtest.Room {
			return
		}
		w := newWorld(t, withGateways(testConfig()))
		for _, a := range []netip.Addr{peer4, peer6} {
			w.m.confirm(w.now, w.m.create(w.now, 0, a), peerMAC)
		}
		k := w.pool.Make(frame)
		var info packet.Info
		if packet.Parse(k.Data, &info) != packet.OK {
			w.pool.FreeOne(k)
			return
		}
		w.m.Input(w.now, 0, &info, k)
		w.m.Tick(w.now)
		for _, a := range []netip.Addr{peer4, peer6} {
			if h := w.m.pub.Load().Route(a); h == nil || h.Dst != peerMAC {
				t.Fatalf("%v is now at %+v", a, h)
			}
		}
	})
}
