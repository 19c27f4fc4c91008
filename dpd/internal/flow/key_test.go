package flow

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"unsafe"
)

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func key(t *testing.T, src, dst string) Key {
	t.Helper()
	k, err := MakeKey(ProtoTCP, ap(src), ap(dst))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeyIsFiveWords(t *testing.T) {
	if n := unsafe.Sizeof(Key{}); n != 40 {
		t.Errorf("a key has %d bytes", n)
	}
}

func TestKeyLayoutIsPinned(t *testing.T) {
	if got, want := key(t, "192.0.2.1:4660", "198.51.100.2:80"), (Key{Addr: [4]uint64{0xc0000201_c6336402}, Meta: 0x1234_0050_0000_06_04}); got != want {
		t.Errorf("IPv4: %x, want %x", got, want)
	}
	if got, want := key(t, "[2001:db8::1]:4660", "[2001:db8:1::2]:80"), (Key{
		Addr: [4]uint64{0x20010db8_00000000, 1, 0x20010db8_00010000, 2}, Meta: 0x1234_0050_0000_06_06,
	}); got != want {
		t.Errorf("IPv6: %x, want %x", got, want)
	}
}

func TestKeyGivesBackWhatItWasMadeOf(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 10_000 {
		var b [2][16]byte
		for i := range b {
			for j := range b[i] {
				b[i][j] = byte(rnd.Uint32())
			}
		}
		src, dst := netip.AddrFrom16(b[0]).Unmap(), netip.AddrFrom16(b[1]).Unmap()
		if rnd.IntN(2) == 0 {
			src, dst = netip.AddrFrom4([4]byte(b[0][:4])), netip.AddrFrom4([4]byte(b[1][:4]))
		}
		if src.Is4() != dst.Is4() {
			continue
		}
		s, d := netip.AddrPortFrom(src, uint16(rnd.Uint32())), netip.AddrPortFrom(dst, uint16(rnd.Uint32()))
		proto := uint8(rnd.Uint32())
		k, err := MakeKey(proto, s, d)
		if err != nil || k.Src() != s || k.Dst() != d || k.Proto() != proto {
			t.Fatalf("%v > %v became %v (%v)", s, d, k, err)
		}
		r := k.Reverse()
		if r.Src() != d || r.Dst() != s || r.Proto() != proto || r.Reverse() != k {
			t.Fatalf("the reverse of %v is %v", k, r)
		}
	}
}

func TestKeyOfTwoFamiliesIsRefused(t *testing.T) {
	for _, p := range [][2]netip.AddrPort{
		{ap("192.0.2.1:1"), ap("[2001:db8::1]:1")},
		{ap("[2001:db8::1]:1"), ap("192.0.2.1:1")},
		{{}, ap("192.0.2.1:1")},
		{ap("192.0.2.1:1"), {}},
	} {
		if k, err := MakeKey(ProtoUDP, p[0], p[1]); err == nil || k != (Key{}) {
			t.Errorf("%v > %v became %v", p[0], p[1], k)
		}
	}
}

func TestA4In6AddressIsIPv4(t *testing.T) {
	if a, b := key(t, "[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:2"), key(t, "192.0.2.1:1", "192.0.2.2:2"); a != b {
		t.Errorf("%v and %v", a, b)
	}
}

func TestCompareIsAnOrder(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 2))
	word := func() uint64 { return rnd.Uint64N(3) << 62 } // few values, the top bit among them
	for range 5000 {
		var k [3]Key
		for i := range k {
			k[i] = Key{Addr: [4]uint64{word(), word(), word(), word()}, Meta: word()}
		}
		a, b, c := &k[0], &k[1], &k[2]
		if a.Compare(b) != -b.Compare(a) || (a.Compare(b) == 0) != (*a == *b) {
			t.Fatalf("%x against %x: %d and %d", a, b, a.Compare(b), b.Compare(a))
		}
		if a.Compare(b) <= 0 && b.Compare(c) <= 0 && a.Compare(c) > 0 {
			t.Fatalf("%x <= %x <= %x, but not the first <= the last", a, b, c)
		}
	}
}
