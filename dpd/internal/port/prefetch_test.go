package port

import "testing"

// TestPrefetchKeepsToThePacketsThatThereAre: any range may be asked for, and nothing changes.
func TestPrefetchKeepsToThePacketsThatThereAre(t *testing.T) {
	var b Batch
	for n := range BatchMax + 1 {
		b.N = n
		for _, r := range [][2]int{{0, 0}, {0, BatchMax}, {n, n + 16}, {n - 1, n}, {-1, 5}, {BatchMax, BatchMax + 16}, {5, 2}, {1 << 40, 1 << 41}} {
			b.Prefetch(r[0], r[1])
		}
		if n < BatchMax {
			b.Pkt[n] = Packet{Data: []byte{byte(n)}, Ref: uintptr(n)}
		}
	}
	for i, p := range b.Pkt {
		if p.Ref != uintptr(i) || len(p.Data) != 1 || p.Data[0] != byte(i) {
			t.Errorf("packet %d is %+v", i, p)
		}
	}
}
