package localport

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"unsafe"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

var (
	l1  = netip.MustParseAddr("10.1.0.1")
	l2  = netip.MustParseAddr("10.1.0.2")
	l6  = netip.MustParseAddr("fd01::1")
	s4  = EndpointOf(flow.ProtoTCP, netip.MustParseAddrPort("192.168.0.1:8080"))
	s4b = EndpointOf(flow.ProtoTCP, netip.MustParseAddrPort("192.168.0.2:8080"))
	s6  = EndpointOf(flow.ProtoTCP, netip.MustParseAddrPort("[fd00::1]:8080"))
)

func pool(addrs ...netip.Addr) *Pool {
	p := New(0)
	p.SetBlocks(addrs)
	return p
}

func mustTake(t *testing.T, p *Pool, b flow.Bucket, s Endpoint) flow.Key {
	t.Helper()
	k, ok := p.Take(b, s)
	if !ok {
		t.Fatalf("nothing left: %+v", p.Stats())
	}
	return k
}

func TestReplyTupleGoesFromServerToLaddrInTheBucket(t *testing.T) {
	p := pool(l1, l6)
	for _, c := range []struct {
		server Endpoint
		src    string
		laddr  netip.Addr
	}{{s4, "192.168.0.1:8080", l1}, {s6, "[fd00::1]:8080", l6}} {
		k := mustTake(t, p, 0xab, c.server)
		if k.Src().String() != c.src || k.Dst().Addr() != c.laddr || k.DstPort()&0xff != 0xab || k.DstPort() < 1024 || k.Proto() != flow.ProtoTCP {
			t.Errorf("%v", k)
		}
		if !p.Holds(&k) {
			t.Error("the pool doesn't hold what it gave")
		}
	}
}

func TestEveryPortOfABucketOnceThenExhausted(t *testing.T) {
	p := pool(l1, l2)
	seen := map[flow.Key]bool{}
	for range 2 * PerBucket {
		k := mustTake(t, p, 7, s4)
		if seen[k] {
			t.Fatalf("%v twice", k)
		}
		seen[k] = true
	}
	if _, ok := p.Take(7, s4); ok {
		t.Error("more ports than there are")
	}
	if st := p.Stats(); st.Exhausted != 1 || st.InUse != 2*PerBucket || st.Taken != 2*PerBucket {
		t.Errorf("%+v", st)
	}
	for _, other := range []struct {
		b flow.Bucket
		s Endpoint
	}{{8, s4}, {7, s4b}, {7, Endpoint{Addr: s4.Addr, Port: s4.Port, Family: s4.Family, Proto: flow.ProtoUDP}}, {7, Endpoint{Addr: s4.Addr, Port: 81, Family: s4.Family, Proto: s4.Proto}}} {
		mustTake(t, p, other.b, other.s)
	}
}

func TestReleasedPortsComeBackOldestFirst(t *testing.T) {
	p := pool(l1)
	var all []flow.Key
	for range PerBucket {
		all = append(all, mustTake(t, p, 0, s4))
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, k := range all {
		p.Release(k)
	}
	for i, want := range all {
		if got := mustTake(t, p, 0, s4); got != want {
			t.Fatalf("number %d: %v, want %v", i, got, want)
		}
	}
}

func TestMarkedPortIsNotGiven(t *testing.T) {
	p := pool(l1)
	k := mustTake(t, p, 3, s4)
	p.Release(k)
	p.Mark(k) // released before, so it waits in the queue
	var fresh flow.Key
	for _, i := range []uint16{0, 100, 200} {
		fresh = k
		fresh.Meta = k.Meta&^(0xffff<<32) | uint64((4+i)<<8|3)<<32
		p.Mark(fresh)
	}
	p.Mark(fresh)
	if got := p.Stats().InUse; got < 3 || got > 4 {
		t.Fatalf("%d in use", got)
	}
	left := PerBucket - p.Stats().InUse
	for range left {
		if got := mustTake(t, p, 3, s4); got == k || got == fresh {
			t.Fatal("a marked port was given")
		}
	}
	if _, ok := p.Take(3, s4); ok {
		t.Error("more than were left")
	}
	p.Release(fresh)
	if got := mustTake(t, p, 3, s4); got != fresh {
		t.Errorf("%v, want the only one released", got)
	}
}

func TestRevokedBlocks(t *testing.T) {
	p := pool(l1, l2)
	k := mustTake(t, p, 1, s4)
	for k.Dst().Addr() != l1 {
		k = mustTake(t, p, 1, s4)
	}
	p.SetBlocks([]netip.Addr{l2, l2})
	if p.Holds(&k) {
		t.Error("a revoked laddr is held")
	}
	for range 10 {
		if got := mustTake(t, p, 1, s4); got.Dst().Addr() != l2 {
			t.Errorf("a port of a revoked laddr: %v", got)
		}
	}
	p.SetBlocks(nil)
	if _, ok := p.Take(1, s4); ok || p.Stats().NoAddress != 1 {
		t.Error("a port without any laddr")
	}
	p.SetBlocks([]netip.Addr{l1})
	for range PerBucket {
		if got, ok := p.Take(1, s4); ok && got == k {
			t.Error("a port in use was given again after the laddr came back")
		}
	}
	p.Release(k)
	if got := mustTake(t, p, 1, s4); got != k {
		t.Errorf("%v", got)
	}
}

func TestForeignAndBogusTuplesAreIgnored(t *testing.T) {
	p := pool(l1)
	foreign, _ := flow.MakeKey(flow.ProtoTCP, netip.MustParseAddrPort("192.168.0.1:8080"), netip.MustParseAddrPort("10.9.9.9:2048"))
	low, _ := flow.MakeKey(flow.ProtoTCP, netip.MustParseAddrPort("192.168.0.1:8080"), netip.MustParseAddrPort("10.1.0.1:1023"))
	for _, k := range []flow.Key{foreign, low, {}} {
		p.Mark(k)
		p.Release(k)
		if p.Holds(&k) {
			t.Errorf("holds %v", k)
		}
	}
	if st := p.Stats(); st != (Stats{}) {
		t.Errorf("%+v", st)
	}
	k := mustTake(t, p, 1, s4)
	p.SetBlocks(nil)
	p.Release(k) // its lease is gone for now, and it is given back all the same
	p.Release(k) // and what came by sync meanwhile is not in use here
	if st := p.Stats(); st.NotTaken != 0 || st.InUse != 0 {
		t.Errorf("without a lease: %+v", st)
	}
	p.SetBlocks([]netip.Addr{l1})
	k = mustTake(t, p, 1, s4)
	p.Release(k)
	p.Release(k)
	if st := p.Stats(); st.NotTaken != 1 || st.InUse != 0 {
		t.Errorf("%+v", st)
	}
}

func TestNodesAreBoundedAndReclaimed(t *testing.T) {
	p := New(2)
	p.SetBlocks([]netip.Addr{l1})
	a := mustTake(t, p, 1, s4)
	mustTake(t, p, 2, s4)
	if _, ok := p.Take(3, s4); ok || p.Stats().NoNode != 1 {
		t.Errorf("a third node: %+v", p.Stats())
	}
	p.Release(a)
	mustTake(t, p, 3, s4)
	if st := p.Stats(); st.Nodes != 2 || st.InUse != 2 {
		t.Errorf("%+v", st)
	}
}

func TestNodeIsTwoCacheLines(t *testing.T) {
	if n := unsafe.Sizeof(node{}); n != 128 {
		t.Errorf("%d bytes", n)
	}
	if n := unsafe.Offsetof(node{}.queued); n != 64 {
		t.Errorf("what a fresh port needs takes %d bytes", n)
	}
}

// A pool is a set of ports in use, and a list of those free, whatever is done to it.
func TestAgreesWithTheModel(t *testing.T) {
	for seed := range uint64(8) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		p := New([]int{0, 20}[seed&1])
		laddrs := []netip.Addr{l1, l2, l6}
		p.SetBlocks(laddrs)
		used := map[flow.Key]bool{}
		var order []flow.Key
		servers := []Endpoint{s4, s4b, s6}
		for op := range 20_000 {
			switch r := rnd.IntN(100); {
			case r < 45:
				s, b := servers[rnd.IntN(3)], flow.Bucket(rnd.IntN(4))
				k, ok := p.Take(b, s)
				if ok && (used[k] || !p.Holds(&k) || flow.Bucket(k.DstPort()) != b) {
					t.Fatalf("seed %d op %d: gave %v", seed, op, k)
				}
				if ok {
					used[k] = true
					order = append(order, k)
				}
			case r < 85 && len(order) > 0:
				i := rnd.IntN(len(order))
				p.Release(order[i])
				delete(used, order[i])
				order = slices.Delete(order, i, i+1)
			case r < 95 && len(order) > 0:
				k := order[rnd.IntN(len(order))]
				k.Meta = k.Meta&^(0xff<<40) | uint64(4+rnd.IntN(252))<<40
				nodes := p.Stats().NoNode
				p.Mark(k)
				if !used[k] && p.Stats().NoNode == nodes {
					used[k] = true
					order = append(order, k)
				}
			case r == 99:
				rnd.Shuffle(3, func(i, j int) { laddrs[i], laddrs[j] = laddrs[j], laddrs[i] })
				p.SetBlocks(laddrs[:rnd.IntN(4)])
			}
			if p.Stats().InUse != len(used) {
				t.Fatalf("seed %d op %d: %d in use, model %d", seed, op, p.Stats().InUse, len(used))
			}
		}
	}
}

func BenchmarkTakeRelease(b *testing.B) {
	p := New(0)
	p.SetBlocks([]netip.Addr{l1, l2})
	var ring [1 << 16]flow.Key
	for i := range b.N {
		r := &ring[i%len(ring)]
		if r.Meta != 0 {
			p.Release(*r)
		}
		s := s4
		s.Port += uint16(i % 100)
		k, ok := p.Take(flow.Bucket(i), s)
		if !ok {
			b.Fatal("exhausted")
		}
		*r = k
	}
}

func TestIndexAgreesWithAMap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 5))
	x := newIndex(100, nil)
	keys, in := map[uint32]nodeKey{}, map[uint32]bool{}
	for i := range uint32(100) {
		keys[i] = nodeKey{rest: uint64(i)}
	}
	hash := func(n uint32) uint64 { k := keys[n]; return x.hash(&k) }
	for range 50_000 {
		n := rnd.Uint32N(100)
		if in[n] {
			if !x.remove(hash(n), n, hash) {
				t.Fatalf("%d isn't there", n)
			}
		} else {
			if x.remove(hash(n), n, hash) {
				t.Fatalf("%d is there", n)
			}
			x.add(hash(n), n)
		}
		in[n] = !in[n]
	}
	for n, there := range in {
		if x.remove(hash(n), n, hash) != there {
			t.Errorf("%d", n)
		}
	}
	for at, e := range x.slot {
		if e != 0 {
			t.Errorf("slot %d of an empty index holds %x", at, e)
		}
	}
}
