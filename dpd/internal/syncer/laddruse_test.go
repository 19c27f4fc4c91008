package syncer_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncseal"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

func addrs(list ...string) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func TestMakeBlock(t *testing.T) {
	for _, c := range []struct {
		name  string
		addrs []netip.Addr
		want  syncer.Block
		ok    bool
	}{
		{"no address", nil, syncer.Block{}, false},
		{"one of IPv4", addrs("10.0.7.1"), syncer.Block{ID: 1, Family: 4, PrefixLen: 32, Addr: [2]uint64{0x0a000701 << 32}}, true},
		{"one of IPv6", addrs("fd00::7"), syncer.Block{ID: 1, Family: 6, PrefixLen: 128, Addr: [2]uint64{0xfd00 << 48, 7}}, true},
		{"a prefix", addrs("10.0.7.4", "10.0.7.5", "10.0.7.6", "10.0.7.7"), syncer.Block{ID: 1, Family: 4, PrefixLen: 30, Addr: [2]uint64{0x0a000704 << 32}}, true},
		{"in another order", addrs("10.0.7.7", "10.0.7.5", "10.0.7.4"), syncer.Block{ID: 1, Family: 4, PrefixLen: 30, Addr: [2]uint64{0x0a000704 << 32}}, true},
		{"no prefix", addrs("10.0.7.3", "10.0.7.4"), syncer.Block{ID: 1, Family: 4, PrefixLen: 29, Addr: [2]uint64{0x0a000703 << 32}}, true},
		{"two halves of IPv6", addrs("fd00::", "fd00:0:0:1::"), syncer.Block{ID: 1, Family: 6, PrefixLen: 63, Addr: [2]uint64{0xfd00 << 48}}, true},
		{"both families, by the first", addrs("10.0.7.1", "fd00::7"), syncer.Block{ID: 1, Family: 4, PrefixLen: 32, Addr: [2]uint64{0x0a000701 << 32}}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, ok := syncer.MakeBlock(1, c.addrs); got != c.want && c.ok || ok != c.ok {
				t.Errorf("got %+v, %v, want %+v", got, ok, c.want)
			}
		})
	}
}

// blocks are n of one IPv4 address.
func blocks(n int) (out []syncer.Block) {
	for i := range n {
		b, _ := syncer.MakeBlock(uint32(i+1), []netip.Addr{netip.AddrFrom4([4]byte{10, 8, byte(i >> 8), byte(i)})})
		out = append(out, b)
	}
	return out
}

var gone = flow.Node{ID: 9, Inc: 4}

// usePair is two linked ends that know n blocks.
func usePair(t *testing.T, n int) *pair {
	p := newPair(t)
	for i := range p.e {
		p.e[i].SetBlocks(blocks(n))
	}
	return p
}

func (p *pair) uses(i int) []syncer.PeerUse { return p.e[i].Uses(p.now, 1024, nil) }

// recount is what a node does each second: it counts, and the machine tells it.
func (p *pair) recount(i int, list []syncer.BlockUse) {
	p.e[i].SetUses(p.now, list)
	p.run(1000)
}

func TestLaddrUseTravels(t *testing.T) {
	p := usePair(t, 3)
	list := []syncer.BlockUse{
		{Block: 1, Holder: gone, Records: 7, Tombstones: 8, FencedFor: 9},
		{Block: 3, Holder: gone, Records: 1 << 40, FencedFor: -1},
	}
	p.recount(0, list)
	got := p.uses(1)
	list[1].Records, list[1].FencedFor = 1<<32-1, 0
	for i, u := range got {
		if u.Peer != p.e[0].self || u.Age < 0 || u.Age > 1000 || u.BlockUse != list[i] {
			t.Errorf("%+v", u)
		}
	}
	if len(got) != 2 || len(p.uses(0)) != 0 {
		t.Fatalf("heard %d, who told heard %d", len(got), len(p.uses(0)))
	}
	p.recount(0, []syncer.BlockUse{{Block: 1, Holder: gone, Tombstones: 1, FencedFor: 1000}})
	if got := p.uses(1); got[0].Records != 0 || got[0].Tombstones != 1 || got[0].FencedFor != 1000 || got[0].Age > 1000 {
		t.Errorf("the newer word is not kept: %+v", got[0])
	}
}

func TestLaddrUseIsToldOnceASecondAndOnlyFresh(t *testing.T) {
	p := usePair(t, 1)
	one := []syncer.BlockUse{{Block: 1, Holder: gone}}
	sent := func() uint64 { return p.e[0].Count[syncer.SyncUseSent] }
	for range 5 {
		p.recount(0, one)
	}
	if sent() != 5 {
		t.Errorf("%d in 5 s", sent())
	}
	p.run(1500) // no count comes any more: a worker stands still
	was := sent()
	p.run(5000)
	if sent() != was {
		t.Error("an old count was told as one of now")
	}
	p.recount(0, one)
	p.recount(0, nil)
	was = sent()
	p.run(3000)
	if sent() != was {
		t.Error("told although nothing waits")
	}
}

func TestLaddrUseThatIsNotTold(t *testing.T) {
	one := []syncer.BlockUse{{Block: 1, Holder: gone}}
	for _, c := range []struct {
		name string
		spy  func(p *pair)
	}{
		{"over a link that is not proven", func(p *pair) {
			p.e[0].view(2, nodeID(3))
			p.e[0].SetUses(p.now, one)
		}},
		{"by a new life of what the former one counted", func(p *pair) {
			p.e[0].SetUses(p.now, one)
			p.e[0].self = flow.Node{ID: 1, Inc: 99}
			p.e[0].view(2, p.e[1].self)
			p.e[1].view(2, p.e[0].self)
		}},
		{"to a peer of which a later life was heard", func(p *pair) {
			n := newEnd(p.t, &p.now, flow.Node{ID: 2, Inc: 99}, 55, 0)
			n.view(2, p.e[0].self)
			n.Tick(p.now)
			for _, d := range n.take() {
				p.e[0].Datagram(p.now, sip(2), d.b)
			}
			p.e[0].SetUses(p.now, one)
		}},
		{"of a block that the view does not have", func(p *pair) {
			p.e[0].SetUses(p.now, []syncer.BlockUse{{Block: 2, Holder: gone}})
			if p.e[0].Count[syncer.SyncUseUnknown] != 1 {
				p.t.Error("not counted")
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := usePair(t, 1)
			c.spy(p)
			p.run(1500)
			if n := p.e[0].Count[syncer.SyncUseSent]; n != 0 || len(p.uses(1)) != 0 {
				t.Errorf("%d told", n)
			}
		})
	}
}

func TestMoreBlocksThanADatagramHoldsGoRound(t *testing.T) {
	p := usePair(t, 200)
	var list []syncer.BlockUse
	for i := range uint32(200) {
		list = append(list, syncer.BlockUse{Block: i + 1, Holder: gone, Records: uint64(i)})
	}
	before, rounds := uint64(0), 0
	for len(p.uses(1)) < 200 {
		if rounds++; rounds > 9 {
			t.Fatalf("%d of 200 after %d rounds", len(p.uses(1)), rounds)
		}
		p.recount(0, list)
		n := p.e[0].Count[syncer.SyncUseSent]
		if n-before > syncwire.LaddrUseMax || n == before {
			t.Fatalf("%d in a round", n-before)
		}
		before = n
	}
	for i, u := range p.uses(1) {
		if u.Block != uint32(i+1) || u.Records != uint64(i) {
			t.Errorf("%+v", u)
		}
	}
	if n := p.e[1].Count[syncer.SyncReason+syncer.SyncCounter(syncwire.TooMany)]; n != 0 {
		t.Errorf("%d datagrams refused", n)
	}
}

func TestWhatPeersToldIsForgotten(t *testing.T) {
	one := []syncer.BlockUse{{Block: 1, Holder: gone}}
	for _, c := range []struct {
		name string
		spy  func(p *pair)
		aged uint64
	}{
		{"when it is not repeated for 10 s", func(p *pair) { p.e[0].SetUses(p.now, nil); p.run(10_005) }, 1},
		{"when nothing of the peer comes any more", func(p *pair) {
			p.lose = func(int, []byte) bool { return true }
			p.run(10_005)
		}, 1},
		{"when the peer leaves the view", func(p *pair) { p.e[1].view(2) }, 0},
		{"when the view gives the peer a new life", func(p *pair) { p.e[1].view(2, flow.Node{ID: 1, Inc: 99}) }, 0},
		{"when the peer left the view and came back", func(p *pair) { p.e[1].view(2); p.e[1].view(3, p.e[0].self) }, 0},
		{"when a new life of the peer is heard", func(p *pair) {
			n := newEnd(p.t, &p.now, flow.Node{ID: 1, Inc: 99}, 55, 0)
			n.view(2, p.e[1].self)
			n.Tick(p.now)
			for _, d := range n.take() {
				p.e[1].Datagram(p.now, from, d.b)
			}
		}, 0},
		{"when the view has the block no more", func(p *pair) { p.e[1].SetBlocks(nil) }, 0},
		{"when another block has its id", func(p *pair) {
			p.e[1].SetBlocks(nil)
			p.e[1].SetBlocks(blocks(1))
		}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := usePair(t, 1)
			p.recount(0, one)
			if len(p.uses(1)) != 1 {
				t.Fatal("nothing was heard")
			}
			c.spy(p)
			if got := p.uses(1); len(got) != 0 || p.e[1].Count[syncer.SyncUseAged] != c.aged {
				t.Errorf("%+v, %d aged", got, p.e[1].Count[syncer.SyncUseAged])
			}
		})
	}
}

func TestWhatPeersToldIsKept(t *testing.T) {
	p := usePair(t, 1)
	p.recount(0, []syncer.BlockUse{{Block: 1, Holder: gone, Tombstones: 3}})
	age := p.uses(1)[0].Age
	p.e[0].SetUses(p.now, nil)
	p.e[1].view(2, p.e[0].self) // with the peer as before
	p.e[1].SetBlocks(blocks(2)) // with the block as before
	p.run(8000)
	if got := p.uses(1); len(got) != 1 || got[0].Tombstones != 3 || got[0].Age < age+8000 {
		t.Errorf("%+v", got)
	}
}

// forge is a datagram of end 0 as its link would seal it: the link's salt is read off the last datagram that it sent.
func (p *pair) forge(counter, sent uint64, write func(*syncwire.Builder)) {
	p.t.Helper()
	var h syncwire.Header
	p.lose = func(i int, b []byte) bool {
		if i == 0 {
			h.Read(b)
		}
		return false
	}
	p.run(200)
	p.lose = nil
	var ring syncseal.Ring
	if err := ring.Set(1, key1); err != nil {
		p.t.Fatal(err)
	}
	s := syncseal.NewSealer(&ring, syncseal.Link{Inc: h.Inc, Sender: h.Sender, Receiver: p.e[1].self.ID, Salt: h.Salt, Lane: syncwire.LaneControl})
	w := syncwire.NewBuilder(h.Inc, h.Sender)
	var out []byte
	for s.Sent() < counter {
		w.Reset(make([]byte, 9000), syncwire.LaneControl, 1, sent)
		write(w)
		b, _, err := s.Seal(w.Finish())
		if err != nil {
			p.t.Fatal(err)
		}
		out = b
	}
	p.e[1].Datagram(p.now, from, out)
}

func TestBadLaddrUseIsCountedAndChangesNothing(t *testing.T) {
	good := syncwire.LaddrUse{Family: 4, PrefixLen: 32, Addr: [2]uint64{0x0a080000 << 32}, HolderID: 9, HolderInc: 4}
	refused := func(r syncwire.Reason) syncer.SyncCounter { return syncer.SyncReason + syncer.SyncCounter(r) }
	for _, c := range []struct {
		name  string
		count syncer.SyncCounter
		write func(b *syncwire.Builder)
	}{
		{"a block that the view does not have", syncer.SyncUseUnknown, func(b *syncwire.Builder) { u := good; u.Addr[0] += 1 << 60; b.LaddrUse(&u) }},
		{"a prefix that covers more", syncer.SyncUseUnknown, func(b *syncwire.Builder) { u := good; u.PrefixLen = 24; b.LaddrUse(&u) }},
		{"the same bits in another family", syncer.SyncUseUnknown, func(b *syncwire.Builder) { u := good; u.Family = 6; b.LaddrUse(&u) }},
		{"no holder", syncer.SyncUseBad, func(b *syncwire.Builder) { u := good; u.HolderID = 0; b.LaddrUse(&u) }},
		{"a holder without incarnation", syncer.SyncUseBad, func(b *syncwire.Builder) { u := good; u.HolderInc = 0; b.LaddrUse(&u) }},
		{"more than a datagram may hold", refused(syncwire.TooMany), func(b *syncwire.Builder) {
			for range syncwire.LaddrUseMax + 1 {
				b.LaddrUse(&good)
			}
		}},
		{"one that was told before what is known", syncer.SyncUseOld, func(b *syncwire.Builder) { b.LaddrUse(&good) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := usePair(t, 1)
			p.recount(0, []syncer.BlockUse{{Block: 1, Holder: gone, Records: 5}})
			p.e[0].SetUses(p.now, nil)
			was := p.e[1].Count
			p.forge(400, 100, c.write)
			if p.e[1].Count[c.count] != was[c.count]+1 {
				t.Errorf("not counted: %v", diff(was, p.e[1].Count))
			}
			if got := p.uses(1); len(got) != 1 || got[0].Records != 5 {
				t.Errorf("%+v", got)
			}
		})
	}
	t.Run("a good one in the same way", func(t *testing.T) {
		p := usePair(t, 1)
		p.forge(400, 300, func(b *syncwire.Builder) { b.LaddrUse(&good) })
		if got := p.uses(1); len(got) != 1 || got[0].Records != 0 || got[0].Age == 0 {
			t.Errorf("%+v", got)
		}
	})
	t.Run("from a node that is no member", func(t *testing.T) {
		p := usePair(t, 1)
		stranger := newEnd(t, &p.now, nodeID(7), 3, 0)
		stranger.view(1, p.e[1].self)
		stranger.SetBlocks(blocks(1))
		stranger.SetUses(p.now, []syncer.BlockUse{{Block: 1, Holder: gone}})
		stranger.Tick(p.now)
		for _, d := range stranger.take() {
			p.e[1].Datagram(p.now, sip(7), append([]byte(nil), d.b...))
			p.e[1].Datagram(p.now, from, d.b)
		}
		if len(p.uses(1)) != 0 || p.e[1].Count[syncer.SyncSource] == 0 {
			t.Errorf("%+v", p.uses(1))
		}
	})
}

func diff(a, b syncer.SyncCounters) (out []string) {
	for i := range a {
		if a[i] != b[i] {
			out = append(out, fmt.Sprint(syncer.SyncCounter(i), "+", b[i]-a[i]))
		}
	}
	return out
}

func TestUsesAreHandedOutInTurnsWhenThereAreTooMany(t *testing.T) {
	p := usePair(t, 5)
	var list []syncer.BlockUse
	for i := range uint32(5) {
		list = append(list, syncer.BlockUse{Block: i + 1, Holder: gone})
	}
	p.recount(0, list)
	var ids []uint32
	for range 5 {
		got := p.e[1].Uses(p.now, 2, nil)
		if len(got) != 2 {
			t.Fatalf("%d of at most 2", len(got))
		}
		ids = append(ids, got[0].Block, got[1].Block)
	}
	slices.Sort(ids)
	if want := []uint32{1, 1, 2, 2, 3, 3, 4, 4, 5, 5}; !slices.Equal(ids, want) {
		t.Errorf("%v", ids)
	}
	if n := p.e[1].Count[syncer.SyncUseLeftOut]; n != 15 {
		t.Errorf("%d left out", n)
	}
	p.e[1].SetBlocks(blocks(syncer.MaxBlocks + 3))
	if n := p.e[1].Count[syncer.SyncUseLeftOut]; n != 18 {
		t.Errorf("%d left out with 3 blocks too many", n)
	}
}

func TestFencedFor(t *testing.T) {
	p := newPair(t)
	of := func(n flow.Node) string {
		ms, ok := p.e[1].FencedFor(p.now, n)
		return fmt.Sprint(ms, ok)
	}
	old := p.e[0].self
	young := flow.Node{ID: old.ID, Inc: old.Inc + 5}
	check := func(what string, n flow.Node, want string) {
		t.Helper()
		if got := of(n); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	check("a member", old, "0 false")
	check("nobody", flow.Node{ID: 70, Inc: 1}, "0 false")
	p.e[1].view(2)
	p.now += 3000
	check("a member that was removed 3 s ago", old, "3000 true")
	check("the life after it", young, "0 false")
	n := newEnd(t, &p.now, young, 55, 0)
	n.view(2, p.e[1].self)
	n.Tick(p.now)
	for _, d := range n.take() {
		p.e[1].Datagram(p.now, from, d.b)
	}
	p.now += 1000
	check("since a later life was heard 1 s ago", old, "1000 true")
	check("the later life itself", young, "0 false")
	p.e[1].view(3, nodeID(3))
	p.e[1].view(4)
	p.now += 2000
	next := nodeID(3)
	next.Inc++
	n = newEnd(t, &p.now, next, 56, 0)
	n.view(2, p.e[1].self)
	n.Tick(p.now)
	for _, d := range n.take() {
		p.e[1].Datagram(p.now, from, d.b)
	}
	check("since its removal, although the very next life was heard since", nodeID(3), "2000 true")
}
