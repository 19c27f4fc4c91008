package steer

import (
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// suiteKey and suite are Microsoft's RSS verification suite ("Verifying the RSS Hash Calculation", Windows driver docs).
var suiteKey = Key(unhex("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"))

var suite = []struct {
	src, dst  string
	addrs, l4 uint32 // over the addresses alone; over addresses and ports
}{
	{"66.9.149.187:2794", "161.142.100.80:1766", 0x323e8fc2, 0x51ccc178},
	{"199.92.111.2:14230", "65.69.140.83:4739", 0xd718262a, 0xc626b0ea},
	{"24.19.198.95:12898", "12.22.207.184:38024", 0xd2d0a5de, 0x5c2b394a},
	{"38.27.205.30:48228", "209.142.163.6:2217", 0x82989176, 0xafc7327f},
	{"153.39.163.191:44251", "202.188.127.2:1303", 0x5d1809c5, 0x10e828a2},
	{"[3ffe:2501:200:1fff::7]:2794", "[3ffe:2501:200:3::1]:1766", 0x2cc18cd5, 0x40207d3d},
	{"[3ffe:501:8::260:97ff:fe40:efab]:14230", "[ff02::1]:4739", 0x0f0c461c, 0xdde51bbf},
	{"[3ffe:1900:4545:3:200:f8ff:fe21:67cf]:44251", "[fe80::200:f8ff:fe21:67cf]:38024", 0x4b61e985, 0x02d1feef},
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func TestToeplitzAgreesWithTheVerificationSuite(t *testing.T) {
	for _, row := range suite {
		src, dst := netip.MustParseAddrPort(row.src), netip.MustParseAddrPort(row.dst)
		in := append(src.Addr().AsSlice(), dst.Addr().AsSlice()...)
		if got := Toeplitz(&suiteKey, in); got != row.addrs {
			t.Errorf("%v %v: %#x, want %#x", src, dst, got, row.addrs)
		}
		in = append(in, byte(src.Port()>>8), byte(src.Port()), byte(dst.Port()>>8), byte(dst.Port()))
		if got := Toeplitz(&suiteKey, in); got != row.l4 {
			t.Errorf("%v %v with ports: %#x, want %#x", src, dst, got, row.l4)
		}
	}
}

func TestHasherAgreesWithToeplitz(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 3 {
		var key Key
		for i := range key {
			key[i] = byte(rnd.Uint32())
		}
		h := NewHasher(key)
		for range 2000 {
			k := randTuple(rnd, flow.ProtoTCP)
			in := append(k.Src().Addr().AsSlice(), byte(k.SrcPort()>>8), byte(k.SrcPort()))
			want := Toeplitz(&key, in)
			if got := h.Client(k.Family(), k.Addr[0], k.Addr[1], k.SrcPort()); got != want {
				t.Fatalf("%v: %#x, want %#x", k, got, want)
			}
			if got := h.Bucket(k.Family(), k.Addr[0], k.Addr[1], k.SrcPort()); got != flow.Bucket(want) {
				t.Fatalf("%v: bucket %#x of %#x", k, got, want)
			}
		}
		if h.Key() != key {
			t.Fatal("another key")
		}
	}
}

// randTuple makes a tuple of either family.
func randTuple(rnd *rand.Rand, proto uint8) flow.Key {
	k := flow.Key{Meta: uint64(rnd.Uint32())<<32 | uint64(proto)<<8}
	if rnd.IntN(2) == 0 {
		k.Meta |= flow.IPv4
		k.Addr[0] = rnd.Uint64()
		return k
	}
	k.Meta |= flow.IPv6
	k.Addr = [4]uint64{rnd.Uint64(), rnd.Uint64(), rnd.Uint64(), rnd.Uint64()}
	return k
}

func BenchmarkBucket(b *testing.B) {
	h := NewHasher(suiteKey)
	rnd := rand.New(rand.NewPCG(2, 2))
	for _, family := range []uint8{flow.IPv4, flow.IPv6} {
		keys := make([]flow.Key, 0, 1024)
		for len(keys) < cap(keys) {
			if k := randTuple(rnd, flow.ProtoTCP); k.Family() == family {
				keys = append(keys, k)
			}
		}
		b.Run(map[uint8]string{4: "IPv4", 6: "IPv6"}[family], func(b *testing.B) {
			var s flow.Bucket
			for i := range b.N {
				k := &keys[i&1023]
				s += h.Bucket(k.Family(), k.Addr[0], k.Addr[1], k.SrcPort())
			}
			sink = int(s)
		})
	}
}

var sink int
