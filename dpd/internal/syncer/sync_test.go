package syncer_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncseal"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// end is one Sync with what it sent and delivered.
type end struct {
	*syncer.Sync
	t     *testing.T
	self  flow.Node
	sent  []sentDatagram
	got   []syncer.Delivery
	at    [][]syncer.Delivery // of got, by shard; only the test that reads it forgets
	full  bool
	stuck map[int]bool // shards whose ring is full
	clock *int64
}

type sentDatagram struct {
	to flow.Node
	at netip.AddrPort
	b  []byte
}

func (e *end) Send(to flow.Node, at netip.AddrPort, b []byte) {
	e.sent = append(e.sent, sentDatagram{to, at, append([]byte(nil), b...)})
}

func (e *end) Deliver(shard int, d *syncer.Delivery) bool {
	if e.full || e.stuck[shard] {
		return false
	}
	e.got = append(e.got, *d)
	e.at[shard] = append(e.at[shard], *d)
	return true
}

var key1 = syncseal.Key{ID: 1, Secret: [32]byte{1}}
var key2 = syncseal.Key{ID: 2, Secret: [32]byte{2}}

func newEnd(t *testing.T, clock *int64, self flow.Node, seed uint64, off syncer.Rules) *end {
	r := rand.New(rand.NewPCG(seed, uint64(self.ID)))
	e := &end{t: t, self: self, clock: clock, at: make([][]syncer.Delivery, 2), stuck: map[int]bool{}}
	y, err := syncer.NewSync(*clock, syncer.SyncConfig{
		Self: self, Shards: 2, ShardOf: func(b flow.Bucket) int { return int(b) % 2 }, MTU: 1400, Off: off,
		Random: func(b []byte) {
			for i := range b {
				b[i] = byte(r.Uint32())
			}
		},
	}, e)
	if err != nil {
		t.Fatal(err)
	}
	e.Sync = y
	if err := y.SetKeys(1, key1); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *end) view(epoch uint64, nodes ...flow.Node) {
	v := &syncer.View{Epoch: epoch, Self: e.self}
	for _, n := range append(nodes, e.self) {
		v.Members = append(v.Members, syncer.Member{Node: n, Admitted: true, Sync: [2]netip.AddrPort{sip(n.ID)}})
	}
	e.SetView(*e.clock, v)
}

// take returns and forgets the datagrams for a node.
func (e *end) take() []sentDatagram {
	s := e.sent
	e.sent = nil
	return s
}

// messages are the messages of a kind that were delivered; it forgets all deliveries.
func (e *end) deliveries(k syncer.DeliveryKind) (list []syncer.Delivery) {
	for _, d := range e.got {
		if d.Kind == k {
			list = append(list, d)
		}
	}
	e.got = nil
	return list
}

// pair is two linked ends. lose decides about each datagram.
type pair struct {
	t    *testing.T
	now  int64
	e    [2]*end
	lose func(from int, b []byte) bool
}

func newPair(t *testing.T) *pair { return newPairOff(t, 0) }

func newPairOff(t *testing.T, off syncer.Rules) *pair {
	p := &pair{t: t, now: t0}
	for i := range p.e {
		p.e[i] = newEnd(t, &p.now, nodeID(uint32(i+1)), 7, off)
	}
	p.e[0].view(1, p.e[1].self)
	p.e[1].view(1, p.e[0].self)
	p.run(200)
	for i := range p.e {
		if s := p.status(i); !s.Linked {
			t.Fatalf("end %d is not linked: %+v", i, s)
		}
		p.e[i].got = nil
	}
	return p
}

func (p *pair) status(i int) syncer.PeerStatus {
	return p.e[i].Status(p.now, nil)[0]
}

// sip is a node's sync address, in all its lives.
func sip(id uint32) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(id)}), 7946)
}

// from is where most datagrams of the tests come from: the first end of a pair.
var from = sip(1)

// pass carries what was sent.
func (p *pair) pass() {
	for again := true; again; {
		again = false
		for i := range p.e {
			for _, d := range p.e[i].take() {
				if p.lose != nil && p.lose(i, d.b) {
					continue
				}
				again = true
				p.e[1-i].Datagram(p.now, sip(p.e[i].self.ID), d.b)
				p.e[1-i].Flush(p.now)
			}
		}
	}
}

func (p *pair) run(ms int64) {
	for end := p.now + ms; p.now < end; {
		p.now += 5
		for i := range p.e {
			p.e[i].Tick(p.now)
		}
		p.pass()
	}
}

// say queues a session message from one end and flushes.
func (p *pair) say(i int, seq uint64) {
	s := session(int(seq%200), 2, uint16(seq%200), flow.Birth(seq+1)<<16, uint32(i+1), 1, 2)
	p.e[i].Queue(p.now, 0, &syncer.Action{
		Kind: syncer.ActSend, Lane: syncwire.LaneLive, Seq: seq, Ref: syncer.Ref{Birth: s.Birth, Handle: flow.Handle(seq)},
		Msg: syncwire.Message{Kind: syncwire.KindSession, Rec: record(s)},
	})
	p.e[i].Flush(p.now)
}

func lane(b []byte) syncwire.Lane { return syncwire.Lane(b[4]) }

func TestALinkCarriesMessages(t *testing.T) {
	p := newPair(t)
	p.say(0, 1)
	p.pass()
	d := p.e[1].deliveries(syncer.DeliverMessage)
	if len(d) != 1 || d[0].From != p.e[0].self || d[0].Msg.Kind != syncwire.KindSession || flow.Birth(d[0].Msg.Rec.Birth) != 2<<16 {
		t.Fatalf("delivered %+v", d)
	}
	p.run(200)
	c := p.e[0].deliveries(syncer.DeliverConfirmed)
	if len(c) == 0 || c[len(c)-1].Seq != 1 {
		t.Errorf("confirmed %+v", c)
	}
}

func TestALinkNeedsBothProofs(t *testing.T) {
	p := &pair{t: t, now: t0}
	for i := range p.e {
		p.e[i] = newEnd(t, &p.now, nodeID(uint32(i+1)), 7, 0)
	}
	p.e[0].view(1, p.e[1].self)
	p.e[1].view(1, p.e[0].self)
	p.lose = func(i int, _ []byte) bool { return i == 1 }
	p.run(1000)
	p.say(0, 1)
	p.run(50)
	if p.status(0).Linked || p.status(1).Linked {
		t.Error("linked although one direction is dead")
	}
	if d := p.e[1].deliveries(syncer.DeliverMessage); len(d) != 0 {
		t.Error("a message was believed before the salt was proved")
	}
	// Once it is, what was dropped is asked for.
	p.lose = nil
	p.run(1500)
	if r := p.e[0].deliveries(syncer.DeliverResend); len(r) == 0 || r[0].Seq != 1 {
		t.Errorf("asked to send again: %+v", r)
	}
}

// TestHostileDatagramsChangeNothing feeds what an attacker, or chance, could make of a good datagram.
func TestHostileDatagramsChangeNothing(t *testing.T) {
	p := newPair(t)
	p.say(0, 1)
	good := p.e[0].take()
	if len(good) != 1 {
		t.Fatalf("%d datagrams", len(good))
	}
	b := good[0].b
	edit := func(f func([]byte) []byte) []byte { return f(append([]byte(nil), b...)) }
	rows := map[string][]byte{
		"nothing":             {},
		"a short one":         edit(func(x []byte) []byte { return x[:40] }),
		"a truncated one":     edit(func(x []byte) []byte { return x[:len(x)-1] }),
		"a longer one":        edit(func(x []byte) []byte { return append(x, 0) }),
		"without a seal":      edit(func(x []byte) []byte { clear(x[len(x)-16:]); return x }),
		"another magic":       edit(func(x []byte) []byte { x[0] ^= 1; return x }),
		"another version":     edit(func(x []byte) []byte { x[2]++; return x }),
		"another lane":        edit(func(x []byte) []byte { x[4] = 2; return x }),
		"an unknown lane":     edit(func(x []byte) []byte { x[4] = 9; return x }),
		"an unknown key":      edit(func(x []byte) []byte { x[6] = 9; return x }),
		"another sender":      edit(func(x []byte) []byte { binary.LittleEndian.PutUint32(x[8:], 3); return x }),
		"the receiver itself": edit(func(x []byte) []byte { binary.LittleEndian.PutUint32(x[8:], 2); return x }),
		"another salt":        edit(func(x []byte) []byte { x[12] ^= 1; return x }),
		"a higher inc":        edit(func(x []byte) []byte { x[16]++; return x }),
		"a lower inc":         edit(func(x []byte) []byte { x[16]--; return x }),
		"another counter":     edit(func(x []byte) []byte { x[24]++; return x }),
		"a larger datagram":   make([]byte, 9001),
	}
	for i := range 8 * syncwire.HeaderLen {
		rows["bit "+string(rune('0'+i/100))+string(rune('0'+i/10%10))+string(rune('0'+i%10))] = edit(func(x []byte) []byte {
			x[i/8] ^= 1 << (i % 8)
			return x
		})
	}
	for name, x := range rows {
		p.e[1].Datagram(p.now, from, x)
		p.e[1].Flush(p.now)
		if len(p.e[1].got) != 0 || len(p.e[1].sent) != 0 {
			t.Errorf("%s: %d deliveries, %d datagrams in answer", name, len(p.e[1].got), len(p.e[1].sent))
			p.e[1].got, p.e[1].sent = nil, nil
		}
	}
	// Reflected to who made it.
	p.e[0].Datagram(p.now, sip(2), append([]byte(nil), b...))
	if len(p.e[0].got) != 0 || p.e[0].Count[syncer.SyncSelf] != 1 {
		t.Error("a reflected datagram was heard")
	}
	// The good one, then the same again.
	p.e[1].Datagram(p.now, from, append([]byte(nil), b...))
	if n := len(p.e[1].deliveries(syncer.DeliverMessage)); n != 1 {
		t.Fatalf("the good one made %d deliveries", n)
	}
	p.e[1].Datagram(p.now, from, append([]byte(nil), b...))
	if n := len(p.e[1].got); n != 0 || p.e[1].Count[syncer.SyncVerdict+syncer.SyncCounter(syncseal.Replayed)] != 1 {
		t.Error("a replayed datagram was heard")
	}
}

// A link that believes no salt yet has nothing to open a datagram with, and a salt of 0 is none.
func TestASaltOfZeroIsRefusedBeforeAnyIsBelieved(t *testing.T) {
	now := int64(t0)
	e := newEnd(t, &now, nodeID(1), 7, 0)
	e.view(1, nodeID(2))
	for lane := range syncwire.Lane(syncwire.NumLanes) {
		d := make([]byte, 67)
		h := syncwire.Header{Inc: nodeID(2).Inc, Sender: 2, KeyID: 1, Lane: lane, Counter: 1}
		h.Put(d)
		e.Datagram(now, sip(2), d)
		if n := e.Count[syncer.SyncNotBelieved]; n != uint64(lane)+1 || len(e.sent) != 0 {
			t.Errorf("lane %d: %d counted, %d answers", lane, n, len(e.sent))
		}
	}
}

func TestAnOldHandshakeReplayedIsNotBelieved(t *testing.T) {
	p := &pair{t: t, now: t0}
	for i := range p.e {
		p.e[i] = newEnd(t, &p.now, nodeID(uint32(i+1)), 7, 0)
	}
	var tape [][]byte
	p.lose = func(i int, b []byte) bool {
		if i == 0 {
			tape = append(tape, append([]byte(nil), b...))
		}
		return false
	}
	p.e[0].view(1, p.e[1].self)
	p.e[1].view(1, p.e[0].self)
	p.run(300)
	p.say(0, 1)
	p.pass()
	p.e[1].got = nil
	// The receiver loses its memory of the link, the tape is played to it.
	fresh := newEnd(t, &p.now, nodeID(2), 99, 0)
	fresh.view(1, p.e[0].self)
	for _, b := range tape {
		fresh.Datagram(p.now, from, b)
	}
	if s := fresh.Status(p.now, nil)[0]; s.Linked || len(fresh.deliveries(syncer.DeliverMessage)) != 0 {
		t.Error("a replayed handshake was believed")
	}
}

func TestLostDatagramsAreAskedFor(t *testing.T) {
	p := newPair(t)
	lost := 0
	p.lose = func(i int, b []byte) bool {
		if i == 0 && lane(b) == syncwire.LaneLive && lost < 3 {
			lost++
			return true
		}
		return false
	}
	for seq := uint64(1); seq <= 5; seq++ {
		p.say(0, seq)
		p.pass()
	}
	p.run(20)
	r := p.e[0].deliveries(syncer.DeliverResend)
	if len(r) != 3 || r[0].Seq != 1 || r[2].Seq != 3 || r[0].Ref.Handle != 1 {
		t.Fatalf("asked to send again %+v", r)
	}
	// Answered gaps are neither asked for again nor taken for a loss.
	p.run(500)
	if r := p.e[0].deliveries(syncer.DeliverResend); len(r) != 0 {
		t.Errorf("asked again for %d", len(r))
	}
	if p.e[1].Count[syncer.SyncGapLost] != 0 {
		t.Error("an answered gap was given up")
	}
}

func TestTheLastDatagramLostIsNoticedByProbe(t *testing.T) {
	p := newPair(t)
	p.lose = func(i int, b []byte) bool { return i == 0 && lane(b) == syncwire.LaneLive }
	p.say(0, 1)
	p.pass()
	p.lose = nil
	p.run(150)
	if r := p.e[0].deliveries(syncer.DeliverResend); len(r) != 1 {
		t.Errorf("asked to send again %+v", r)
	}
}

func TestReorderedDatagramsAreNotAskedFor(t *testing.T) {
	p := newPair(t)
	p.say(0, 1)
	first := p.e[0].take()
	p.say(0, 2)
	p.pass()
	p.e[1].Datagram(p.now, from, first[0].b)
	p.run(200)
	if n := p.e[1].Count[syncer.SyncGapAsked]; n != 0 {
		t.Errorf("asked for %d", n)
	}
	if n := len(p.e[1].deliveries(syncer.DeliverMessage)); n != 2 {
		t.Errorf("%d messages, want 2", n)
	}
}

func TestAGapThatNobodyAnswersBecomesARepair(t *testing.T) {
	p := newPair(t)
	gaps := 0
	drop := true
	p.lose = func(i int, b []byte) bool {
		if i == 0 && lane(b) == syncwire.LaneLive && drop {
			drop = false
			return true
		}
		return i == 1 && gaps == 0 // the asker is not heard
	}
	p.say(0, 1)
	p.pass()
	p.say(0, 2)
	p.run(300)
	if p.e[1].Count[syncer.SyncGapLost] == 0 || len(p.e[1].deliveries(syncer.DeliverDesync)) == 0 {
		t.Fatal("the gap was not given up")
	}
	if n := p.e[1].Count[syncer.SyncGapAsked]; n != 3 {
		t.Errorf("asked %d times, want 3", n)
	}
	if !p.status(1).Desync {
		t.Error("the loss is not shown")
	}
	// The sender must hear of it before it hears that all was received.
	p.lose = nil
	p.e[0].got = nil
	p.run(400)
	for _, d := range p.e[0].got {
		if d.Kind == syncer.DeliverDesync {
			break
		}
		if d.Kind == syncer.DeliverConfirmed {
			t.Fatal("confirmed before the word of the loss")
		}
	}
	if len(p.e[0].deliveries(syncer.DeliverDesync)) == 0 || p.status(1).Desync {
		t.Error("the sender did not hear of the loss")
	}
}

func TestARingThatIsFullBecomesARepair(t *testing.T) {
	p := newPair(t)
	p.say(0, 1)
	p.e[1].full = true
	p.pass()
	p.e[1].full = false
	p.run(10)
	if n := len(p.e[1].deliveries(syncer.DeliverDesync)); n == 0 || p.e[1].Count[syncer.SyncRingFull] == 0 {
		t.Error("the shards were not told")
	}
	p.run(200)
	if len(p.e[0].deliveries(syncer.DeliverDesync)) == 0 {
		t.Error("the sender was not told")
	}
}

func TestSuspicion(t *testing.T) {
	p := newPair(t)
	p.lose = func(i int, _ []byte) bool { return i == 1 }
	p.run(195) // the last PROBE came up to 100 ms ago
	if len(p.e[0].deliveries(syncer.DeliverSuspect)) != 0 {
		t.Error("suspected before 300 ms")
	}
	p.run(215)
	d := p.e[0].deliveries(syncer.DeliverSuspect)
	if len(d) != 2 || !d[0].Yes || d[0].From != p.e[1].self {
		t.Errorf("after 300 ms %+v, want one word to each of two shards", d)
	}
	if len(p.e[1].deliveries(syncer.DeliverSuspect)) != 0 {
		t.Error("suspected by a node that hears")
	}
	p.lose = nil
	p.run(150)
	if d := p.e[0].deliveries(syncer.DeliverSuspect); len(d) != 2 || d[0].Yes {
		t.Errorf("heard again: %+v", d)
	}
}

func TestWhoWasLateItselfDoesNotJudge(t *testing.T) {
	p := newPair(t)
	p.now += 900
	for i := range p.e {
		p.e[i].Tick(p.now)
		for _, d := range p.e[i].deliveries(syncer.DeliverSuspect) {
			if d.Yes {
				t.Error("judged after standing still")
			}
		}
	}
}

func TestANodeThatStoodStillIsFrozenUntilItIsAnswered(t *testing.T) {
	p := newPair(t)
	p.now += 1_500
	p.e[0].Tick(p.now)
	if !p.e[0].Frozen() {
		t.Fatal("not frozen")
	}
	p.run(300)
	if p.e[0].Frozen() {
		t.Error("frozen although answered")
	}
	p.lose = func(int, []byte) bool { return true }
	p.now += 1_500
	p.e[0].Tick(p.now)
	p.run(900)
	if !p.e[0].Frozen() {
		t.Error("thawed before a second without any answer")
	}
	p.run(200)
	if p.e[0].Frozen() {
		t.Error("frozen for ever")
	}
}

func TestStaleDatagramsAreRefused(t *testing.T) {
	p := newPair(t)
	p.say(0, 1)
	old := p.e[0].take()
	for range 1200 {
		p.run(5)
	}
	p.e[1].got = nil
	p.e[1].Datagram(p.now, from, old[0].b)
	if len(p.e[1].deliveries(syncer.DeliverMessage)) != 0 || p.e[1].Count[syncer.SyncStale] != 1 {
		t.Error("a datagram that was on its way for 6 s was believed")
	}
	if !p.status(1).Desync {
		t.Error("the sender will take it for received")
	}
}

func TestFencing(t *testing.T) {
	young := flow.Node{ID: 1, Inc: 11}
	hello := func(p *pair, off syncer.Rules) {
		n := newEnd(t, &p.now, young, 55, off)
		n.view(2, p.e[1].self)
		n.Tick(p.now)
		for _, d := range n.take() {
			p.e[1].Datagram(p.now, from, d.b)
		}
	}
	t.Run("a HELLO of a higher incarnation ends the lower, and that is told", func(t *testing.T) {
		p := newPair(t)
		hello(p, 0)
		d := p.e[1].deliveries(syncer.DeliverFenced)
		if len(d) != 2 || d[0].From != young {
			t.Fatalf("shards were told %+v", d)
		}
		p.e[1].take()
		p.say(0, 1)
		p.pass()
		if len(p.e[1].deliveries(syncer.DeliverMessage)) != 0 {
			t.Error("the fenced incarnation is heard")
		}
		p.run(1500)
		if !p.e[0].Fenced() {
			t.Error("the fenced incarnation does not know")
		}
		if p.e[1].Fenced() {
			t.Error("the wrong one is fenced")
		}
	})
	t.Run("without the rule the lower incarnation goes on being heard", func(t *testing.T) {
		p := newPairOff(t, syncer.NoFence)
		hello(p, syncer.NoFence)
		p.say(0, 1)
		p.pass()
		if len(p.e[1].deliveries(syncer.DeliverMessage)) != 1 {
			t.Error("the mutant is not one")
		}
	})
	t.Run("a lower incarnation is told when the view names a higher one", func(t *testing.T) {
		p := newPair(t)
		p.e[1].view(2, young)
		p.run(2500)
		if !p.e[0].Fenced() {
			t.Error("the replaced incarnation does not know")
		}
	})
	t.Run("a view that still names the lower one does not bring it back", func(t *testing.T) {
		p := newPair(t)
		hello(p, 0)
		p.e[1].view(2, p.e[0].self)
		if s := p.e[1].Status(p.now, nil); len(s) != 0 {
			t.Errorf("links %+v", s)
		}
	})
	t.Run("data of a higher incarnation fences nothing", func(t *testing.T) {
		p := newPair(t)
		n := newEnd(t, &p.now, young, 55, 0)
		n.view(2, p.e[1].self)
		n.Queue(p.now, 0, &syncer.Action{Kind: syncer.ActSend, Lane: syncwire.LaneLive, Seq: 1,
			Msg: syncwire.Message{Kind: syncwire.KindSession, Rec: record(session(1, 2, 5, 9<<16, 1, 1, 2))}})
		n.Flush(p.now)
		for _, d := range n.take() {
			p.e[1].Datagram(p.now, from, d.b)
		}
		if len(p.e[1].got) != 0 || p.e[1].Count[syncer.SyncNewInc] != 1 {
			t.Errorf("delivered %+v", p.e[1].got)
		}
	})
}

func TestKeysRotateWithoutLoss(t *testing.T) {
	p := newPair(t)
	seq := uint64(0)
	talk := func() {
		t.Helper()
		seq++
		p.say(0, seq)
		p.run(50)
		if n := len(p.e[1].deliveries(syncer.DeliverMessage)); n != 1 {
			t.Fatalf("message %d: %d delivered", seq, n)
		}
	}
	talk()
	for _, s := range []struct {
		end    int
		active uint16
		keys   []syncseal.Key
	}{{0, 1, []syncseal.Key{key1, key2}}, {1, 1, []syncseal.Key{key1, key2}}, {0, 2, []syncseal.Key{key1, key2}}, {1, 2, []syncseal.Key{key1, key2}}, {1, 2, []syncseal.Key{key2}}, {0, 2, []syncseal.Key{key2}}} {
		if err := p.e[s.end].SetKeys(s.active, s.keys...); err != nil {
			t.Fatal(err)
		}
		talk()
	}
	if n := p.e[1].Count[syncer.SyncGapAsked]; n != 0 {
		t.Errorf("%d gaps", n)
	}
}

func TestAnOlderViewIsRefused(t *testing.T) {
	p := newPair(t)
	p.e[0].view(5, p.e[1].self)
	v := &syncer.View{Epoch: 4, Self: p.e[0].self}
	if p.e[0].SetView(p.now, v) || len(p.e[0].Status(p.now, nil)) != 1 {
		t.Error("an older view was taken")
	}
	// A peer with another view is heard all the same.
	p.say(0, 1)
	p.pass()
	if len(p.e[1].deliveries(syncer.DeliverMessage)) != 1 {
		t.Error("a datagram of another view was refused")
	}
}

func TestBulkBookkeeping(t *testing.T) {
	p := newPair(t)
	act := func(shard int, k syncer.ActionKind, records uint64) {
		p.e[0].Queue(p.now, shard, &syncer.Action{Kind: k, To: 2, Records: records})
	}
	record1 := func(i uint64) {
		p.e[0].Queue(p.now, 0, &syncer.Action{Kind: syncer.ActSend, To: 2, Lane: syncwire.LaneBulk, Seq: i,
			Msg: syncwire.Message{Kind: syncwire.KindSession, Rec: record(session(int(i), 2, uint16(i), flow.Birth(i+1)<<16, 1, 1, 2))}})
	}
	act(0, syncer.ActBulkBegin, 6)
	p.run(200)
	if p.status(1).BulkBegun {
		t.Error("begun although one shard is silent")
	}
	act(1, syncer.ActBulkBegin, 4)
	p.run(200)
	if s := p.status(1); !s.BulkBegun || s.BulkExpected != 10 || s.BulkEnded {
		t.Fatalf("%+v", s)
	}
	if ready, _ := p.e[1].Ready(); ready {
		t.Error("ready with nothing")
	}
	for i := range uint64(7) {
		record1(i)
	}
	p.now++ // until then the datagram waits to be filled
	p.e[0].Flush(p.now)
	p.pass()
	if ready, all := p.e[1].Ready(); !ready || all {
		t.Errorf("at 70 %%: ready %v, complete %v", ready, all)
	}
	for i := range uint64(3) {
		record1(7 + i)
	}
	act(0, syncer.ActBulkEnd, 6)
	act(1, syncer.ActBulkEnd, 4)
	p.run(200)
	if ready, all := p.e[1].Ready(); !ready || !all {
		t.Errorf("at the end: ready %v, complete %v, %+v", ready, all, p.status(1))
	}
	// A second bulk counts anew.
	act(0, syncer.ActBulkBegin, 1)
	act(1, syncer.ActBulkBegin, 0)
	p.run(200)
	if s := p.status(1); s.BulkEnded || s.BulkExpected != 1 || s.BulkReceived != 0 {
		t.Errorf("second bulk %+v", s)
	}
}

func TestMTUGrowsAsFarAsThePathLets(t *testing.T) {
	p := newPair(t)
	p.lose = func(_ int, b []byte) bool { return len(b) > 1300 }
	p.run(8_000)
	if got := p.status(0).MTU; got != 1232 {
		t.Errorf("on a path of 1300 the MTU is %d", got)
	}
	p.lose = nil
	p.run(4_000)
	if got := p.status(0).MTU; got != 1400 {
		t.Errorf("on a free path the MTU is %d", got)
	}
	p.lose = func(_ int, b []byte) bool { return len(b) > 1300 }
	p.run(12_000)
	if got := p.status(0).MTU; got != 1232 {
		t.Errorf("on a path that shrank the MTU is %d", got)
	}
}

func TestFullDatagramsAreFlushedAndNothingIsLost(t *testing.T) {
	p := newPair(t)
	for i := range uint64(500) {
		s := session(int(i%200), byte(1+i/200), uint16(i%200), flow.Birth(i+1)<<16, 1, 1, 2)
		p.e[0].Queue(p.now, 0, &syncer.Action{Kind: syncer.ActSend, Lane: syncwire.LaneLive, Seq: i + 1, Msg: syncwire.Message{Kind: syncwire.KindSession, Rec: record(s)}})
	}
	p.e[0].Flush(p.now)
	for _, d := range p.e[0].sent {
		if len(d.b) > 1400 {
			t.Errorf("a datagram of %d bytes", len(d.b))
		}
	}
	p.pass()
	d := p.e[1].deliveries(syncer.DeliverMessage)
	if len(d) != 500 {
		t.Fatalf("%d of 500 messages", len(d))
	}
	for i := range d {
		if flow.Birth(d[i].Msg.Rec.Birth) != flow.Birth(i+1)<<16 {
			t.Fatalf("message %d is out of order", i)
		}
	}
}

func TestWatermarksTravel(t *testing.T) {
	p := newPair(t)
	for i := range 2 {
		p.e[0].Queue(p.now, i, &syncer.Action{Kind: syncer.ActTombs, ClosedAt: p.now - 700 + int64(i), AgedAt: p.now - 800, FloorAt: p.now - 9_000})
	}
	at := p.now
	p.e[1].got = nil
	p.run(150)
	d := p.e[1].deliveries(syncer.DeliverWatermarks)
	if len(d) == 0 {
		t.Fatal("none")
	}
	if got := at - d[0].Words.Closed; got < 1_700 || got > 1_710 {
		t.Errorf("closed before %d ms ago, want 700 and a second of slack", got)
	}
	if got := at - d[0].Words.Aged; got < 1_800 || got > 1_810 {
		t.Errorf("aged before %d ms ago, want 800 and a second of slack", got)
	}
	if got := at - d[0].Words.Floor; got < 10_000 || got > 10_010 {
		t.Errorf("floor %d ms ago, want 9000 and a second of slack", got)
	}
}
