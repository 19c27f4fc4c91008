package syncer_test

import (
	"net/netip"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// newLife is node 1 after it was fenced.
var newLife = flow.Node{ID: 1, Inc: 11}

func lifeView(epoch uint64, self flow.Node, others ...uint32) *syncer.View {
	v := view(epoch, others...)
	v.Self = self
	v.Members = append(v.Members, syncer.Member{Node: self})
	return v
}

// fenced is node 1 in its new life with n sessions that its former life owned and served, and what it says then.
func fenced(t *testing.T, n int) (b *bench, all []flow.Session, said []syncer.Action) {
	b = newBench(t, 0)
	for i := range n {
		s := session(i%250, byte(2+i/250), uint16(5+i%250), flow.Birth(100+i)<<16, 1, 3, 4)
		s.Orig.Meta += uint64(i/250) << 48 // another port
		s.Seq[0] = flow.SeqHint{Next: 5, Seen: true}
		if _, err := b.store.Insert(&s); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	b.Recount()
	b.Done()
	if !b.Claimed(b.now) {
		t.Fatal("a first life waits for claims")
	}
	b.SetView(b.now, lifeView(2, newLife, 2, 3))
	if b.Claimed(b.now) {
		t.Fatal("waits for nothing before it has claimed anything")
	}
	b.Tick(b.now, 1<<20)
	for _, a := range b.sends() {
		if a.Msg.Kind == syncwire.KindSession {
			said = append(said, a)
		}
	}
	return b, all, said
}

// acknowledge answers a claim as a member does: by a Shard of its own.
func acknowledge(t *testing.T, from uint32, claim *syncer.Action) (ack []syncer.Action) {
	o := newBenchOf(t, from, 0)
	o.SetView(o.now, lifeView(2, nodeID(from), 2, 3)) // without node 1
	v := view(3, 2, 3)
	v.Self = nodeID(from)
	v.Members = append(v.Members, syncer.Member{Node: newLife})
	o.SetView(o.now, v)
	o.Done()
	o.Receive(o.now, newLife, &claim.Msg)
	return o.sends()
}

func TestAFencedNodeWaitsUntilMembersHaveWhatItClaims(t *testing.T) {
	t.Run("by their ACKs", func(t *testing.T) {
		b, all, said := fenced(t, 2)
		if len(said) != 2 || said[0].To != syncer.AllNodes || said[0].Msg.Rec.Flags&syncwire.FlagAck == 0 || said[0].Msg.Rec.Term != 4 {
			t.Fatalf("claimed by %+v", said)
		}
		for i := range said {
			for _, from := range []uint32{2, 3} {
				if b.Claimed(b.now) {
					t.Fatalf("content before node %d acknowledged claim %d", from, i)
				}
				a := acknowledge(t, from, &said[i])
				if len(a) != 1 || a[0].To != 1 || a[0].Msg.Kind != syncwire.KindAck || a[0].Msg.Rec.Ver != 2 || a[0].Msg.Rec.OwnerInc != newLife.Inc {
					t.Fatalf("node %d answers %+v", from, a)
				}
				b.Receive(b.now, nodeID(from), &a[0].Msg)
				b.Receive(b.now, nodeID(from), &a[0].Msg) // twice is no more
			}
		}
		if !b.Claimed(b.now) {
			t.Error("not content although all acknowledged")
		}
		if b.Count[syncer.Acked] != 4 || b.Count[syncer.AckStray] != 4 || b.Count[syncer.ClaimUnacked] != 0 {
			t.Errorf("counted %d, stray %d, given up %d", b.Count[syncer.Acked], b.Count[syncer.AckStray], b.Count[syncer.ClaimUnacked])
		}
		if x := b.held(all[0]); x.Flags&^flow.ReplyOnly != 0 || x.Owner != newLife {
			t.Errorf("the record is %+v", x)
		}
	})
	for name, c := range map[string]struct {
		since func(b *bench, claim *syncer.Action)
		want  bool
	}{
		"node 3 says nothing": {func(*bench, *syncer.Action) {}, false},
		"node 3 sends the record itself": {func(b *bench, a *syncer.Action) {
			m := a.Msg
			m.Kind = syncwire.KindNackVersion
			b.Receive(b.now, nodeID(3), &m)
		}, true},
		"node 3 sends an older version": {func(b *bench, a *syncer.Action) { m := a.Msg; m.Rec.Term--; b.Receive(b.now, nodeID(3), &m) }, false},
		"node 3 sends another's of the same term": {func(b *bench, a *syncer.Action) {
			m := a.Msg
			m.Rec.OwnerID, m.Rec.OwnerInc = 2, 10
			b.Receive(b.now, nodeID(3), &m)
		}, false},
		"node 3 says that it is closed, in the same term": {func(b *bench, a *syncer.Action) {
			m := a.Msg
			m.Kind, m.Rec.Flags = syncwire.KindClose, uint16(flow.HardTomb)
			m.Rec.OwnerID, m.Rec.OwnerInc = 2, 10
			b.Receive(b.now, nodeID(3), &m)
		}, true},
		"node 3 took it over": {func(b *bench, a *syncer.Action) {
			m := a.Msg
			m.Rec.Term, m.Rec.OwnerID, m.Rec.OwnerInc = 9, 3, 10
			b.Receive(b.now, nodeID(3), &m)
		}, true},
		"node 3 acknowledges another birth": {func(b *bench, a *syncer.Action) {
			m := acknowledge(b.t, 3, a)[0].Msg
			m.Rec.Birth++
			b.Receive(b.now, nodeID(3), &m)
		}, false},
		"node 3 acknowledges another key": {func(b *bench, a *syncer.Action) {
			m := acknowledge(b.t, 3, a)[0].Msg
			m.Hash++
			b.Receive(b.now, nodeID(3), &m)
		}, false},
		"node 3 acknowledges an older version": {func(b *bench, a *syncer.Action) {
			m := acknowledge(b.t, 3, a)[0].Msg
			m.Rec.Term--
			b.Receive(b.now, nodeID(3), &m)
		}, false},
		"a stranger acknowledges":                       {func(b *bench, a *syncer.Action) { b.Receive(b.now, nodeID(9), &acknowledge(b.t, 3, a)[0].Msg) }, false},
		"node 3 is silent":                              {func(b *bench, _ *syncer.Action) { b.Suspect(b.now, nodeID(3), true) }, true},
		"node 3 leaves the view":                        {func(b *bench, _ *syncer.Action) { b.SetView(b.now, lifeView(3, newLife, 2)); b.Tick(b.now, 1000) }, true},
		"node 3 is fenced":                              {func(b *bench, _ *syncer.Action) { b.Fenced(b.now, flow.Node{ID: 3, Inc: 99}); b.Tick(b.now, 1000) }, true},
		"node 4 comes, which has nothing":               {func(b *bench, _ *syncer.Action) { b.SetView(b.now, lifeView(3, newLife, 2, 3, 4)); b.Tick(b.now, 1000) }, false},
		"node 2 leaves the view, node 3 has not spoken": {func(b *bench, _ *syncer.Action) { b.SetView(b.now, lifeView(3, newLife, 3)); b.Tick(b.now, 1000) }, false},
		"five seconds pass":                             {func(b *bench, _ *syncer.Action) { b.now += 5_000 }, true},
		"it is fenced again":                            {func(b *bench, _ *syncer.Action) { b.SetView(b.now, lifeView(3, flow.Node{ID: 1, Inc: 12}, 2, 3)) }, false},
	} {
		t.Run("of two, node 2 acknowledged and "+name, func(t *testing.T) {
			b, _, said := fenced(t, 1)
			b.Receive(b.now, nodeID(2), &acknowledge(t, 2, &said[0])[0].Msg)
			c.since(b, &said[0])
			if got := b.Claimed(b.now); got != c.want {
				t.Errorf("content: %v", got)
			}
		})
	}
	t.Run("and asks again with what it sends again", func(t *testing.T) {
		b, _, said := fenced(t, 1)
		b.Resend(b.now, nodeID(2), said[0].Seq, said[0].Ref)
		m := b.sends()
		if len(m) != 1 || m[0].Msg.Rec.Flags&syncwire.FlagAck == 0 {
			t.Fatalf("sent again %+v", m)
		}
		b.Receive(b.now, nodeID(2), &acknowledge(t, 2, &m[0])[0].Msg)
		b.Resend(b.now, nodeID(2), said[0].Seq, said[0].Ref)
		if m = b.sends(); len(m) != 1 || m[0].Msg.Rec.Flags&syncwire.FlagAck != 0 {
			t.Errorf("asks although it was told: %+v", m)
		}
	})
	t.Run("of more than it keeps in mind, by what they confirmed", func(t *testing.T) {
		b, _, said := fenced(t, 10_000)
		asked := 0
		for i := range said {
			if said[i].Msg.Rec.Flags&syncwire.FlagAck == 0 {
				continue
			}
			asked++
			for _, from := range []uint32{2, 3} {
				m := said[i].Msg
				m.Rec.Flags = 0
				b.Receive(b.now, nodeID(from), &m) // holds it
			}
		}
		if asked == len(said) || asked > 4096 || b.Count[syncer.ClaimUnasked] != uint64(len(said)-asked) {
			t.Fatalf("asked for %d of %d, counted %d", asked, len(said), b.Count[syncer.ClaimUnasked])
		}
		if b.Claimed(b.now) {
			t.Fatal("content with those alone that were asked for")
		}
		b.Confirmed(nodeID(2), said[len(said)-1].Seq)
		b.Confirmed(nodeID(3), said[len(said)-1].Seq)
		if !b.Claimed(b.now) {
			t.Error("not content")
		}
	})
	t.Run("and not for what another life of another node owned", func(t *testing.T) {
		b, s, h := foreign(t, 0)
		b.SetView(b.now, view(2, 1, 3))
		b.Packet(b.now, h, in(0))
		if m := b.sends(); b.held(s).Owner != nodeID(1) || m[0].Msg.Rec.Flags&syncwire.FlagAck != 0 {
			t.Errorf("sent %+v", m)
		}
	})
}

func TestAnAckIsForWhatIsHeld(t *testing.T) {
	s := session(1, 2, 5, 100<<16, 2, 3, 4)
	for name, c := range map[string]struct {
		has  func(s flow.Session) flow.Session
		full bool
		ack  bool
	}{
		"what is new here":               {nil, false, true},
		"what is held":                   {func(s flow.Session) flow.Session { return s }, false, true},
		"older than what is held":        {func(s flow.Session) flow.Session { s.Term++; return s }, false, true},
		"aged here":                      {func(s flow.Session) flow.Session { s.Flags = flow.SoftTomb; s.Term++; return s }, false, true},
		"newer than what is held":        {func(s flow.Session) flow.Session { s.Ver--; return s }, false, true},
		"of a port that a later one has": {func(flow.Session) flow.Session { return session(2, 2, 5, 200<<16, 3, 1, 2) }, false, false},
		"what finds no room":             {nil, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 0)
			if c.has != nil {
				x := c.has(s)
				if _, err := b.store.Insert(&x); err != nil {
					t.Fatal(err)
				}
				b.Recount()
			}
			if c.full {
				b.store.max = 0
			}
			r := record(s)
			r.Flags |= syncwire.FlagAck
			b.Receive(b.now, nodeID(2), &syncwire.Message{Kind: syncwire.KindSession, Rec: r})
			acks := 0
			for _, a := range b.sends() {
				if a.Msg.Kind == syncwire.KindAck {
					acks++
					if held := b.held(s); a.To != 2 || a.Ref.Birth != held.Birth || a.Msg.Rec.Term != held.Term || a.Msg.Hash == 0 {
						t.Errorf("acknowledged %+v, held %+v", a, held)
					}
				}
			}
			if (acks == 1) != c.ack || acks > 1 {
				t.Errorf("%d ACKs", acks)
			}
			if x := b.held(s); x.Flags&(1<<15) != 0 {
				t.Error("the flag stays with the session")
			}
		})
	}
	t.Run("so often and no more", func(t *testing.T) {
		b := newBench(t, 0)
		r := record(s)
		r.Flags |= syncwire.FlagAck
		for range 30_000 {
			b.Receive(b.now, nodeID(2), &syncwire.Message{Kind: syncwire.KindSession, Rec: r})
			b.Done()
		}
		if b.Count[syncer.AckSent] != 10_000 || b.Count[syncer.AnswerLimited] != 20_000 {
			t.Errorf("%d sent, %d limited", b.Count[syncer.AckSent], b.Count[syncer.AnswerLimited])
		}
	})
}

func TestALifeThatIsNotTheFirstIsReadyWhenItsClaimsAre(t *testing.T) {
	p := newPair(t)
	y := p.e[1]
	for i := range 2 {
		p.e[0].Queue(p.now, i, &syncer.Action{Kind: syncer.ActBulkBegin, To: 2})
		p.e[0].Queue(p.now, i, &syncer.Action{Kind: syncer.ActBulkEnd, To: 2})
	}
	p.run(200)
	if ready, _ := y.Ready(); !ready {
		t.Fatal("a first life waits for claims")
	}
	y.self = flow.Node{ID: 2, Inc: 11}
	v := &syncer.View{Epoch: 3, Self: y.self, Members: []syncer.Member{
		{Node: y.self, Sync: [2]netip.AddrPort{sip(2)}}, {Node: p.e[0].self, Admitted: true, Sync: [2]netip.AddrPort{sip(1)}},
	}}
	y.SetView(p.now, v)
	p.e[0].view(3, y.self)
	p.run(300)
	for i := range 2 {
		p.e[0].Queue(p.now, i, &syncer.Action{Kind: syncer.ActBulkBegin, To: 2})
		p.e[0].Queue(p.now, i, &syncer.Action{Kind: syncer.ActBulkEnd, To: 2})
	}
	p.run(300)
	word := func(shard int, life flow.Node, want bool) {
		t.Helper()
		y.Queue(p.now, shard, &syncer.Action{Kind: syncer.ActTombs, ClosedAt: 1, FloorAt: 1, Claimed: life})
		if ready, _ := y.Ready(); ready != want {
			t.Errorf("after shard %d said %v: ready %v", shard, life, ready)
		}
	}
	word(0, nodeID(2), false) // of the former life
	word(1, y.self, false)
	word(0, flow.Node{}, false)
	word(0, y.self, true)
	word(1, flow.Node{}, true) // what was claimed stays so
}
