package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncseal"
)

// bareNode is a Sync and one Shard over a real table, of a mesh that passes datagrams at once, in order and without loss.
type bareNode struct {
	*syncer.Sync
	shard *syncer.Shard
	table *conntrack.Table
	self  flow.Node
	mesh  *bareMesh
	inbox []arrived
	deaf  bool // nothing reaches it
}

type bareMesh struct {
	t     *testing.T
	now   int64
	nodes []*bareNode
	view  syncer.View
}

func (n *bareNode) Send(to flow.Node, _ netip.AddrPort, b []byte) {
	if o := n.mesh.nodes[to.ID-1]; !o.deaf {
		o.inbox = append(o.inbox, arrived{n.self.ID, append([]byte(nil), b...)})
	}
}

func (n *bareNode) Deliver(_ int, d *syncer.Delivery) bool {
	n.shard.Deliver(n.mesh.now, d)
	n.pump()
	return true
}

func (n *bareNode) pump() {
	for i := 0; i < len(n.shard.Actions()); i++ {
		n.Queue(n.mesh.now, 0, &n.shard.Actions()[i])
	}
	n.shard.Done()
}

func newBareMesh(t *testing.T, nodes, capacity int) *bareMesh {
	m := &bareMesh{t: t, now: epochMS, view: syncer.View{Epoch: 1}}
	for i := range nodes {
		n := &bareNode{mesh: m, self: flow.Node{ID: uint32(i + 1), Inc: 1}}
		m.nodes = append(m.nodes, n)
		m.view.Members = append(m.view.Members, syncer.Member{Node: n.self, Admitted: true, Sync: [2]netip.AddrPort{sip(n.self.ID)}})
		r := rand.New(rand.NewPCG(1, uint64(i)))
		var err error
		n.Sync, err = syncer.NewSync(m.now, syncer.SyncConfig{Self: n.self, Shards: 1, ShardOf: func(flow.Bucket) int { return 0 }, MTU: 1400, Random: func(b []byte) {
			for i := range b {
				b[i] = byte(r.Uint32())
			}
		}}, n)
		if err != nil {
			t.Fatal(err)
		}
		if err := n.SetKeys(1, syncseal.Key{ID: 1, Secret: [32]byte{1}}); err != nil {
			t.Fatal(err)
		}
		if n.table, err = conntrack.New(conntrack.Config{
			CapacityV4: capacity, CapacityV6: 16, OnFull: func(six bool) bool { return n.shard.GiveUpTombstone(six) },
		}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = n.table.Close() })
		if err := n.table.SetSelf(n.self); err != nil {
			t.Fatal(err)
		}
		n.shard = syncer.New(syncer.Config{Self: n.self, DigestKey: [16]byte{1}, Owns: func(flow.Bucket) bool { return true }, Ended: 1 << 22}, n.table, noPorts{})
	}
	m.setView()
	m.run(2_000)
	return m
}

func (m *bareMesh) setView() {
	for _, n := range m.nodes {
		v := m.view
		v.Self = n.self
		n.SetView(m.now, &v)
		n.shard.SetView(m.now, &v)
	}
}

// step is a millisecond.
func (m *bareMesh) step() {
	m.now++
	for _, n := range m.nodes {
		n.table.Advance(expiry.Tick(uint32(m.now)))
		n.shard.Tick(m.now, 64)
		n.pump()
		if m.now%5 == 0 {
			n.Tick(m.now)
		}
	}
	for busy := true; busy; {
		busy = false
		for _, n := range m.nodes {
			n.Flush(m.now)
		}
		for _, n := range m.nodes {
			in := n.inbox
			n.inbox = nil
			for _, d := range in {
				busy = true
				n.Datagram(m.now, sip(d.from), d.b)
			}
		}
	}
}

func (m *bareMesh) run(ms int64) {
	for end := m.now + ms; m.now < end; {
		m.step()
	}
}

// churn opens and, 200 ms later, closes rate sessions a second, shared out among the first owners nodes.
func (m *bareMesh) churn(rate int, ms int64, owners int, watch func()) {
	m.t.Helper()
	type own struct {
		n *bareNode
		h flow.Handle
	}
	var open []own
	made := 0
	for begin, end := m.now, m.now+ms; m.now < end; {
		m.step()
		for want := int(m.now-begin) * rate / 1000; made < want; made++ {
			n := m.nodes[made%owners]
			s := benchSession(made)
			h, err := n.shard.Create(m.now, &s)
			if err != nil {
				m.t.Fatalf("session %d: %v", made, err)
			}
			open = append(open, own{n, h})
		}
		for len(open) > rate/5 {
			open[0].n.shard.Delete(m.now, open[0].h)
			open = open[1:]
		}
		for _, n := range m.nodes {
			n.pump()
		}
		if watch != nil {
			watch()
		}
	}
	for _, o := range open {
		o.n.shard.Delete(m.now, o.h)
		o.n.pump()
	}
}

// At 180 ends a second they lived for 12 s, from 250 on for 60 to 67.
func TestClosedSessionsAreRememberedForAtMost12sAtAnyRate(t *testing.T) {
	for _, rate := range []int{180, 250, topRate} {
		for _, nodes := range []int{2, 3} {
			t.Run(fmt.Sprintf("%d a second on %d nodes", rate, nodes), func(t *testing.T) {
				m := newBareMesh(t, nodes, 8192)
				oldest, held, bytes := int64(0), 0, 0
				m.churn(rate, 25_000, nodes, func() {
					if m.now%100 != 0 {
						return
					}
					for _, n := range m.nodes {
						closed, _ := n.shard.Tombs()
						age, _ := n.shard.OldestTomb()
						oldest, held, bytes = max(oldest, age), max(held, closed), max(bytes, n.shard.EndedBytes())
					}
				})
				if oldest > 12_000 || held > 12*rate {
					t.Errorf("the oldest was %d ms old, %d were held", oldest, held)
				}
				if room := 32 * (held + 1<<13); bytes > room {
					t.Errorf("%d bytes for %d", bytes, held)
				}
				m.run(13_000)
				for _, n := range m.nodes {
					if closed, aged := n.shard.Tombs(); closed+aged != 0 || n.table.Len() != 0 {
						t.Errorf("node %d: %d closed, %d aged, %d records are left", n.self.ID, closed, aged, n.table.Len())
					}
				}
			})
		}
	}
}

// A joiner that never gets ready, whether it answers or is silent, held everybody's tombstones until the tables were full.
func TestAJoinerThatNeverGetsReadyHoldsNothingUp(t *testing.T) {
	for name, deaf := range map[string]bool{"that answers": false, "that hears nothing": true} {
		t.Run(name, func(t *testing.T) {
			m := newBareMesh(t, 3, 8192)
			m.view.Epoch++
			m.view.Members[2].Admitted = false
			m.nodes[2].deaf = deaf
			m.setView()
			oldest := int64(0)
			m.churn(1000, 25_000, 2, func() {
				for _, n := range m.nodes[:2] {
					age, _ := n.shard.OldestTomb()
					oldest = max(oldest, age)
				}
			})
			if oldest > 12_000 {
				t.Errorf("the oldest was %d ms old", oldest)
			}
		})
	}
}

// A member that is in the view and confirms nothing holds what was closed for 120 s at most, and a full table or cache never
// refuses anyone because of tombstones.
func TestTombstonesRefuseNobody(t *testing.T) {
	m := newBareMesh(t, 3, 4096)
	m.nodes[2].deaf = true
	m.churn(3000, 20_000, 2, nil) // 60,000 lives through a table of 4096
	for _, n := range m.nodes[:2] {
		if n.table.Len() > 1000 {
			t.Errorf("node %d holds %d records", n.self.ID, n.table.Len())
		}
	}
	// Aged ones keep their records: when the table is full the oldest of them goes.
	a := m.nodes[0]
	for i := range 10_000 {
		s := benchSession(1_000_000 + i)
		h, err := a.shard.Create(m.now, &s)
		if err != nil {
			t.Fatalf("session %d: %v", i, err)
		}
		a.shard.Expired(m.now, h)
		a.pump()
		if i%100 == 0 {
			m.step()
		}
	}
	if a.shard.Count[syncer.AgedGivenUp] < 10_000-4096 {
		t.Errorf("%d were given up", a.shard.Count[syncer.AgedGivenUp])
	}
}
