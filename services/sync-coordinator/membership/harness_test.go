package membership

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

// bed drives one machine with data planes that are nothing but the reports they would send. Its clock moves by hand.
type bed struct {
	t      *testing.T
	m      *Machine
	now    int64
	stored State
	events []Event
	bulk   []BulkOrder
	dp     map[uint32]*plane
}

// plane is what a data plane would say of itself.
type plane struct {
	Report
	gone bool
}

const t0 = 1_000_000

// newBed has sync addresses of both families and so many blocks of one IPv4 address.
func newBed(t *testing.T, blocks int) *bed {
	t.Helper()
	b := &bed{t: t, now: t0, dp: map[uint32]*plane{}}
	b.m = New(DefaultConfig(), State{}, 0, Secrets{})
	b.must(b.m.SetPools(b.now, poolsOf(blocks)))
	b.take()
	return b
}

func poolsOf(blocks int) []Pool {
	p := []Pool{
		{Name: "sip4", Kind: PoolSip, Prefixes: prefixes("10.0.9.0/25")},
		{Name: "sip6", Kind: PoolSip, Prefixes: prefixes("fd09::/121")},
	}
	if blocks > 0 {
		l := Pool{Name: "laddr", Kind: PoolLaddr, BlockSize: 1}
		for i := range blocks {
			l.Prefixes = append(l.Prefixes, netip.MustParsePrefix(fmt.Sprintf("10.0.7.%d/32", i)))
		}
		p = append(p, l)
	}
	return p
}

func prefixes(s ...string) []netip.Prefix {
	var p []netip.Prefix
	for _, x := range s {
		p = append(p, netip.MustParsePrefix(x))
	}
	return p
}

func (b *bed) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) take() Outcome {
	o := b.m.Take()
	if o.Changed {
		if o.State.View < b.stored.View {
			b.t.Fatalf("view went back from %d to %d", b.stored.View, o.State.View)
		}
		b.stored = o.State
	}
	b.events = append(b.events, o.Events...)
	b.bulk = append(b.bulk, o.Bulk...)
	return o
}

// restart is a coordinator that comes up again with what was written, and nothing else.
func (b *bed) restart(reported uint64) {
	b.m = New(DefaultConfig(), b.stored, reported, Secrets{})
	b.take()
}

func name(i int) string { return fmt.Sprintf("lb-%c", 'a'+i-1) }

func ask(name string) JoinRequest {
	return JoinRequest{Name: name, ControlAddress: "127.0.0.1:7000", IPv4: true, IPv6: true}
}

func (b *bed) join(n string) Node {
	b.t.Helper()
	got, err := b.m.Join(b.now, ask(n))
	b.must(err)
	b.take()
	b.dp[got.ID] = &plane{Report: Report{Node: got.ID, Inc: got.Inc}}
	b.m.Control(b.now, got.ID, got.Inc, true)
	b.take()
	return got
}

// sync makes every data plane run the newest view, know all its peers and have nothing but what a test set.
func (b *bed) sync() {
	s := b.m.State()
	for id, p := range b.dp {
		n := s.Node(id)
		if p.gone || n == nil || !n.Member() || n.Inc != p.Inc {
			continue
		}
		p.View = s.View
		for _, x := range s.Nodes {
			i := slices.IndexFunc(p.Peers, func(r PeerReport) bool { return r.ID == x.ID })
			switch {
			case x.ID == id || !x.Member():
				if i >= 0 {
					p.Peers = slices.Delete(p.Peers, i, i+1)
				}
			case i < 0:
				p.Peers = append(p.Peers, PeerReport{ID: x.ID, Inc: x.Inc, Greeted: true})
			case p.Peers[i].Inc != x.Inc:
				p.Peers[i] = PeerReport{ID: x.ID, Inc: x.Inc, Greeted: true}
			}
		}
		p.Blocks = p.Blocks[:0]
		for _, blk := range s.Blocks {
			p.Blocks = append(p.Blocks, BlockReport{ID: blk.ID, Records: 1})
		}
	}
}

func (b *bed) say(ids ...uint32) {
	for _, id := range ids {
		p := b.dp[id]
		r := p.Report
		r.Peers, r.Bulk, r.Blocks = slices.Clone(p.Peers), slices.Clone(p.Bulk), slices.Clone(p.Blocks)
		b.m.Report(b.now, r)
		b.take()
	}
}

func (b *bed) ids() []uint32 {
	var ids []uint32
	for id, p := range b.dp {
		if !p.gone {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// round lets 100 ms pass and every living data plane report.
func (b *bed) round() {
	b.now += 100
	b.sync()
	b.say(b.ids()...)
	b.m.Tick(b.now)
	b.take()
}

// stock gives a joiner the whole stock of every other member.
func (b *bed) stock(id uint32) {
	p := b.dp[id]
	p.Bulk = nil
	s := b.m.State()
	for _, x := range s.Nodes {
		if x.ID != id && x.Member() {
			p.Bulk = append(p.Bulk, BulkReport{ID: x.ID, Inc: x.Inc, Begun: true, Ended: true, Expected: 10, Received: 10})
		}
	}
}

// whole gives a joiner every stock and its routes.
func (b *bed) whole(id uint32) {
	b.stock(id)
	b.dp[id].Settled = true
}

// admit brings up n nodes, all admitted.
func (b *bed) admit(n int) {
	b.t.Helper()
	for i := 1; i <= n; i++ {
		got := b.join(name(i))
		b.whole(got.ID)
		b.round()
		b.round()
		if ph := b.phase(got.ID); ph != Admitted {
			b.t.Fatalf("node %d is %s, not admitted: %+v", got.ID, ph, b.dp[got.ID].Report)
		}
	}
}

func (b *bed) phase(id uint32) Phase {
	s := b.m.State()
	return s.Node(id).Phase
}

func (b *bed) node(id uint32) Node {
	s := b.m.State()
	return *s.Node(id)
}

func (b *bed) block(id uint32) Block {
	s := b.m.State()
	for _, x := range s.Blocks {
		if x.Holder == id {
			return x
		}
	}
	return Block{}
}

// kill takes a node's process away: its gRPC breaks at once and its peers stop hearing it.
func (b *bed) kill(id uint32) {
	b.dp[id].gone = true
	b.m.Control(b.now, id, b.dp[id].Inc, false)
	b.take()
	b.suspect(id, b.ids()...)
}

func (b *bed) suspect(id uint32, by ...uint32) { b.setSuspected(id, true, by) }
func (b *bed) hear(id uint32, by ...uint32)    { b.setSuspected(id, false, by) }

func (b *bed) setSuspected(id uint32, v bool, by []uint32) {
	b.sync()
	for _, j := range by {
		for i := range b.dp[j].Peers {
			if b.dp[j].Peers[i].ID == id {
				b.dp[j].Peers[i].Suspected = v
			}
		}
	}
}

func (b *bed) happened(k Kind, node uint32) int {
	n := 0
	for _, e := range b.events {
		if e.Kind == k && e.Node == node {
			n++
		}
	}
	return n
}

func (b *bed) want(id uint32, ph Phase) {
	b.t.Helper()
	if got := b.phase(id); got != ph {
		b.t.Fatalf("node %d is %s, want %s", id, got, ph)
	}
}
