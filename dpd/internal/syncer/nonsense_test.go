package syncer_test

import (
	"math"
	"net/netip"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncseal"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// What a member says by mistake is authentic. None of it may hold up another.

// One datagram holds 6 GAPs of 16 ranges each. All the same, they made 3 million resends and held the sync thread for 2 s.
func TestOneDatagramAsksForNoMoreThanWasSent(t *testing.T) {
	p := newPair(t)
	const all = 4_096 * 8
	for seq := range uint64(all) {
		p.queue(seq%200 + 1)
		if seq%8 == 7 {
			p.e[0].Flush(p.now)
		}
		if seq%2048 == 2047 {
			p.pass()
			p.e[0].got, p.e[1].got = nil, nil
		}
	}
	p.pass()
	g := syncwire.Gap{Salt: p.salt(0), Lane: syncwire.LaneLive, N: syncwire.GapMax}
	for i := range g.Range {
		g.Range[i] = syncwire.GapRange{From: 1, To: math.MaxUint64}
	}
	link := syncseal.Link{Inc: p.e[1].self.Inc, Sender: 2, Receiver: 1, Salt: p.salt(1), Lane: syncwire.LaneControl}
	p.e[0].got, p.e[0].full = nil, true
	for i := range uint64(20) {
		tries := p.e[0].Count[syncer.SyncRingFull]
		d := sealedAs(t, link, 1_000+i, uint64(p.now-t0), func(b *syncwire.Builder) {
			for range 6 {
				b.Gap(&g)
			}
		})
		p.e[0].Datagram(p.now, sip(2), d)
		if n := p.e[0].Count[syncer.SyncRingFull] - tries; n > all+100 || i > 0 && n > 100 {
			t.Errorf("datagram %d asked for %d messages again, of %d", i, n, all)
		}
	}
	if p.e[0].Count[syncer.SyncReplies] == 0 {
		t.Error("nothing counts it")
	}
}

// Each CLOSE of another owner made a queue that every later one looked through.
func TestEndsOfOwnersThatAreNoMembersHaveOneQueue(t *testing.T) {
	b := newBench(t, 0)
	for i := range uint64(5_000) {
		s := session(int(i%200), 2, uint16(i%200), flow.Birth(1_000_000+i), 2, 1, 2)
		s.Flags, s.Owner = flow.HardTomb, flow.Node{ID: 9, Inc: i + 1}
		b.hear(2, syncwire.KindClose, s)
		b.Done()
	}
	if closed, _ := b.Tombs(); closed != 5_000 {
		t.Errorf("%d are remembered", closed)
	}
	if n := b.EndQueues(); n > 4 {
		t.Errorf("%d queues", n)
	}
	for range 125 * 1_000 / 250 {
		b.now += 250
		b.Tick(b.now, 100)
		b.Done()
	}
	if closed, _ := b.Tombs(); closed != 0 {
		t.Errorf("%d are left", closed)
	}
}

// Who claims a session takes the next term: there must be one. So for births.
func TestNumbersWithoutANextAreRefused(t *testing.T) {
	for name, spoil := range map[string]func(*flow.Session){
		"term":  func(s *flow.Session) { s.Term = math.MaxUint32 },
		"birth": func(s *flow.Session) { s.Birth = math.MaxUint64 },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 0)
			mine := session(1, 1, 5, 100<<16, 1, 1, 2)
			b.put(mine)
			lie := mine
			lie.Ver = 9
			spoil(&lie)
			b.hear(2, syncwire.KindNackVersion, lie)
			if n := b.Count[syncer.Invalid]; n != 1 || b.held(mine) != mine || len(b.sends()) != 0 {
				t.Errorf("refused %d, holds %+v", n, b.held(mine))
			}
		})
	}
}

// 6,000 HINTs a second about sessions that are not here took all questions from packets that wait.
func TestHintsTakeNoQuestionsFromPackets(t *testing.T) {
	b := newBench(t, 0)
	for i := range 3_000 {
		b.now++
		for j := range 10 {
			b.hear(2, syncwire.KindHint, session(i%200, 2, uint16(j), flow.Birth(b.now)<<16, 1, 1, 2))
		}
		b.Done()
		if i%10 == 0 {
			k := session(i%250, 3, uint16(i%250), flow.Birth(b.now)<<16, 1, 1, 2).Orig
			if b.Miss(b.now, &k, 0x10) == syncer.MissDrop {
				t.Fatalf("packet %d is dropped unasked", i/10)
			}
			b.Done()
		}
	}
}

// The table names 65,535 owners. A member that named another one in each record filled it up, and nobody could own anything.
func TestOwnersThatAreNoMembersLeaveRoomForThoseThatAre(t *testing.T) {
	numbered := func(i int, block byte, owner flow.Node) flow.Session {
		s := session(1, block, 5, flow.Birth(t0+int64(i%5_000))<<16, 2, 1, 2)
		low, port := [4]byte{192, 1, byte(i >> 16), byte(i >> 8)}, uint16(i&255)
		var err, err2 error
		s.Orig, err = flow.MakeKey(flow.ProtoTCP, netip.AddrPortFrom(netip.AddrFrom4(low), port+1000), netip.MustParseAddrPort("198.51.100.1:80"))
		low[0] = 10
		s.Reply, err2 = flow.MakeKey(flow.ProtoTCP, netip.AddrPortFrom(netip.AddrFrom4(low), 80),
			netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, block, 1}), port<<8|0x10))
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		s.Owner = owner
		return s
	}
	table, err := conntrack.New(conntrack.Config{CapacityV4: 1 << 18, CapacityV6: 1})
	if err != nil {
		t.Fatal(err)
	}
	ports := &portLog{mine: map[string]bool{"10.9.1.1": true}}
	s := syncer.New(syncer.Config{Self: nodeID(1), DigestKey: [16]byte{1, 8: 2}, Owns: func(flow.Bucket) bool { return true }}, table, ports)
	s.SetView(t0, view(1, 1, 2, 3))
	hear := func(x flow.Session) {
		s.Receive(t0+20_000, nodeID(2), &syncwire.Message{Kind: syncwire.KindSession, Rec: record(x)})
		s.Done()
	}
	for i := range 70_000 {
		hear(numbered(i, 2, flow.Node{ID: 77, Inc: uint64(i + 1)}))
	}
	if s.Count[syncer.Crowded] == 0 {
		t.Error("nothing was refused")
	}
	x := numbered(200_000, 1, flow.Node{})
	if _, err := s.Create(t0+20_000, &x); err != nil {
		t.Errorf("this node can make no session: %v", err)
	}
	installed := s.Count[syncer.Installed]
	hear(numbered(300_000, 3, nodeID(3)))
	if s.Count[syncer.Installed] != installed+1 {
		t.Error("nothing of another member can be installed")
	}
}
