package checksum

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// reference is RFC 1071's loop in its plainest form.
func reference(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		w := uint32(b[i]) << 8
		if i+1 < len(b) {
			w |= uint32(b[i+1])
		}
		sum += w
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func fill(r *rand.Rand, b []byte) {
	for i := range b {
		switch r.IntN(4) {
		case 0:
			b[i] = 0
		case 1:
			b[i] = 0xff
		default:
			b[i] = byte(r.Uint32())
		}
	}
}

func TestChecksum(t *testing.T) {
	for _, c := range []struct {
		name string
		data []byte
		want uint16
	}{
		{"of nothing is all ones", nil, 0xffff},
		{"of zeros is all ones", make([]byte, 40), 0xffff},
		{"of one byte pads it on the right", []byte{0x12}, ^uint16(0x1200)},
		{"follows the example of RFC 1071", []byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}, ^uint16(0xddf2)},
		{"of all ones is zero", []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Of(c.data); got != c.want {
				t.Fatalf("got %#04x, want %#04x", got, c.want)
			}
		})
	}
}

func TestSumAgreesWithTheReferenceAtEveryLength(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 300 {
		for range 20 {
			b := make([]byte, n)
			fill(r, b)
			if got, want := Of(b), reference(b); got != want {
				t.Fatalf("%d bytes %x: got %#04x, want %#04x", n, b, got, want)
			}
			if n >= 2 {
				cut := r.IntN(n/2+1) * 2
				if got, want := Sum(0).Bytes(b[:cut]).Bytes(b[cut:]).Checksum(), reference(b); got != want {
					t.Fatalf("%d bytes in two parts: got %#04x, want %#04x", n, got, want)
				}
			}
		}
	}
}

func TestCarryIntoAFullAccumulator(t *testing.T) {
	s := Sum(^uint64(0)).Bytes([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 1})
	if got := s.Fold(); got != 1 {
		t.Fatalf("got %#04x, want 1", got)
	}
}

func TestUpdateEqualsRecomputation(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	be := binary.BigEndian
	for range 20000 {
		b := make([]byte, 40)
		fill(r, b)
		b[0] = 0x45 // some word stays non-zero, as in every real header
		b[2], b[3] = 0, 0
		be.PutUint16(b[2:], Of(b))
		check := be.Uint16(b[2:])
		var fresh [16]byte
		fill(r, fresh[:])
		at := 8 + 2*r.IntN(8)
		var got uint16
		switch r.IntN(3) {
		case 0:
			got = Update16(check, be.Uint16(b[at:]), be.Uint16(fresh[:]))
			copy(b[at:], fresh[:2])
		case 1:
			got = Update32(check, be.Uint32(b[at:]), be.Uint32(fresh[:]))
			copy(b[at:], fresh[:4])
		default:
			got = Update128(check, [2]uint64{be.Uint64(b[at:]), be.Uint64(b[at+8:])}, [2]uint64{be.Uint64(fresh[:]), be.Uint64(fresh[8:])})
			copy(b[at:], fresh[:])
		}
		b[2], b[3] = 0, 0
		if want := Of(b); got != want {
			t.Fatalf("got %#04x, want %#04x", got, want)
		}
	}
}

func TestUpdateFollowsTheExampleOfRFC1624(t *testing.T) {
	// Section 4: HC 0xdd2f, m 0x5555 -> 0x3285 gives 0x0000 and not 0xffff.
	if got := Update16(0xdd2f, 0x5555, 0x3285); got != 0 {
		t.Fatalf("got %#04x, want 0", got)
	}
}

func TestPseudoHeaders(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	be := binary.BigEndian
	for range 1000 {
		var v4 [12]byte
		fill(r, v4[:])
		v4[8] = 0
		if got, want := PseudoIPv4(be.Uint64(v4[:]), v4[9], int(be.Uint16(v4[10:]))).Checksum(), reference(v4[:]); got != want {
			t.Fatalf("IPv4: got %#04x, want %#04x", got, want)
		}
		var v6 [40]byte
		fill(r, v6[:])
		v6[36], v6[37], v6[38] = 0, 0, 0
		addr := [4]uint64{be.Uint64(v6[:]), be.Uint64(v6[8:]), be.Uint64(v6[16:]), be.Uint64(v6[24:])}
		if got, want := PseudoIPv6(&addr, v6[39], int(be.Uint32(v6[32:]))).Checksum(), reference(v6[:]); got != want {
			t.Fatalf("IPv6: got %#04x, want %#04x", got, want)
		}
	}
}

func BenchmarkBytes1460(b *testing.B) {
	buf := make([]byte, 1460)
	fill(rand.New(rand.NewPCG(7, 8)), buf)
	b.SetBytes(1460)
	var s Sum
	for b.Loop() {
		s = s.Bytes(buf)
	}
	_ = s
}

func BenchmarkUpdate32(b *testing.B) {
	check := uint16(1)
	for b.Loop() {
		check = Update32(check, 0x0a000001, 0xc0000201)
	}
	_ = check
}
