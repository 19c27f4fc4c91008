package syncer_test

import (
	"slices"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// last is the newest delivery of a kind to a shard.
func (e *end) last(shard int, k syncer.DeliveryKind) (d syncer.Delivery, ok bool) {
	for _, x := range e.at[shard] {
		if x.Kind == k {
			d, ok = x, true
		}
	}
	return d, ok
}

func (e *end) forget() {
	for i := range e.at {
		e.at[i] = nil
	}
}

// words are what a shard must know of a peer: what makes it happen to the first end of a pair, and when a shard knows it.
var words = map[string]struct {
	happen func(p *pair)
	knows  func(d *syncer.Delivery) bool
}{
	"silent": {
		func(p *pair) { p.lose = func(i int, _ []byte) bool { return i == 1 }; p.run(500) },
		func(d *syncer.Delivery) bool { return d.Kind == syncer.DeliverSuspect && d.Yes },
	},
	"heard again": {
		func(p *pair) {
			p.e[0].stuck = map[int]bool{}
			p.lose = func(i int, _ []byte) bool { return i == 1 }
			p.run(500)
			p.e[0].forget()
			p.e[0].stuck[1] = true
			p.lose = nil
			p.run(200)
		},
		func(d *syncer.Delivery) bool { return d.Kind == syncer.DeliverSuspect && !d.Yes },
	},
	"fenced": {
		func(p *pair) {
			n := newEnd(p.t, &p.now, flow.Node{ID: 2, Inc: 11}, 55, 0)
			n.view(2, p.e[0].self)
			n.Tick(p.now)
			for _, d := range n.take() {
				p.e[0].Datagram(p.now, sip(2), d.b)
			}
		},
		func(d *syncer.Delivery) bool { return d.Kind == syncer.DeliverFenced && d.From.Inc == 11 },
	},
	"desync": {
		func(p *pair) {
			drop := true
			p.lose = func(i int, b []byte) bool {
				was := drop && i == 1 && lane(b) == syncwire.LaneLive
				drop = drop && !was
				return was || i == 0 && lane(b) == syncwire.LaneControl // nobody answers its GAP
			}
			p.say(1, 1)
			p.pass()
			p.say(1, 2)
			p.run(300)
			p.lose = nil
		},
		func(d *syncer.Delivery) bool { return d.Kind == syncer.DeliverDesync },
	},
	"confirmed": {
		func(p *pair) {
			s := session(1, 2, 1, 1<<16, 1, 1, 2)
			for i := range 2 {
				p.e[0].Queue(p.now, i, &syncer.Action{Kind: syncer.ActSend, Lane: syncwire.LaneLive, Seq: 77, Msg: syncwire.Message{Kind: syncwire.KindSession, Rec: record(s)}})
			}
			p.run(300)
		},
		func(d *syncer.Delivery) bool { return d.Kind == syncer.DeliverConfirmed && d.Seq == 77 },
	},
	"watermarks": {
		func(p *pair) {
			for i := range 2 {
				p.e[1].Queue(p.now, i, &syncer.Action{Kind: syncer.ActTombs, ClosedAt: p.now - 700, AgedAt: p.now - 700, FloorAt: p.now - 9_000})
			}
			p.run(120)
			for i := range 2 { // said once
				p.e[1].Queue(p.now, i, &syncer.Action{Kind: syncer.ActTombs})
			}
			p.run(100)
		},
		func(d *syncer.Delivery) bool { return d.Kind == syncer.DeliverWatermarks },
	},
}

func TestAWordThatFoundTheRingFullIsSaidAgain(t *testing.T) {
	for name, w := range words {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			p.e[0].forget()
			p.e[0].stuck[1] = true
			w.happen(p)
			e := p.e[0]
			if !slices.ContainsFunc(e.at[0], func(d syncer.Delivery) bool { return w.knows(&d) }) {
				t.Fatalf("it did not happen: shard 0 was told %+v", e.at[0])
			}
			if e.Count[syncer.SyncRingFull] == 0 {
				t.Error("nothing is counted")
			}
			e.forget()
			e.stuck = map[int]bool{}
			e.Tick(p.now + 5) // the first one after there is room
			if !slices.ContainsFunc(e.at[1], func(d syncer.Delivery) bool { return w.knows(&d) }) {
				t.Errorf("shard 1 was told %+v", e.at[1])
			}
			if name != "desync" && slices.ContainsFunc(e.at[1], func(d syncer.Delivery) bool { return d.Kind == syncer.DeliverDesync }) {
				t.Error("nothing was lost, and a repair begins")
			}
		})
	}
}

// A view may reach a shard later than the word about a member that it names.
func TestEveryWordIsSaidAgainInASecond(t *testing.T) {
	p := newPair(t)
	p.lose = func(i int, _ []byte) bool { return i == 1 }
	p.run(500)
	for range 3 {
		p.e[0].forget()
		p.run(1_005)
		for shard := range 2 {
			if d, ok := p.e[0].last(shard, syncer.DeliverSuspect); !ok || !d.Yes {
				t.Errorf("shard %d was told %+v", shard, d)
			}
		}
	}
}

func TestALossAtAFullRingIsOfThatShardAndThatPeerAlone(t *testing.T) {
	for name, happen := range map[string]func(p *pair){
		"a message": func(p *pair) {
			s := session(1, 2, 1, 1<<16, 2, 1, 2)
			s.Bucket = 0x11 // of shard 1
			p.e[1].Queue(p.now, 1, &syncer.Action{Kind: syncer.ActSend, Lane: syncwire.LaneLive, Seq: 1, Msg: syncwire.Message{Kind: syncwire.KindSession, Rec: record(s)}})
			p.e[1].Flush(p.now)
			p.pass()
		},
		"a request to send again": func(p *pair) {
			p.lose = func(i int, b []byte) bool { return i == 0 && lane(b) == syncwire.LaneLive }
			s := session(1, 2, 1, 1<<16, 1, 1, 2)
			p.e[0].Queue(p.now, 1, &syncer.Action{Kind: syncer.ActSend, Lane: syncwire.LaneLive, Seq: 9, Ref: syncer.Ref{Birth: s.Birth, Handle: 3},
				Msg: syncwire.Message{Kind: syncwire.KindSession, Rec: record(s)}})
			p.e[0].Flush(p.now)
			p.pass()
			p.lose = nil
			p.run(200)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			third := nodeID(3)
			p.e[0].view(2, p.e[1].self, third)
			p.run(5)
			p.e[0].forget()
			p.e[0].stuck[1] = true
			happen(p)
			p.e[0].stuck = map[int]bool{}
			p.run(1_100)
			for shard, want := range []bool{false, true} {
				if _, told := p.e[0].last(shard, syncer.DeliverDesync); told != want {
					t.Errorf("shard %d was told of a loss: %v", shard, told)
				}
			}
			for _, d := range p.e[0].at[1] {
				switch d.Kind {
				case syncer.DeliverDesync:
					if d.From != p.e[1].self {
						t.Errorf("a loss of %v, which lost nothing", d.From)
					}
				case syncer.DeliverResend:
					t.Error("it was not lost")
				}
			}
		})
	}
}

// What can't be sealed is lost, and what comes after it must not confirm it.
func TestWhatCouldNotBeSealedIsALoss(t *testing.T) {
	now := int64(t0)
	r := &end{t: t, self: nodeID(1), clock: &now, at: make([][]syncer.Delivery, 2), stuck: map[int]bool{}}
	y, err := syncer.NewSync(now, syncer.SyncConfig{Self: r.self, Shards: 2, ShardOf: func(b flow.Bucket) int { return int(b) % 2 }, Random: func([]byte) {}}, r)
	if err != nil {
		t.Fatal(err)
	}
	r.Sync = y
	r.view(1, nodeID(2))
	(&pair{t: t, now: now, e: [2]*end{r, nil}}).say(0, 1)
	if n := len(r.deliveries(syncer.DeliverDesync)); n != 2 || r.Count[syncer.SyncNoKey] == 0 {
		t.Errorf("%d shards were told", n)
	}
}

func TestShardsKnowWhetherAGapIsOpen(t *testing.T) {
	p := newPair(t)
	open := func() (both [2]bool) {
		for i := range both {
			d, _ := p.e[1].last(i, syncer.DeliverSuspect)
			both[i] = d.Gap
		}
		return both
	}
	p.lose = func(i int, b []byte) bool { return i == 0 && lane(b) == syncwire.LaneLive || i == 1 } // nor is the GAP heard
	p.say(0, 1)
	p.pass()
	p.lose = func(i int, _ []byte) bool { return i == 1 }
	p.say(0, 2)
	p.run(10)
	if open() != [2]bool{true, true} {
		t.Fatalf("after a loss %v", open())
	}
	p.lose = nil
	p.run(120) // the GAP is answered
	if open() != [2]bool{} {
		t.Errorf("after it was answered %v", open())
	}
	// One of the bulk lane says nothing of new flows.
	p.lose = func(i int, _ []byte) bool { return i == 0 }
	s := session(1, 2, 1, 1<<16, 1, 1, 2)
	bulk := syncer.Action{Kind: syncer.ActSend, Lane: syncwire.LaneBulk, Seq: 3, Msg: syncwire.Message{Kind: syncwire.KindSession, Rec: record(s)}}
	p.e[0].Queue(p.now, 0, &bulk)
	p.e[0].Flush(p.now)
	p.pass()
	p.lose = func(i int, _ []byte) bool { return i == 1 }
	p.e[0].Queue(p.now, 0, &bulk)
	p.run(10)
	if open() != [2]bool{} || p.e[1].Count[syncer.SyncGapAsked] < 2 {
		t.Errorf("after a loss of bulk %v", open())
	}
}
