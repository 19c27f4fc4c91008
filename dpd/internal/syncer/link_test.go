package syncer_test

import (
	"encoding/binary"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncseal"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// saltIn is the salt that a datagram was sealed under.
func saltIn(b []byte) uint32 { return binary.LittleEndian.Uint32(b[12:]) }

// salt is what one end of a pair seals with.
func (p *pair) salt(i int) (salt uint32) {
	p.t.Helper()
	keep := p.lose
	p.lose = func(from int, b []byte) bool {
		if from == i {
			salt = saltIn(b)
		}
		return keep != nil && keep(from, b)
	}
	p.run(105) // a PROBE leaves in that time
	p.lose = keep
	if salt == 0 {
		p.t.Fatal("nothing was sent")
	}
	return salt
}

// sealedAs is a datagram that a link's own sender could have sent as its datagram number counter.
func sealedAs(t *testing.T, link syncseal.Link, counter uint64, sent uint64, build func(b *syncwire.Builder), more ...byte) []byte {
	t.Helper()
	var ring syncseal.Ring
	if err := ring.Set(1, key1); err != nil {
		t.Fatal(err)
	}
	s := syncseal.NewSealer(&ring, link)
	b := syncwire.NewBuilder(link.Inc, link.Sender)
	for {
		b.Reset(make([]byte, syncwire.MaxDatagram), link.Lane, 1, sent)
		build(b)
		d, c, err := s.Seal(append(b.Finish(), more...))
		if err != nil {
			t.Fatal(err)
		}
		if c == counter {
			return d
		}
	}
}

// opened reads what was sealed.
func opened(t *testing.T, to flow.Node, b []byte) *syncwire.Frame {
	t.Helper()
	var ring syncseal.Ring
	if err := ring.Set(1, key1); err != nil {
		t.Fatal(err)
	}
	var h syncwire.Header
	if why := h.Read(b); why != syncwire.OK {
		t.Fatal(why)
	}
	l := syncseal.Link{Inc: h.Inc, Sender: h.Sender, Receiver: to.ID, Salt: h.Salt, Lane: h.Lane}
	tlvs, v := syncseal.NewOpener(&ring, l).Open(&h, append([]byte(nil), b...))
	if v != syncseal.Opened {
		t.Fatal(v)
	}
	f, why := syncwire.NewDecoder().Decode(&h, tlvs)
	if why != syncwire.OK {
		t.Fatal(why)
	}
	return f
}

// The sender takes an authentic datagram for received, whatever became of it here. So what can't be read is lost without repair, and
// both sides must know.
func TestAnAuthenticDatagramThatCannotBeReadBeginsARepair(t *testing.T) {
	unknown := []byte{0x80 | 99, 0, 0} // a critical TLV of a kind that only a later version knows
	for _, c := range []struct {
		name string
		lane syncwire.Lane
		more []byte
		want bool
	}{
		{"of the live lane", syncwire.LaneLive, unknown, true},
		{"of the bulk lane", syncwire.LaneBulk, unknown, true},
		{"of the control lane, where nothing counts as received", syncwire.LaneControl, unknown, false},
		{"that is read as far as it is known", syncwire.LaneLive, []byte{99, 0, 0}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t)
			link := syncseal.Link{Inc: p.e[0].self.Inc, Sender: 1, Receiver: 2, Salt: p.salt(0), Lane: c.lane}
			counter := uint64(1)
			if c.lane == syncwire.LaneControl {
				counter = 1_000 // it has begun
			}
			p.e[1].got = nil
			s := session(1, 2, 5, 100<<16, 1, 1, 2)
			m := syncwire.Message{Kind: syncwire.KindSession, Rec: record(s)}
			d := sealedAs(t, link, counter, uint64(p.now-t0), func(b *syncwire.Builder) {
				if c.lane != syncwire.LaneControl {
					b.Message(&m)
				}
			}, c.more...)
			p.e[1].Datagram(p.now, from, d)
			refused := p.e[1].Count[syncer.SyncReason+syncer.SyncCounter(syncwire.UnknownKind)]
			if read := c.more[0]&0x80 == 0; (refused == 1) == read {
				t.Fatalf("refused %d times", refused)
			}
			if read := len(p.e[1].got); c.want && read != 2 {
				t.Errorf("%d deliveries, want a word to each shard", read)
			}
			if got := len(p.e[1].deliveries(syncer.DeliverDesync)); (got == 2) != c.want || p.status(1).Desync != c.want {
				t.Errorf("%d shards were told, shown: %v", got, p.status(1).Desync)
			}
			p.e[0].got = nil
			p.run(250)
			if got := len(p.e[0].deliveries(syncer.DeliverDesync)) > 0; got != c.want {
				t.Errorf("the sender was told: %v", got)
			}
		})
	}
}

// FENCED is for one life. One that a former life of this node asked for comes late, or is another's by mistake.
func TestFENCEDIsBelievedOnlyOfThisLife(t *testing.T) {
	rows := []struct {
		name string
		inc  uint64
		want bool
	}{
		{"this life", 10, true},
		{"the life before", 9, false},
		{"a later life", 11, false},
		{"no life", 0, false},
	}
	for _, c := range rows {
		t.Run(c.name+", under a believed salt", func(t *testing.T) {
			p := newPair(t)
			link := syncseal.Link{Inc: p.e[0].self.Inc, Sender: 1, Receiver: 2, Salt: p.salt(0), Lane: syncwire.LaneControl}
			w := syncwire.Fenced{Inc: c.inc, ByInc: 12, View: 3}
			p.e[1].Datagram(p.now, from, sealedAs(t, link, 1_000, uint64(p.now-t0), func(b *syncwire.Builder) { b.Fenced(&w) }))
			if p.e[1].Fenced() != c.want {
				t.Errorf("fenced: %v", p.e[1].Fenced())
			}
		})
	}
	for _, echo := range []bool{true, false} {
		for _, c := range rows {
			t.Run(c.name+map[bool]string{true: ", in answer to HELLO", false: ", in answer to nothing"}[echo], func(t *testing.T) {
				clock := int64(t0)
				e := newEnd(t, &clock, nodeID(2), 7, 0)
				e.view(1, nodeID(1))
				clock += 25
				e.Tick(clock)
				w := syncwire.Fenced{Inc: c.inc, ByInc: 12, View: 3}
				if echo {
					for _, d := range e.take() {
						if f := opened(t, nodeID(1), d.b); f.Has(syncwire.KindHello) {
							w.Echo = f.Hello.Nonce
						}
					}
					if w.Echo == [16]byte{} {
						t.Fatal("no HELLO")
					}
				}
				e.Datagram(clock, from, sealed(t, nodeID(1), nodeID(2), syncwire.LaneControl, func(b *syncwire.Builder) { b.Fenced(&w) }))
				if want := c.want && echo; e.Fenced() != want {
					t.Errorf("fenced: %v", e.Fenced())
				}
			})
		}
	}
}

// A replay is one too when the first copy came before its salt was believed.
func TestADatagramOfTheHandshakeIsNotTakenTwice(t *testing.T) {
	p := &pair{t: t, now: t0}
	for i := range p.e {
		p.e[i] = newEnd(t, &p.now, nodeID(uint32(i+1)), 7, 0)
	}
	var tape [][]byte
	p.lose = func(i int, b []byte) bool {
		if i == 0 && lane(b) == syncwire.LaneControl {
			tape = append(tape, append([]byte(nil), b...))
		}
		return false
	}
	p.e[0].view(1, p.e[1].self)
	p.e[1].view(1, p.e[0].self)
	for p.now < t0+1_000 && !p.status(1).Linked {
		p.run(5)
	}
	early := len(tape)
	p.run(200)
	if !p.status(1).Linked || early < 2 {
		t.Fatalf("linked %v after %d datagrams", p.status(1).Linked, early)
	}
	p.e[1].got, p.e[1].sent = nil, nil
	received := p.e[1].Count[syncer.SyncReceived]
	for _, d := range tape {
		p.e[1].Datagram(p.now, from, d)
		p.e[1].Flush(p.now)
	}
	replayed := p.e[1].Count[syncer.SyncVerdict+syncer.SyncCounter(syncseal.Replayed)]
	if int(replayed) != len(tape) || p.e[1].Count[syncer.SyncReceived] != received {
		t.Errorf("of %d datagrams %d were known as replays, %d were taken", len(tape), replayed, p.e[1].Count[syncer.SyncReceived]-received)
	}
	if len(p.e[1].sent) != 0 || len(p.e[1].got) != 0 {
		t.Errorf("%d answers, %d deliveries", len(p.e[1].sent), len(p.e[1].got))
	}
}

// After a stand-still a node may be over and not know it. What peers said before they gave it up waits in its socket and proves
// nothing.
func TestOnlyTheEchoOfALaterPROBEEndsAStandStill(t *testing.T) {
	p := newPair(t)
	var held [][]byte
	p.lose = func(i int, b []byte) bool {
		if i == 1 {
			held = append(held, append([]byte(nil), b...))
		}
		return i == 1
	}
	p.run(250)
	p.now += 1_500
	p.e[0].Tick(p.now)
	if len(held) < 2 || !p.e[0].Frozen() {
		t.Fatalf("%d datagrams wait, frozen %v", len(held), p.e[0].Frozen())
	}
	received := p.e[0].Count[syncer.SyncReceived]
	for _, b := range held {
		p.e[0].Datagram(p.now, sip(2), b)
		p.e[0].Flush(p.now)
	}
	if n := p.e[0].Count[syncer.SyncReceived] - received; int(n) != len(held) {
		t.Fatalf("%d of %d datagrams were taken", n, len(held))
	}
	if !p.e[0].Frozen() {
		t.Error("thawed by the echo of a PROBE that left before")
	}
	p.lose = nil
	p.run(150)
	if p.e[0].Frozen() {
		t.Error("frozen although a later PROBE came back")
	}
}
