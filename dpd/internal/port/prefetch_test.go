package port

import "testing"

// TestPrefetchChangesNothing, however many packets there are.
func TestPrefetchChangesNothing(t *testing.T) {
	var b Batch
	for n := range BatchMax + 1 {
		b.N = n
		b.Prefetch()
		if b.N != n {
			t.Fatalf("%d packets, want %d", b.N, n)
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
