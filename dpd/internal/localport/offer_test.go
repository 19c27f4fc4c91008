package localport

import (
	"net/netip"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// A pool without free ports offers each port once a round, in the order in which it gave them, a bounded number a call.
func TestPortsInUseAreOfferedOldestFirst(t *testing.T) {
	p := New(16)
	p.SetBlocks([]netip.Addr{netip.MustParseAddr("10.9.0.1")})
	server := EndpointOf(flow.ProtoTCP, netip.MustParseAddrPort("10.1.0.1:80"))
	var given []flow.Key
	for range PerBucket {
		k, ok := p.Take(3, server)
		if !ok {
			t.Fatal("no port")
		}
		given = append(given, k)
	}
	var got []flow.Key
	for range 2 * PerBucket / 4 {
		n := 0
		if p.Offer(3, server, 4, func(k *flow.Key) bool { n++; got = append(got, *k); return false }) || n != 4 {
			t.Fatalf("%d ports were offered at once", n)
		}
	}
	for i, k := range got {
		if k != given[i%PerBucket] {
			t.Fatalf("offer %d is %v, want %v", i, k, given[i%PerBucket])
		}
	}
	for i := range PerBucket { // who gives one back gets it, and the next turn is the next one's
		var k flow.Key
		if !p.Offer(3, server, 4, func(o *flow.Key) bool { k = *o; p.Release(k); return true }) {
			t.Fatal("nothing was offered")
		}
		if again, ok := p.Take(3, server); !ok || again != k || k != given[i] {
			t.Fatalf("turn %d: gave back %v, took %v", i, k, again)
		}
	}
	if p.Offer(4, server, 4, func(*flow.Key) bool { return true }) {
		t.Error("a bucket without ports in use offered one")
	}
}
