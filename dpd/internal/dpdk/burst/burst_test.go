package burst

import (
	"encoding/binary"
	"fmt"
	"testing"
	"unsafe"
)

// buffers are made-up packet buffers: 64 bytes each, the fields at their offsets. They are static, so nothing moves.
var buffers [Max][64]byte

func ref(i int) uintptr { return uintptr(unsafe.Pointer(&buffers[i])) }

func set(i int, buf uint64, off, segs, size uint16) {
	b := buffers[i][:]
	binary.NativeEndian.PutUint64(b[OffBuffer:], buf)
	binary.NativeEndian.PutUint16(b[OffDataOffset:], off)
	binary.NativeEndian.PutUint16(b[OffSegments:], segs)
	binary.NativeEndian.PutUint16(b[OffDataLen:], size)
}

// loops are the two forms. Both must do the same.
var loops = []struct {
	name   string
	unpack func(*[Max]View, *[Max]uintptr, int) int
}{{"machine", Unpack}, {"go", unpackGo}}

func TestUnpackGivesAddressAndLength(t *testing.T) {
	for _, l := range loops {
		t.Run(l.name, func(t *testing.T) {
			var vec [Max]uintptr
			for i := range Max {
				set(i, 0x7f00_0000_0000+uint64(i)<<16, uint16(128+i), 1, uint16(14+i*1000))
				vec[i] = ref(i)
			}
			for _, n := range []int{0, 1, 2, 63, 64} {
				var out [Max]View
				if got := l.unpack(&out, &vec, n); got != n {
					t.Fatalf("%d of %d", got, n)
				}
				for i := range Max {
					want := View{}
					if i < n {
						size := uintptr(14 + i*1000)
						want = View{0x7f00_0000_0000 + uintptr(i)<<16 + 128 + uintptr(i), size, size, ref(i)}
					}
					if out[i] != want {
						t.Fatalf("n %d, packet %d: got %x, want %x", n, i, out[i], want)
					}
				}
			}
		})
	}
}

func TestUnpackStopsAtWhatIsNoPlainPacket(t *testing.T) {
	for _, l := range loops {
		for name, c := range map[string]struct {
			segs, size uint16
			plain      bool
		}{
			"two segments":            {2, 60, false},
			"no segment":              {0, 60, false},
			"65535 segments":          {65535, 60, false},
			"one byte too short":      {1, MinLen - 1, false},
			"empty":                   {1, 0, false},
			"just an Ethernet header": {1, MinLen, true},
			"longest":                 {1, 65535, true},
		} {
			t.Run(fmt.Sprint(l.name, "/", name), func(t *testing.T) {
				var vec [Max]uintptr
				for i := range Max {
					set(i, 0x1000, 0, 1, 60)
					vec[i] = ref(i)
				}
				for _, at := range []int{0, 1, 40, 63} {
					set(at, 0x1000, 0, c.segs, c.size)
					var out [Max]View
					want := at
					if c.plain {
						want = Max
					}
					if got := l.unpack(&out, &vec, Max); got != want {
						t.Errorf("at %d: %d packets, want %d", at, got, want)
					}
					set(at, 0x1000, 0, 1, 60)
				}
			})
		}
	}
}

func TestMoreThanABurstPanics(t *testing.T) {
	for _, n := range []int{-1, Max + 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%d packets went through", n)
				}
			}()
			Unpack(new([Max]View), new([Max]uintptr), n)
		}()
	}
}

func BenchmarkUnpack(b *testing.B) {
	for _, l := range loops {
		b.Run("by="+l.name, func(b *testing.B) {
			var vec [Max]uintptr
			var views [Max]View
			for i := range Max {
				set(i, uint64(uintptr(unsafe.Pointer(&buffers))), 0, 1, 60)
				vec[i] = ref(i)
			}
			b.ReportAllocs()
			for b.Loop() {
				l.unpack(&views, &vec, Max)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/Max, "ns/packet")
		})
	}
}
