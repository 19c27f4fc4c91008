package syncer_test

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncseal"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// put queues a message of a kind at one end and flushes.
func (p *pair) put(i int, kind syncwire.Kind, seq uint64) {
	s := session(int(seq%200), 2, uint16(seq%200), flow.Birth(seq+1)<<16, uint32(i+1), 1, 2)
	p.e[i].Queue(p.now, 0, &syncer.Action{
		Kind: syncer.ActSend, Lane: syncwire.LaneLive, Seq: seq, Ref: syncer.Ref{Birth: s.Birth, Handle: flow.Handle(seq)},
		Msg: syncwire.Message{Kind: kind, Rec: record(s), Hint: syncwire.HintActive, Found: true},
	})
	p.e[i].Flush(p.now)
}

// loseNext drops the next datagram of a lane from one end.
func (p *pair) loseNext(i int, l syncwire.Lane) {
	lost := false
	p.lose = func(from int, b []byte) bool {
		if lost || from != i || lane(b) != l {
			return false
		}
		lost = true
		return true
	}
}

// What is lost is sent again as it is now; a question or an answer would come too late.
func TestWhatIsSentAgainWhenItIsLost(t *testing.T) {
	for kind, want := range map[syncwire.Kind]int{
		syncwire.KindSession: 1, syncwire.KindClose: 1, syncwire.KindAge: 1, syncwire.KindNackVersion: 1, syncwire.KindHint: 1,
		syncwire.KindAck: 1, syncwire.KindQuery: 0, syncwire.KindAnswer: 0,
	} {
		p := newPair(t)
		p.loseNext(0, syncwire.LaneLive)
		p.put(0, kind, 1)
		p.pass()
		p.put(0, syncwire.KindSession, 2)
		p.run(60)
		r := p.e[0].deliveries(syncer.DeliverResend)
		if len(r) != want || want == 1 && (r[0].Seq != 1 || r[0].Ref.Birth != 2<<16 || r[0].Ref.Handle != 1) {
			t.Errorf("%v: sent again %+v", kind, r)
		}
		if n := p.e[1].Count[syncer.SyncGapLost]; n != 0 {
			t.Errorf("%v: given up %d times", kind, n)
		}
	}
}

// gaps are GAPs that the second end of a pair could say to the first, all the same, from a counter on.
func (p *pair) gaps(n int, g syncwire.Gap) (list [][]byte) {
	p.t.Helper()
	link := syncseal.Link{Inc: p.e[1].self.Inc, Sender: 2, Receiver: 1, Salt: p.salt(1), Lane: syncwire.LaneControl}
	s := syncseal.NewSealer(ringOf(p.t), link)
	b := syncwire.NewBuilder(link.Inc, link.Sender)
	for len(list) < n {
		b.Reset(make([]byte, syncwire.MaxDatagram), link.Lane, 1, uint64(p.now-t0))
		b.Gap(&g)
		d, c, err := s.Seal(b.Finish())
		if err != nil {
			p.t.Fatal(err)
		}
		if c >= 1_000 { // beyond what that end said itself
			list = append(list, d)
		}
	}
	return list
}

func TestAnswersToAGAP(t *testing.T) {
	const sent = 10
	for _, c := range []struct {
		name   string
		salt   bool // the link's
		lane   syncwire.Lane
		from   uint64
		to     uint64
		again  int
		desync bool
	}{
		{"of one datagram", true, syncwire.LaneLive, 3, 3, 1, false},
		{"of all", true, syncwire.LaneLive, 1, sent, sent, false},
		{"beyond what was sent", true, syncwire.LaneLive, 8, 1 << 40, 3, false},
		{"of what was not sent yet", true, syncwire.LaneLive, sent + 1, sent + 5, 0, false},
		{"of a lane without any", true, syncwire.LaneBulk, 1, 5, 0, false},
		{"of the control lane, where nothing is sent again", true, syncwire.LaneControl, 1, 2, 0, false},
		{"of another link", false, syncwire.LaneLive, 1, 3, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t)
			for seq := range uint64(sent) {
				p.put(0, syncwire.KindSession, seq+1)
			}
			p.pass()
			g := syncwire.Gap{Salt: p.salt(0), Lane: c.lane, N: 1}
			if !c.salt {
				g.Salt ^= 1 << 20
			}
			g.Range[0] = syncwire.GapRange{From: c.from, To: c.to}
			d := p.gaps(1, g)[0]
			p.e[0].got = nil
			p.e[0].Datagram(p.now, sip(2), d)
			again, desync := 0, false
			for _, d := range p.e[0].got {
				if d.Kind == syncer.DeliverResend {
					again++
				}
				desync = desync || d.Kind == syncer.DeliverDesync
			}
			if again != c.again || desync != c.desync {
				t.Errorf("%d sent again, want %d; a repair begins: %v", again, c.again, desync)
			}
		})
	}
	t.Run("of what is no longer known becomes a repair on both sides", func(t *testing.T) {
		p := newPair(t)
		for seq := range uint64(4_200) {
			p.put(0, syncwire.KindSession, seq+1)
			if seq%500 == 0 {
				p.pass()
			}
		}
		p.pass()
		g := syncwire.Gap{Salt: p.salt(0), Lane: syncwire.LaneLive, N: 1}
		g.Range[0] = syncwire.GapRange{From: 1, To: 4_200}
		d := p.gaps(1, g)[0]
		p.e[0].got, p.e[1].got = nil, nil
		p.e[0].Datagram(p.now, sip(2), d)
		again, desync := 0, 0
		for _, d := range p.e[0].got {
			switch d.Kind {
			case syncer.DeliverResend:
				again++
			case syncer.DeliverDesync:
				desync++
			}
		}
		if again != 4_096 || desync != 2 || !p.status(0).Desync {
			t.Errorf("%d sent again, %d shards know of a loss, shown %v", again, desync, p.status(0).Desync)
		}
		p.run(200)
		if len(p.e[1].deliveries(syncer.DeliverDesync)) == 0 {
			t.Error("the peer does not know of it")
		}
	})
	t.Run("so often and no more", func(t *testing.T) {
		p := newPair(t)
		p.put(0, syncwire.KindSession, 1)
		p.pass()
		g := syncwire.Gap{Salt: p.salt(0), Lane: syncwire.LaneLive, N: 1}
		g.Range[0] = syncwire.GapRange{From: 1, To: 1}
		for _, d := range p.gaps(400, g) {
			p.e[0].Datagram(p.now, sip(2), d)
		}
		if n := len(p.e[0].deliveries(syncer.DeliverResend)); n >= 400 || n < 100 || p.e[0].Count[syncer.SyncReplies] != uint64(400-n) {
			t.Errorf("%d answered, %d counted as limited", n, p.e[0].Count[syncer.SyncReplies])
		}
	})
}

// A life that is over is neither spoken to nor told anything of what happens.
func TestNothingIsSaidToALifeThatIsOver(t *testing.T) {
	p := newPair(t)
	young := newEnd(t, &p.now, flow.Node{ID: 1, Inc: 11}, 55, 0)
	young.view(2, p.e[1].self)
	young.Tick(p.now)
	for _, d := range young.take() {
		p.e[1].Datagram(p.now, sip(1), d.b)
	}
	if len(p.e[1].deliveries(syncer.DeliverFenced)) == 0 {
		t.Fatal("not fenced")
	}
	p.e[1].take()
	p.put(1, syncwire.KindSession, 1)
	p.e[1].Queue(p.now, 0, &syncer.Action{Kind: syncer.ActDigest})
	for range 400 {
		p.now += 5
		p.e[1].Tick(p.now)
	}
	for _, d := range p.e[1].take() {
		t.Errorf("%d bytes in lane %v to %v", len(d.b), lane(d.b), d.to)
	}
	if p.status(1).Linked {
		t.Error("linked")
	}
}

// A static list may drop a node and take it up again in the same life: the link begins anew, with counters of its own.
func TestALinkThatBeginsAnewCountsAnew(t *testing.T) {
	p := &pair{t: t, now: t0}
	for i := range p.e {
		p.e[i] = newEnd(t, &p.now, nodeID(uint32(i+1)), 7, 0)
	}
	p.e[0].view(0, p.e[1].self)
	p.e[1].view(0, p.e[0].self)
	p.run(200)
	for seq := range uint64(20) {
		p.say(0, seq+1)
	}
	p.run(200)
	before := p.salt(0)
	p.e[0].view(0)
	p.e[0].view(0, p.e[1].self)
	p.run(3_000)
	if !p.status(0).Linked || !p.status(1).Linked || p.salt(0) == before {
		t.Fatalf("linked %v and %v", p.status(0).Linked, p.status(1).Linked)
	}
	p.e[0].got, p.e[1].got = nil, nil
	p.loseNext(0, syncwire.LaneLive)
	p.say(0, 101)
	p.pass()
	p.say(0, 102)
	p.run(150)
	if d := p.e[1].deliveries(syncer.DeliverMessage); len(d) != 1 {
		t.Errorf("%d messages came", len(d))
	}
	var again, confirmed uint64
	for _, d := range p.e[0].got {
		switch d.Kind {
		case syncer.DeliverResend:
			again = d.Seq
		case syncer.DeliverConfirmed:
			confirmed = d.Seq
		}
	}
	if again != 101 || confirmed != 102 {
		t.Errorf("sent again %d, confirmed %d; want 101 and 102", again, confirmed)
	}
}

// Who gets no answer asks ever more rarely, but each second.
func TestHELLOIsSaidEachSecondToWhoDoesNotAnswer(t *testing.T) {
	now := int64(t0)
	e := newEnd(t, &now, nodeID(1), 7, 0)
	e.view(1, nodeID(2))
	var at []int64
	for range 2_000 {
		now += 5
		e.Tick(now)
		for _, d := range e.take() {
			if len(d.b) == syncwire.HelloLen {
				at = append(at, now)
			}
		}
	}
	if len(at) < 10 || len(at) > 20 || at[1]-at[0] > 50 {
		t.Fatalf("said %d times in 10 s: %v", len(at), at)
	}
	for i := 2; i < len(at); i++ {
		if last, next := at[i-1]-at[i-2], at[i]-at[i-1]; next < last || next > 1_005 {
			t.Errorf("waited %d ms after %d ms", next, last)
		}
	}
}

// Neither the beginning of a bulk nor its end is confirmed, so both are repeated.
func TestTheEndsOfABulkAreRepeated(t *testing.T) {
	p := newPair(t)
	act := func(k syncer.ActionKind) {
		for i := range 2 {
			p.e[0].Queue(p.now, i, &syncer.Action{Kind: k, To: 2, Records: 4})
		}
		p.e[0].Flush(p.now)
	}
	deaf := func(from int, b []byte) bool { return from == 0 && lane(b) == syncwire.LaneControl }
	p.lose = deaf
	act(syncer.ActBulkBegin)
	p.run(150)
	if p.lose = nil; p.status(1).BulkBegun || !p.status(0).BulkSending {
		t.Fatal("begun already")
	}
	if p.run(150); !p.status(1).BulkBegun {
		t.Error("not begun although its beginning was said again")
	}
	p.lose = deaf
	act(syncer.ActBulkEnd)
	p.run(150)
	if p.lose = nil; p.status(1).BulkEnded || p.status(0).BulkSending {
		t.Fatal("ended already, or said to go on")
	}
	if p.run(150); !p.status(1).BulkEnded {
		t.Error("not ended although its end was said again")
	}
	p.run(3_000)
	said := 0
	p.lose = func(from int, b []byte) bool {
		if from == 0 && lane(b) == syncwire.LaneControl {
			if f := opened(t, nodeID(2), b); f.Has(syncwire.KindBulkEnd) || f.Has(syncwire.KindBulkBegin) {
				said++
			}
		}
		return false
	}
	if p.run(2_000); said != 0 {
		t.Errorf("said %d times more", said)
	}
}

func TestAllDigestsOfARoundArrive(t *testing.T) {
	p := newPair(t)
	for i := range 256 {
		p.e[0].Queue(p.now, i%2, &syncer.Action{Kind: syncer.ActDigest, Lane: syncwire.LaneLive, Digest: syncwire.DigestSums{Round: 1, Bucket: uint8(i), Sums: [4]uint64{uint64(i)}}})
	}
	p.e[0].Flush(p.now)
	p.pass()
	d := p.e[1].deliveries(syncer.DeliverDigest)
	if len(d) != 256 {
		t.Fatalf("%d of 256", len(d))
	}
	for i := range d {
		if d[i].Digest.Bucket != uint8(i) || d[i].Digest.Sums[0] != uint64(i) {
			t.Errorf("digest %d is %+v", i, d[i].Digest)
		}
	}
}
