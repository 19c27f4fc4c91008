package syncer_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncseal"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// talker says one message after the other, and again what it is asked for, as a shard does.
type talker struct {
	p    *pair
	seq  uint64
	said map[uint64]flow.Birth // by Seq
	came map[flow.Birth]int
	lost int // words of a loss to either end
}

func (k *talker) send(lane syncwire.Lane, birth flow.Birth) {
	k.seq++
	k.said[k.seq] = birth
	s := session(int(birth>>16%200), 2, uint16(birth>>16%200), birth, 1, 1, 2)
	k.p.e[0].Queue(k.p.now, 0, &syncer.Action{
		Kind: syncer.ActSend, Lane: lane, Seq: k.seq, Ref: syncer.Ref{Birth: birth, Handle: 1},
		Msg: syncwire.Message{Kind: syncwire.KindSession, Rec: record(s)},
	})
	k.p.e[0].Flush(k.p.now)
}

func (k *talker) step() {
	k.p.run(5)
	for _, d := range k.p.e[0].got {
		switch d.Kind {
		case syncer.DeliverResend:
			k.send(syncwire.LaneLive, k.said[d.Seq])
		case syncer.DeliverDesync:
			k.lost++
		}
	}
	for _, d := range k.p.e[1].got {
		switch d.Kind {
		case syncer.DeliverMessage:
			k.came[flow.Birth(d.Msg.Rec.Birth)]++
		case syncer.DeliverDesync:
			k.lost++
		}
	}
	k.p.e[0].got, k.p.e[1].got = nil, nil
}

// The counters of a salt end; nothing that was said is lost by that, whatever the path loses meanwhile.
func TestALinkTakesAnotherSaltBeforeItsCountersEnd(t *testing.T) {
	for _, loss := range []float64{0, 0.1} {
		for _, lane := range []syncwire.Lane{syncwire.LaneLive, syncwire.LaneBulk} {
			t.Run(fmt.Sprintf("%s, loss %v", lane, loss), func(t *testing.T) {
				p := newPair(t)
				r := rand.New(rand.NewPCG(1, 1))
				p.lose = func(int, []byte) bool { return r.Float64() < loss }
				salts := map[uint32]bool{}
				p.e[0].EndSalts(150)
				k := &talker{p: p, said: map[uint64]flow.Birth{}, came: map[flow.Birth]int{}}
				lose := p.lose
				p.lose = func(i int, b []byte) bool {
					if i == 0 {
						var h syncwire.Header
						h.Read(b)
						salts[h.Salt] = true
						if h.Counter > 150 {
							t.Fatalf("counter %d of lane %d", h.Counter, h.Lane)
						}
					}
					return lose(i, b)
				}
				const messages = 1_000
				for i := range messages {
					k.send(lane, flow.Birth(i+1)<<16)
					k.step()
				}
				for range 100 {
					k.step()
				}
				if len(salts) < messages/150 || p.e[0].Count[syncer.SyncNewSalt] == 0 {
					t.Errorf("%d salts, %d counted", len(salts), p.e[0].Count[syncer.SyncNewSalt])
				}
				missing := 0
				for i := range messages {
					if k.came[flow.Birth(i+1)<<16] == 0 {
						missing++
					}
				}
				if missing > 0 && k.lost == 0 {
					t.Errorf("%d messages did not come, and nobody knows", missing)
				}
				if loss == 0 && (missing > 0 || k.lost > 0) {
					t.Errorf("%d messages did not come, %d losses were told on a path without loss", missing, k.lost)
				}
				if !p.status(0).Linked || !p.status(1).Linked || p.status(0).Suspected || p.status(1).Suspected {
					t.Error("the link did not stand it")
				}
			})
		}
	}
}

// What the peer did not get under the former salt is confirmed by nothing that it got under the next one.
func TestAnotherSaltConfirmsNothingOfTheFormerOne(t *testing.T) {
	p := newPair(t)
	p.lose = func(i int, b []byte) bool { return i == 0 && lane(b) == syncwire.LaneLive }
	const first = 40
	p.e[0].EndSalts(first)
	for seq := range uint64(first) {
		p.say(0, seq+1)
		p.pass()
	}
	p.lose = nil
	p.say(0, first+1) // under the next salt
	p.run(400)
	resent := map[uint64]bool{}
	for _, d := range p.e[0].at[0] {
		switch d.Kind {
		case syncer.DeliverResend:
			resent[d.Seq] = true
		case syncer.DeliverConfirmed:
			if len(resent) < first {
				t.Fatalf("%d is confirmed before what came before it was asked for: %v", d.Seq, resent)
			}
		case syncer.DeliverDesync:
			t.Error("a loss is told though all can be sent again")
		}
	}
	if len(resent) < first {
		t.Errorf("asked to send again %v", resent)
	}
}

// What can't be sent again, since it was overwritten or the ring of its shard has no room for long, is a loss.
func TestWhatCannotBeSentAgainUnderAnotherSaltIsALoss(t *testing.T) {
	p := newPair(t)
	p.lose = func(i int, b []byte) bool { return i == 0 && lane(b) == syncwire.LaneLive }
	for seq := range uint64(5_000) {
		p.say(0, seq+1)
		p.e[0].sent = nil
	}
	p.e[0].EndSalts(5_000)
	p.e[0].forget()
	p.lose = nil
	p.say(0, 5_001)
	p.run(400)
	if _, ok := p.e[0].last(0, syncer.DeliverDesync); !ok {
		t.Error("nobody knows")
	}
}

// A link that was made before there was a key, or whose peer forgot it after a change of keys, greets under a salt with a proof.
func TestASaltIsReplacedByOneWithAProof(t *testing.T) {
	vouched := func(p *pair) bool {
		p.e[0].sent = nil
		for range 300 {
			p.now += 5
			p.e[0].Tick(p.now)
		}
		var h syncwire.Header
		if len(p.e[0].sent) == 0 || h.Read(p.e[0].sent[len(p.e[0].sent)-1].b) != syncwire.OK {
			t.Fatal("it says nothing")
		}
		var ring syncseal.Ring
		if err := ring.Set(2, key2); err != nil {
			t.Fatal(err)
		}
		return ring.Vouches(&syncseal.Ends{SenderInc: p.e[0].self.Inc, ReceiverInc: p.e[1].self.Inc, Sender: 1, Receiver: 2}, h.Salt)
	}
	p := freshPair(t) // under another key
	if err := p.e[0].SetKeys(2, key1, key2); err != nil {
		t.Fatal(err)
	}
	if err := p.e[0].SetKeys(2, key2); err != nil {
		t.Fatal(err)
	}
	if !vouched(p) {
		t.Error("after a rotation its salt has no proof")
	}
}
