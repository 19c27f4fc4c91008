package sim

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
)

// tcpLife is all that passes of a connection that its client closes.
var tcpLife = [...]struct {
	d        flow.Direction
	flags    uint8
	seq, ack uint32
	payload  uint32
}{
	{in, conntrack.SYN, 0, 0, 0}, {out, conntrack.SYN | ack, 0, 1, 0}, {in, ack, 1, 1, 0},
	{in, ack, 1, 1, 300}, {out, ack, 1, 301, 9_000},
	{in, fin, 301, 9_001, 0}, {out, ack, 9_001, 302, 0}, {out, fin, 9_001, 302, 0}, {in, ack, 302, 9_002, 0},
}

// bytesOfLives is how many bytes, datagrams' headers and seals included, one peer is sent of one TCP life whose packets all pass
// its owner, when so many lives go on at once.
func bytesOfLives(tb testing.TB, six bool, n, mtu int) float64 {
	a, b := newBenchPair(tb, n, mtu)
	for i := 0; a.Status(a.now, nil)[0].MTU < mtu-48; i++ {
		if i == 100_000 {
			tb.Fatal("datagrams don't grow")
		}
		for _, n := range [...]*benchNode{a, b} {
			n.now += 5
			n.Tick(n.now)
		}
	}
	sent := uint64(0)
	flush := func() {
		before := a.Count[syncer.SyncBytes]
		for i := range a.shard.Actions() {
			a.Queue(a.now, 0, &a.shard.Actions()[i])
		}
		a.shard.Done()
		a.Flush(a.now)
		sent += a.Count[syncer.SyncBytes] - before
	}
	tick := func() expiry.Tick { return expiry.Tick(uint32(a.now)) }
	a.table.Advance(tick())
	handles := make([]flow.Handle, n)
	for i := range handles {
		x := benchSession(i)
		if six {
			x = benchSession6(i)
		}
		x.State, x.Bits, x.Flags, x.Timeout = flow.TCPNone, 0, flow.Embryonic, 0
		h, err := a.shard.Create(a.now, &x)
		if err != nil {
			tb.Fatal(err)
		}
		handles[i] = h
	}
	for _, p := range tcpLife {
		for i, h := range handles {
			isn := [2]uint32{uint32(i) * 0x9e3779b9, uint32(i) * 0x85ebca6b}
			seg := conntrack.Segment{Seq: isn[p.d] + p.seq, Ack: isn[p.d^1] + p.ack, Payload: p.payload, Window: 500, Flags: p.flags}
			worker.Announce(a.shard, a.table, a.now, h, p.d, a.table.Touch(h, p.d, &seg, tick()))
		}
		flush()
	}
	a.now += 10_000
	due := make([]flow.Handle, n)
	for _, h := range due[:a.table.Sweep(tick(), 2*n+100, n, due)] {
		a.shard.Expired(a.now, h)
	}
	flush()
	if closed := a.shard.Count[syncer.Closed]; closed != uint64(n) || b.shard.Count[syncer.Installed] != uint64(n) {
		tb.Fatalf("%d of %d closed, %d installed at the peer", closed, n, b.shard.Count[syncer.Installed])
	}
	return float64(sent) / float64(n)
}

func benchSession6(i int) flow.Session {
	s := benchSession(i)
	for d, k := range [...]*flow.Key{&s.Orig, &s.Reply} {
		src, dst := k.Addr[0]>>32, k.Addr[0]&0xffffffff
		k.Addr = [4]uint64{0x20010db8_00000000 + uint64(d), src, 0x20010db8_00000010 + uint64(d), dst}
		k.Meta = k.Meta&^0xff | flow.IPv6
	}
	return s
}

// What a TCP life costs on the wire, to each peer. The bounds are what was measured, rounded up.
func TestBytesOfOneTCPLife(t *testing.T) {
	for _, c := range []struct {
		name string
		six  bool
		n    int
		mtu  int
		most float64
	}{
		{"IPv4, alone", false, 1, 1400, 415},
		{"IPv4, 1000 at once", false, 1000, 1400, 90},
		{"IPv4, 1000 at once in large datagrams", false, 1000, 8000, 84},
		{"IPv6, alone", true, 1, 1400, 560},
		{"IPv6, 1000 at once", true, 1000, 1400, 134},
		{"IPv6, 1000 at once in large datagrams", true, 1000, 8000, 121},
	} {
		got := bytesOfLives(t, c.six, c.n, c.mtu)
		t.Logf("%s: %.1f bytes a life", c.name, got)
		if got > c.most {
			t.Errorf("%s: %.1f bytes, want at most %.1f", c.name, got, c.most)
		}
	}
}
