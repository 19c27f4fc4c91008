package sim

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncseal"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// benchNode is one node without a world: a Sync, and one Shard over a table.
type benchNode struct {
	*syncer.Sync
	shard *syncer.Shard
	table *conntrack.Table
	peer  *benchNode
	now   int64
	keep  [][]byte // datagrams kept instead of sent, while not nil
}

type noPorts struct{}

func (noPorts) Mark(flow.Key)        {}
func (noPorts) Release(flow.Key)     {}
func (noPorts) Holds(*flow.Key) bool { return false }
func (noPorts) Free(uint32, uint16)  {}

func (noPorts) Quarantine(*flow.Key, bool) uint32 { return 0 }

func (n *benchNode) Send(_ flow.Node, _ netip.AddrPort, b []byte) {
	switch {
	case n.keep != nil:
		n.keep = append(n.keep, append([]byte(nil), b...))
	case n.peer != nil:
		n.peer.Datagram(n.now, sip(n.Self().ID), append([]byte(nil), b...))
	}
}

func (n *benchNode) Deliver(_ int, d *syncer.Delivery) bool {
	n.shard.Deliver(n.now, d)
	n.shard.Done()
	return true
}

func newBenchPair(tb testing.TB, capacity, mtu int) (a, b *benchNode) {
	var both [2]*benchNode
	view := syncer.View{Epoch: 1}
	for i := range both {
		id := uint32(i + 1)
		view.Members = append(view.Members, syncer.Member{Node: flow.Node{ID: id, Inc: 1}, Admitted: true, Sync: [2]netip.AddrPort{sip(id)}})
	}
	for i := range both {
		n := &benchNode{now: epochMS}
		both[i] = n
		self := view.Members[i].Node
		r := rand.New(rand.NewPCG(1, uint64(i)))
		y, err := syncer.NewSync(n.now, syncer.SyncConfig{Self: self, Shards: 1, ShardOf: func(flow.Bucket) int { return 0 }, MTU: mtu, Random: func(b []byte) {
			for i := range b {
				b[i] = byte(r.Uint32())
			}
		}}, n)
		if err != nil {
			tb.Fatal(err)
		}
		n.Sync = y
		if err := y.SetKeys(1, syncseal.Key{ID: 1, Secret: [32]byte{1}}); err != nil {
			tb.Fatal(err)
		}
		n.table, err = conntrack.New(conntrack.Config{CapacityV4: capacity, CapacityV6: capacity})
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = n.table.Close() })
		if err := n.table.SetSelf(self); err != nil {
			tb.Fatal(err)
		}
		n.shard = syncer.New(syncer.Config{Self: self, DigestKey: [16]byte{1}, Owns: func(flow.Bucket) bool { return true }}, n.table, noPorts{})
	}
	a, b = both[0], both[1]
	a.peer, b.peer = b, a
	for i, n := range both {
		v := view
		v.Self = view.Members[i].Node
		n.SetView(n.now, &v)
		n.shard.SetView(n.now, &v)
	}
	for range 100 {
		for _, n := range both {
			n.now += 5
			n.Tick(n.now)
		}
	}
	if s := a.Status(a.now, nil); !s[0].Linked {
		tb.Fatal("not linked")
	}
	return a, b
}

// benchSession is session i, of i mod 4096 servers' ports.
func benchSession(i int) flow.Session {
	var s flow.Session
	c := uint64(i)*0x9e3779b97f4a7c15>>20 | 1
	s.Orig.Addr[0] = (0x0a000000|c&0xffffff)<<32 | 0xc6336401
	s.Orig.Meta = (1024+uint64(i)%60000)<<48 | 80<<32 | flow.ProtoTCP<<8 | flow.IPv4
	s.Reply.Addr[0] = (0x0a640000|uint64(i)/60000%4096)<<32 | 0x0a0a0a01
	s.Reply.Meta = 80<<48 | (1024+uint64(i)%60000)<<32 | flow.ProtoTCP<<8 | flow.IPv4
	s.Mode, s.State, s.Bits, s.Timeout, s.Service, s.Server = flow.FullNAT, flow.TCPEstablished, 3, 3600, 1, 1
	s.Bucket = flow.Bucket(1024 + i%60000)
	return s
}

func sessionAction(i int) syncer.Action {
	s := benchSession(i)
	return syncer.Action{Kind: syncer.ActSend, To: 2, Lane: syncwire.LaneBulk, Seq: uint64(i + 1), Msg: syncwire.Message{Kind: syncwire.KindSession, Rec: syncwire.Record{
		Orig: syncwire.Key(s.Orig), Reply: syncwire.Key(s.Reply), Birth: (epochMS + uint64(i)/100) << 16, OwnerID: 1, OwnerInc: 1, Term: 1, Ver: 2, Service: 1, Server: 1,
		Timeout: 3600, Mode: uint8(s.Mode), State: uint8(s.State), Bits: 3, Bucket: uint8(s.Bucket),
	}}}
}

// BenchmarkSendSession is the way of one session from an action of a shard to sealed bytes.
func BenchmarkSendSession(b *testing.B) {
	x, _ := newBenchPair(b, 16, 1400)
	var acts [1024]syncer.Action
	for i := range acts {
		acts[i] = sessionAction(i)
	}
	x.peer, x.keep = nil, nil
	b.ReportAllocs()
	bytes := x.Count[syncer.SyncBytes]
	for i := 0; b.Loop(); i++ {
		x.Queue(x.now, 0, &acts[i%len(acts)])
	}
	x.Flush(x.now)
	b.ReportMetric(float64(x.Count[syncer.SyncBytes]-bytes)/float64(b.N), "wire-B/op")
}

// BenchmarkReceiveSession is the way of one new session from sealed bytes into the table, digest sums included.
func BenchmarkReceiveSession(b *testing.B) {
	const n = 1 << 17
	b.ReportAllocs()
	for done := 0; done < b.N; done += n {
		b.StopTimer()
		x, y := newBenchPair(b, n, 1400)
		x.keep = make([][]byte, 0, n/16)
		for i := range n {
			a := sessionAction(i)
			x.Queue(x.now, 0, &a)
		}
		x.Flush(x.now)
		b.StartTimer()
		for _, d := range x.keep {
			y.Datagram(y.now, sip(1), d)
		}
		b.StopTimer()
		if got := y.table.Len(); got != n {
			b.Fatalf("%d of %d sessions arrived: %v", got, n, y.shard.Count)
		}
		b.StartTimer()
	}
}
