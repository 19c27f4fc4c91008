package syncer_test

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncseal"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// ringOf holds the first key.
func ringOf(t *testing.T) *syncseal.Ring {
	t.Helper()
	ring := &syncseal.Ring{}
	if err := ring.Set(1, key1); err != nil {
		t.Fatal(err)
	}
	return ring
}

// sealer seals what one life says to another, under a salt of its own.
type sealer struct {
	t     *testing.T
	from  flow.Node
	lanes [syncwire.NumLanes]*syncseal.Sealer
}

func newSealer(t *testing.T, from, to flow.Node, salt uint32) *sealer {
	s := &sealer{t: t, from: from}
	for l := range s.lanes {
		s.lanes[l] = syncseal.NewSealer(ringOf(t), syncseal.Link{Inc: from.Inc, Sender: from.ID, Receiver: to.ID, Salt: salt, Lane: syncwire.Lane(l)})
	}
	return s
}

func (s *sealer) seal(lane syncwire.Lane, build func(b *syncwire.Builder)) []byte {
	s.t.Helper()
	b := syncwire.NewBuilder(s.from.Inc, s.from.ID)
	b.Reset(make([]byte, syncwire.MaxDatagram), lane, 1, 1)
	build(b)
	d, _, err := s.lanes[lane].Seal(b.Finish())
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

// saltOf is a salt that the life from may choose for the life to.
func saltOf(t *testing.T, from, to flow.Node, n uint32) uint32 {
	return ringOf(t).Salt(&syncseal.Ends{SenderInc: from.Inc, ReceiverInc: to.Inc, Sender: from.ID, Receiver: to.ID}, n)
}

// sealed is a datagram from one life to another, the first one under a salt of its own.
func sealed(t *testing.T, from, to flow.Node, lane syncwire.Lane, build func(b *syncwire.Builder)) []byte {
	t.Helper()
	return newSealer(t, from, to, saltOf(t, from, to, 5)).seal(lane, build)
}

func hello(change func(h *syncwire.Hello)) syncwire.Hello {
	h := syncwire.Hello{Nonce: [16]byte{1}, MinMajor: syncwire.Major, MaxMajor: syncwire.Major, MTU: 1400}
	change(&h)
	return h
}

func plainHello() syncwire.Hello { return hello(func(*syncwire.Hello) {}) }

// controls are datagrams with one body each, of every kind that may stand in the control lane, and the shortest of the others.
var controls = map[string]struct {
	lane  syncwire.Lane
	build func(b *syncwire.Builder)
}{
	"nothing":   {0, func(*syncwire.Builder) {}},
	"HELLO":     {0, func(b *syncwire.Builder) { h := plainHello(); b.Hello(&h, false) }},
	"HELLO_ACK": {0, func(b *syncwire.Builder) { h := plainHello(); b.Hello(&h, true) }},
	"HELLO, and more": {0, func(b *syncwire.Builder) {
		h := plainHello()
		b.Hello(&h, false)
		b.Digest(&syncwire.DigestSums{})
	}},
	"PROBE":          {0, func(b *syncwire.Builder) { b.Probe(&syncwire.Probe{Seq: 1}) }},
	"GAP of nothing": {0, func(b *syncwire.Builder) { b.Gap(&syncwire.Gap{Lane: 1}) }},
	"GAP": {0, func(b *syncwire.Builder) {
		b.Gap(&syncwire.Gap{Lane: 1, N: 1, Range: [syncwire.GapMax]syncwire.GapRange{{From: 1, To: 1}}})
	}},
	"GAP of three": {0, func(b *syncwire.Builder) {
		b.Gap(&syncwire.Gap{Lane: 1, N: 3, Range: [syncwire.GapMax]syncwire.GapRange{{From: 1, To: 1}, {From: 3, To: 3}, {From: 5, To: 5}}})
	}},
	"DIGEST":     {0, func(b *syncwire.Builder) { b.Digest(&syncwire.DigestSums{}) }},
	"BULK_BEGIN": {0, func(b *syncwire.Builder) { b.Bulk(&syncwire.Bulk{}, false) }},
	"BULK_END":   {0, func(b *syncwire.Builder) { b.Bulk(&syncwire.Bulk{}, true) }},
	"LADDR_USE":  {0, func(b *syncwire.Builder) { b.LaddrUse(&syncwire.LaddrUse{Family: 4}) }},
	"FENCED":     {0, func(b *syncwire.Builder) { b.Fenced(&syncwire.Fenced{Inc: 1}) }},
	"PAD":        {0, func(b *syncwire.Builder) { b.Pad() }},
	"QUERY": {1, func(b *syncwire.Builder) {
		s := session(1, 2, 5, 1, 1, 1, 2)
		b.Message(&syncwire.Message{Kind: syncwire.KindQuery, Rec: record(s)})
	}},
	"ACK": {1, func(b *syncwire.Builder) { b.Message(&syncwire.Message{Kind: syncwire.KindAck}) }},
}

func TestNothingIsAnsweredByMoreThanAskedForIt(t *testing.T) {
	for name, c := range controls {
		t.Run(name+", of a life that is over", func(t *testing.T) {
			p := newPair(t)
			old := p.e[0].self
			p.e[1].view(2, flow.Node{ID: 1, Inc: old.Inc + 1})
			p.e[1].sent = nil
			d := sealed(t, old, p.e[1].self, c.lane, c.build)
			length, fits := len(d), len(d) >= syncwire.FencedLen && name != "FENCED"
			p.e[1].Datagram(p.now, from, d)
			p.e[1].Flush(p.now)
			sent := p.e[1].take()
			if (len(sent) == 1) != fits || len(sent) > 1 {
				t.Fatalf("%d bytes were answered by %d datagrams", length, len(sent))
			}
			if fits && (len(sent[0].b) > length || sent[0].at != from) {
				t.Errorf("%d bytes to %v, by %d from %v", len(sent[0].b), sent[0].at, length, from)
			}
			if short := p.e[1].Count[syncer.SyncTooShort] == 1; short != (!fits && name != "FENCED") {
				t.Errorf("counted as too short: %v", short)
			}
		})
		t.Run(name+", under a salt that is not believed", func(t *testing.T) {
			p := newPair(t)
			d := sealed(t, p.e[0].self, p.e[1].self, c.lane, c.build)
			length := len(d)
			p.e[1].sent = nil
			p.e[1].Queue(p.now, 0, &syncer.Action{Kind: syncer.ActDigest}) // waits for the end of the turn
			p.e[1].Datagram(p.now, from, d)
			answers := 0
			for _, a := range p.e[1].take() {
				if len(a.b) == syncwire.HelloLen {
					answers++
				} else if len(a.b) > length && answers > 0 {
					t.Errorf("%d bytes were answered by %d", length, len(a.b))
				}
			}
			if want := name == "HELLO" || name == "HELLO, and more"; (answers == 1) != want || answers > 1 {
				t.Errorf("answered %d times", answers)
			}
		})
	}
}

func TestFencedIsSaidOnlySoOften(t *testing.T) {
	p := newPair(t)
	old := p.e[0].self
	p.e[1].view(2, flow.Node{ID: 1, Inc: old.Inc + 1})
	p.e[1].sent = nil
	s := newSealer(t, old, p.e[1].self, saltOf(t, old, p.e[1].self, 5))
	for range 100 {
		p.e[1].Datagram(p.now, from, s.seal(0, controls["PROBE"].build))
	}
	if n := len(p.e[1].sent); n != 10 || p.e[1].Count[syncer.SyncReplies] != 90 {
		t.Errorf("%d answers in one burst, %d counted as limited", n, p.e[1].Count[syncer.SyncReplies])
	}
}

func TestAPeerThatDoesNotSpeakThisMajorVersionIsRefused(t *testing.T) {
	for _, c := range []struct {
		name     string
		min, max uint8
		answered bool
	}{
		{"older ones alone", 0, 0, false},
		{"newer ones alone", 2, 3, false},
		{"this one", 1, 1, true},
		{"this one among others", 0, 7, true},
	} {
		for _, ack := range []bool{false, true} {
			p := newPair(t)
			p.e[1].sent = nil
			h := hello(func(h *syncwire.Hello) { h.MinMajor, h.MaxMajor, h.ConfigDigest = c.min, c.max, 99 })
			p.e[1].Datagram(p.now, from, sealed(t, p.e[0].self, p.e[1].self, 0, func(b *syncwire.Builder) { b.Hello(&h, ack) }))
			if got := len(p.e[1].sent) == 1; got != (c.answered && !ack) {
				t.Errorf("%s, answer %v: answered %v", c.name, ack, got)
			}
			if got := p.e[1].Count[syncer.SyncForeignMajor]; (got == 1) == c.answered {
				t.Errorf("%s, answer %v: counted %d", c.name, ack, got)
			}
			if p.status(1).ConfigDigest == 99 {
				t.Errorf("%s, answer %v: its configuration was taken, though it may be a replay", c.name, ack)
			}
		}
	}
}

func TestAHandshakeTakesNoMoreThanItNeeds(t *testing.T) {
	p := &pair{t: t, now: t0}
	for i := range p.e {
		p.e[i] = newEnd(t, &p.now, nodeID(uint32(i+1)), 7, 0)
	}
	said := 0
	p.lose = func(_ int, b []byte) bool {
		if len(b) == syncwire.HelloLen {
			said++
		}
		return false
	}
	p.e[0].view(1, p.e[1].self)
	p.e[1].view(1, p.e[0].self)
	p.run(500)
	// Both begin at once, and repeat HELLO until a PROBE shows that they are believed.
	if said > 20 || !p.status(0).Linked || !p.status(1).Linked {
		t.Errorf("%d greetings, linked %v and %v", said, p.status(0).Linked, p.status(1).Linked)
	}
	for i := range p.e {
		if n := p.e[i].Count[syncer.SyncReplies]; n != 0 {
			t.Errorf("end %d was limited %d times", i, n)
		}
	}
}

func TestPeersHearOfAnotherConfiguration(t *testing.T) {
	p := newPair(t)
	lost := 0
	p.lose = func(i int, b []byte) bool {
		if i == 0 && len(b) == syncwire.HelloLen && lost < 3 {
			lost++
			return true
		}
		return false
	}
	p.e[0].SetConfigDigest(77)
	p.run(300)
	if got := p.status(1).ConfigDigest; got != 77 || lost != 3 {
		t.Errorf("the peer knows of configuration %d after %d lost greetings", got, lost)
	}
	if !p.status(0).Linked || !p.status(1).Linked {
		t.Error("the link did not stand it")
	}
	// Once answered it is not said again, and the same is no news.
	said := 0
	p.lose = func(_ int, b []byte) bool {
		if len(b) == syncwire.HelloLen {
			said++
		}
		return false
	}
	p.e[0].SetConfigDigest(77)
	p.run(3_000)
	if said != 0 {
		t.Errorf("%d greetings without news", said)
	}
	p.say(0, 1)
	p.pass()
	if n := len(p.e[1].deliveries(syncer.DeliverMessage)); n != 1 {
		t.Errorf("%d messages pass", n)
	}
}
