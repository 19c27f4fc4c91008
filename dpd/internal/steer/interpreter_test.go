package steer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

// naive evaluates the rule list for a tuple line by line, as its documentation reads.
func naive(rules []Rule, k *flow.Key) *Rule {
	var best *Rule
	for i := range rules {
		r := &rules[i]
		if r.Family != 0 {
			if r.Family != k.Family() || !r.Dst.Contains(k.Dst().Addr()) || r.Proto != 0 && r.Proto != k.Proto() {
				continue
			}
			if r.PortMask != 0 && k.DstPort()&r.PortMask != r.Port {
				continue
			}
		}
		if best == nil || r.Priority < best.Priority {
			best = r
		}
	}
	return best
}

func naiveVerdict(rules []Rule, info *packet.Info) Verdict {
	k := flow.Key{Addr: info.Addr, Meta: info.Meta}
	switch info.Class {
	case packet.ClassTCP, packet.ClassUDP:
	case packet.ClassError:
		q := flow.Key{Addr: info.Quote.Addr, Meta: info.Quote.Meta}
		k = q.Reverse()
	default:
		return Verdict{}
	}
	if k.Proto() != flow.ProtoTCP && k.Proto() != flow.ProtoUDP {
		return Verdict{}
	}
	r := naive(rules, &k)
	switch {
	case r == nil || r.Purpose == CatchAll:
		return Verdict{}
	case r.Purpose == Sync && info.Class == packet.ClassError:
		return Verdict{}
	case r.Purpose == Sync:
		return Verdict{Kind: ToSync}
	case r.RSS != nil:
		in := append(k.Src().Addr().AsSlice(), byte(k.SrcPort()>>8), byte(k.SrcPort()))
		return Verdict{ToWorker, int(r.RSS.RETA[Toeplitz(&r.RSS.Key, in)%Buckets])}
	}
	return Verdict{ToWorker, int(r.Queue)}
}

func keyTo(rnd *rand.Rand, proto uint8, dst netip.Addr, port uint16) flow.Key {
	src := netip.AddrFrom4([4]byte{192, 0, 2, byte(rnd.Uint32())})
	if dst.Is6() {
		src = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(rnd.Uint32())})
	}
	k, err := flow.MakeKey(proto, netip.AddrPortFrom(src, uint16(rnd.Uint32())), netip.AddrPortFrom(dst, port))
	if err != nil {
		panic(err)
	}
	return k
}

// infoOf is what Parse would say of a packet, or of an ICMP error that quotes the flow of one.
func infoOf(k *flow.Key, quoted bool) packet.Info {
	var info packet.Info
	if quoted {
		r := k.Reverse()
		info.Class, info.Quote.Addr, info.Quote.Meta = packet.ClassError, r.Addr, r.Meta
		info.Addr, info.Meta = k.Addr, k.Meta&0xff|flow.ProtoICMP<<8
		return info
	}
	info.Class, info.Addr, info.Meta = packet.ClassTCP, k.Addr, k.Meta
	if k.Proto() == flow.ProtoUDP {
		info.Class = packet.ClassUDP
	}
	return info
}

func TestSteer(t *testing.T) {
	for workers := 1; workers <= 3; workers++ {
		rules, err := Rules(testConfig(t, workers))
		if err != nil {
			t.Fatal(err)
		}
		in, err := NewInterpreter(NewHasher(suiteKey), rules)
		if err != nil {
			t.Fatal(err)
		}
		m := mapOf(t, workers)
		rnd := rand.New(rand.NewPCG(uint64(workers), 3))
		hashed := func(k flow.Key) Verdict {
			return Verdict{ToWorker, m.Worker(in.Bucket(k.Addr, k.Meta))}
		}
		key := func(proto uint8, dst string, port uint16) flow.Key {
			return keyTo(rnd, proto, netip.MustParseAddr(dst), port)
		}
		vip4, vip6 := key(6, "198.51.100.1", 80), key(17, "2001:db8:1::1", 53)
		lport4, lport6 := key(6, "10.1.0.77", 0x1234), key(17, "fd01::99", 0x4321)
		sync4, sync6, near := key(17, "10.9.0.1", 7400), key(17, "fd09::1", 7400), key(17, "10.9.0.1", 7401)
		syncTCP, stray := key(6, "10.9.0.1", 7400), key(6, "203.0.113.9", 80)
		echo := infoOf(&vip4, false)
		echo.Class = packet.ClassEcho
		arp := packet.Info{Class: packet.ClassARP}
		quoteOfICMP := infoOf(&vip4, true)
		quoteOfICMP.Quote.Meta = quoteOfICMP.Quote.Meta&^0xff00 | flow.ProtoICMP<<8
		for _, row := range []struct {
			name string
			info packet.Info
			want Verdict
		}{
			{"a client by its hash, IPv4", infoOf(&vip4, false), hashed(vip4)},
			{"a client by its hash, IPv6", infoOf(&vip6, false), hashed(vip6)},
			{"a server by the local port, IPv4", infoOf(&lport4, false), Verdict{ToWorker, m.Worker(0x34)}},
			{"a server by the local port, IPv6", infoOf(&lport6, false), Verdict{ToWorker, m.Worker(0x21)}},
			{"an error about what went to a client", infoOf(&vip4, true), hashed(vip4)},
			{"an error about what went to a server", infoOf(&lport6, true), Verdict{ToWorker, m.Worker(0x21)}},
			{"an error about an ICMP packet", quoteOfICMP, Verdict{}},
			{"sync, IPv4", infoOf(&sync4, false), Verdict{Kind: ToSync}},
			{"sync, IPv6", infoOf(&sync6, false), Verdict{Kind: ToSync}},
			{"another port of the sync address", infoOf(&near, false), Verdict{}},
			{"TCP to the sync port", infoOf(&syncTCP, false), Verdict{}},
			{"an error about our own sync datagram", infoOf(&sync4, true), Verdict{}},
			{"TCP to nobody", infoOf(&stray, false), Verdict{}},
			{"an echo request to a VIP", echo, Verdict{}},
			{"ARP", arp, Verdict{}},
			{"what Parse refused", packet.Info{}, Verdict{}},
		} {
			t.Run(fmt.Sprintf("%s, %d workers", row.name, workers), func(t *testing.T) {
				if got := in.Steer(&row.info); got != row.want {
					t.Errorf("got %+v, want %+v", got, row.want)
				}
				if got := naiveVerdict(rules, &row.info); got != row.want {
					t.Errorf("the naive evaluation says %+v, want %+v", got, row.want)
				}
			})
		}
	}
}

// randRules is any list, not only what Rules makes: overlapping prefixes, any masks, missing catch-all.
func randRules(rnd *rand.Rand, addr func() netip.Addr) []Rule {
	var rules []Rule
	rss := &RSS{Key: suiteKey}
	for i := range rss.RETA {
		rss.RETA[i] = uint16(rnd.IntN(3))
	}
	for i := range rnd.IntN(40) {
		r := Rule{Purpose: Purpose(1 + rnd.IntN(4)), Priority: uint32(i), Queue: uint16(rnd.IntN(4))}
		if rnd.IntN(20) > 0 {
			a := addr()
			r.Family = family(a)
			r.Dst, _ = a.Prefix(a.BitLen() - rnd.IntN(4))
			r.Proto = []uint8{0, 6, 17}[rnd.IntN(3)]
			r.PortMask = []uint16{0, 1, 3, 0x7f, 0xff, 0xffff, 0x8001}[rnd.IntN(7)]
			r.Port = uint16(rnd.IntN(512)) & r.PortMask
			if rnd.IntN(3) == 0 {
				r.RSS = rss
			}
		}
		rules = append(rules, r)
	}
	rnd.Shuffle(len(rules), func(i, j int) { rules[i], rules[j] = rules[j], rules[i] })
	return rules
}

// TestInterpreterAgreesWithTheList on random packets under random lists, and under the lists that Rules makes.
func TestInterpreterAgreesWithTheList(t *testing.T) {
	h := NewHasher(suiteKey)
	rnd := rand.New(rand.NewPCG(9, 9))
	addr := func() netip.Addr {
		b := byte(rnd.IntN(20))
		if rnd.IntN(2) == 0 {
			return netip.AddrFrom4([4]byte{10, 9, 0, b})
		}
		return netip.AddrFrom16([16]byte{0xfd, 9, 15: b})
	}
	var last []Rule
	for round := range 400 {
		rules := randRules(rnd, addr)
		if round%4 == 0 {
			c := testConfig(t, 1+rnd.IntN(5))
			var err error
			if rules, err = Rules(c); err != nil {
				t.Fatal(err)
			}
		}
		last = rules
		in, err := NewInterpreter(h, rules)
		if err != nil {
			t.Fatal(err)
		}
		for range 200 {
			dst := addr()
			if n := len(rules); n > 0 && rnd.IntN(2) == 0 {
				if r := rules[rnd.IntN(n)]; r.Family != 0 {
					dst = r.Dst.Addr()
				}
			}
			proto := []uint8{flow.ProtoTCP, flow.ProtoUDP, flow.ProtoICMP}[rnd.IntN(3)]
			port := uint16(rnd.Uint32())
			if rnd.IntN(2) == 0 {
				port = []uint16{7400, 80, 53, uint16(rnd.IntN(512))}[rnd.IntN(4)]
			}
			k := keyTo(rnd, proto, dst, port)
			info := infoOf(&k, rnd.IntN(4) == 0 || proto == flow.ProtoICMP)
			if got, want := in.Steer(&info), naiveVerdict(rules, &info); got != want {
				t.Fatalf("round %d: %v (class %d): %+v, want %+v\n%v", round, k, info.Class, got, want, rules)
			}
			local := false
			for _, r := range rules {
				local = local || r.Purpose == LocalPort && r.Family != 0 && r.Dst.Contains(dst)
			}
			if got := in.Local(dst); got != local {
				t.Fatalf("round %d: Local(%v) is %v\n%v", round, dst, got, rules)
			}
		}
	}
	if len(last) == 0 {
		t.Log("the last list was empty")
	}
}

// TestBothDirectionsMeet: the worker that a client's packets reach is the one that the server's reach, if the local
// port was taken from the client's bucket; on every node, whatever its number of workers.
func TestBothDirectionsMeet(t *testing.T) {
	h := NewHasher(suiteKey)
	rnd := rand.New(rand.NewPCG(4, 4))
	for workers := 1; workers <= 7; workers++ {
		rules, err := Rules(testConfig(t, workers))
		if err != nil {
			t.Fatal(err)
		}
		in, err := NewInterpreter(h, rules)
		if err != nil {
			t.Fatal(err)
		}
		used := map[int]bool{}
		for range 2000 {
			c := keyTo(rnd, 6, netip.MustParseAddr("2001:db8:1::1"), 80)
			port := uint16(4+rnd.IntN(252))<<8 | uint16(in.Bucket(c.Addr, c.Meta))
			s := keyTo(rnd, 6, netip.MustParseAddr("10.1.0.200"), port) // 6to4
			ci, si := infoOf(&c, false), infoOf(&s, false)
			a, b := in.Steer(&ci), in.Steer(&si)
			if a != b || a.Kind != ToWorker || a.Worker >= workers {
				t.Fatalf("%d workers: %v to %+v, %v to %+v", workers, c, a, s, b)
			}
			used[a.Worker] = true
		}
		if len(used) != workers {
			t.Errorf("%d of %d workers are used", len(used), workers)
		}
	}
}

func TestNewInterpreterRefuses(t *testing.T) {
	for _, row := range []struct {
		name string
		rule Rule
	}{
		{"a hash under another key", Rule{Purpose: ClientHash, RSS: new(RSS)}},
		{"a rule without prefix", Rule{Family: 4}},
		{"a prefix of the other family", Rule{Family: 4, Dst: netip.MustParsePrefix("fd00::/8")}},
		{"a protocol without ports", Rule{Family: 4, Dst: netip.MustParsePrefix("10.0.0.0/8"), Proto: 1}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if in, err := NewInterpreter(NewHasher(suiteKey), []Rule{row.rule}); !errors.Is(err, ErrConfig) || in != nil {
				t.Errorf("got %v", err)
			}
		})
	}
	in, err := NewInterpreter(NewHasher(suiteKey), nil)
	if err != nil {
		t.Fatal(err)
	}
	if in.Local(netip.Addr{}) || in.Local(netip.MustParseAddr("10.0.0.1")) {
		t.Error("something is local to an empty list")
	}
}

func TestSteerAllocatesNothing(t *testing.T) {
	in, infos := benchSet(t)
	if n := testing.AllocsPerRun(10, func() {
		for i := range infos {
			sink += in.Steer(&infos[i]).Worker
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func benchSet(t testing.TB) (*Interpreter, []packet.Info) {
	rules, err := Rules(testConfig(t, 3))
	if err != nil {
		t.Fatal(err)
	}
	in, err := NewInterpreter(NewHasher(suiteKey), rules)
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(5, 5))
	infos := make([]packet.Info, 1024)
	for i := range infos {
		dst := []string{"198.51.100.1", "10.1.0.3"}[i%2]
		k := keyTo(rnd, 6, netip.MustParseAddr(dst), uint16(rnd.Uint32()))
		infos[i] = infoOf(&k, false)
	}
	return in, infos
}

func BenchmarkSteer(b *testing.B) {
	in, infos := benchSet(b)
	for i := range b.N {
		sink += in.Steer(&infos[i&1023]).Worker
	}
}
