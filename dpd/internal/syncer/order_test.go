package syncer_test

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// sum queues a digest of a bucket from end 0.
func (p *pair) sum(bucket uint8) {
	a := syncer.Action{Kind: syncer.ActDigest, Lane: syncwire.LaneLive, Digest: syncwire.DigestSums{Round: 1, Bucket: bucket}}
	p.e[0].Queue(p.now, int(bucket)%2, &a)
}

// queue queues a session message from end 0 without flushing.
func (p *pair) queue(seq uint64) {
	s := session(int(seq), 2, uint16(seq), 100<<16, 1, 1, 2)
	p.e[0].Queue(p.now, 0, &syncer.Action{
		Kind: syncer.ActSend, Lane: syncwire.LaneLive, Seq: seq, Ref: syncer.Ref{Birth: s.Birth, Handle: 1},
		Msg: syncwire.Message{Kind: syncwire.KindSession, Rec: record(s)},
	})
}

// order is what end 1 was delivered of messages and digests, in that order: m, d, or u for a digest
// out of order.
func (p *pair) order() (s string) {
	for _, d := range p.e[1].got {
		switch {
		case d.Kind == syncer.DeliverMessage:
			s += "m"
		case d.Kind == syncer.DeliverDigest && d.Yes:
			s += "d"
		case d.Kind == syncer.DeliverDigest:
			s += "u"
		}
	}
	p.e[1].got = nil
	return s
}

// A digest is of what was said before it: it is delivered behind that, and before what was said
// later.
func TestADigestKeepsItsPlaceInTheStream(t *testing.T) {
	say := func(p *pair, what string) {
		for i, c := range what {
			switch c {
			case 'm':
				p.queue(uint64(i + 1))
			case 'd':
				p.sum(uint8(i))
			case '|':
				p.e[0].Flush(p.now)
			}
		}
		p.e[0].Flush(p.now)
	}
	live := func(p *pair) (list [][]byte) {
		for _, d := range p.e[0].take() {
			if lane(d.b) == syncwire.LaneLive {
				list = append(list, d.b)
			}
		}
		return list
	}
	for name, c := range map[string]struct {
		said      string
		datagrams int
		arrive    []int // which, in which order
		want      string
	}{
		"behind what stands in its datagram":            {"mmd", 1, []int{0}, "mmd"},
		"before what is said later":                     {"mdm", 2, []int{0, 1}, "mdm"},
		"among others":                                  {"mddmdm", 3, []int{0, 1, 2}, "mddmdm"},
		"of another worker's":                           {"mdd", 1, []int{0}, "mdd"},
		"not if what was said before is missing":        {"m|d", 2, []int{1}, "u"},
		"not if it comes late":                          {"d|m", 2, []int{1, 0}, "mu"},
		"not if what was said before comes later":       {"m|d", 2, []int{1, 0}, "um"},
		"not while anything before is missing":          {"m|m|d", 3, []int{0, 2}, "mu"},
		"again once all is here":                        {"m|d|d", 3, []int{1, 0, 2}, "umd"},
		"behind digests that overtook it":               {"m|d|d|d", 4, []int{0, 3, 2, 1}, "muud"},
		"not behind a digest with messages before it":   {"d|d|md", 3, []int{2, 0, 1}, "muuu"},
		"not because of what is missing in other lanes": {"m|d", 2, []int{0, 1}, "md"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			p.e[0].sent = nil
			say(p, c.said)
			sent := live(p)
			if len(sent) != c.datagrams {
				t.Fatalf("%d datagrams, want %d", len(sent), c.datagrams)
			}
			for _, i := range c.arrive {
				p.e[1].Datagram(p.now, from, sent[i])
			}
			if got := p.order(); got != c.want {
				t.Errorf("delivered %s, want %s", got, c.want)
			}
		})
	}
}

// Who lost a datagram is told that it need not wait for it before it has what that spoke of: for a
// moment digests prove nothing.
func TestADigestWaitsForWhatAGapBrings(t *testing.T) {
	p := newPair(t)
	lost := false
	p.lose = func(i int, b []byte) bool {
		if i == 0 && lane(b) == syncwire.LaneLive && !lost {
			lost = true
			return true
		}
		return false
	}
	p.queue(1)
	p.e[0].Flush(p.now)
	p.pass()
	p.sum(1)
	p.e[0].Flush(p.now)
	p.run(20)
	if got := p.order(); got != "u" || len(p.e[0].deliveries(syncer.DeliverResend)) != 1 {
		t.Fatalf("delivered %s", got)
	}
	p.sum(1)
	p.run(5)
	if got := p.order(); got != "u" {
		t.Errorf("just after the answer to a GAP delivered %s", got)
	}
	p.run(30)
	p.sum(1)
	p.run(5)
	if got := p.order(); got != "d" {
		t.Errorf("later delivered %s", got)
	}
	// One of digests alone is not sent again, and nobody waits for it.
	lost = false
	p.sum(1)
	p.run(100)
	p.e[0].got = nil
	p.sum(1)
	p.run(100)
	if got := p.order(); got != "d" || len(p.e[0].deliveries(syncer.DeliverResend)) != 0 {
		t.Errorf("after a lost one delivered %s", got)
	}
	if n := p.e[1].Count[syncer.SyncGapLost]; n != 0 {
		t.Errorf("%d times given up", n)
	}
}

func TestAnswersToDigestsReachTheWorkerThatAsked(t *testing.T) {
	p := newPair(t)
	for b := range uint8(4) {
		a := syncer.Action{Kind: syncer.ActDigestReply, To: 1, Reply: syncwire.DigestReply{Round: 7, Bucket: b, States: b}}
		p.e[1].Queue(p.now, 0, &a)
	}
	p.e[1].Queue(p.now, 0, &syncer.Action{Kind: syncer.ActDigestReply, To: 9})
	p.e[1].Flush(p.now)
	p.pass()
	got := p.e[0].deliveries(syncer.DeliverDigestReply)
	if len(got) != 4 {
		t.Fatalf("%d answers came", len(got))
	}
	for i, d := range got {
		if want := (syncwire.DigestReply{Round: 7, Bucket: uint8(i), States: uint8(i)}); d.Reply != want || d.From != p.e[1].self {
			t.Errorf("came %+v of %v", d.Reply, d.From)
		}
	}
}

// Digests that a peer would drop, since it may not believe this side's salt yet, are not sent.
func TestNoDigestsBeforeALinkStands(t *testing.T) {
	p := &pair{t: t, now: t0}
	for i := range p.e {
		p.e[i] = newEnd(t, &p.now, nodeID(uint32(i+1)), 7, 0)
	}
	p.e[0].view(1, p.e[1].self)
	p.e[1].view(1, p.e[0].self)
	p.sum(1)
	p.e[0].Flush(p.now)
	for _, d := range p.e[0].take() {
		if lane(d.b) == syncwire.LaneLive {
			t.Error("sent")
		}
	}
}

// A round of digests, with the answers to it, allocates nothing.
func TestDigestsAllocateNothing(t *testing.T) {
	b := newBench(t, 0)
	b.openSome()
	b.calmView()
	b.Done()
	sums, _ := b.Agrees(nodeID(2))
	if n := testing.AllocsPerRun(20, func() {
		b.now += 5_000
		b.Tick(b.now, 100)
		for i := range sums {
			b.Digest(b.now, nodeID(2), &sums[i], true, b.Epoch())
		}
		reply := syncwire.DigestReply{Round: b.LastRound(nodeID(2))}
		for i := range 256 {
			reply.Bucket, reply.States = uint8(i), uint8(i)
			b.DigestReply(b.now, nodeID(2), &reply)
		}
		b.Done()
	}); n != 0 {
		t.Errorf("%v allocations a round", n)
	}
}
