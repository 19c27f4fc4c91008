package syncer_test

import (
	"fmt"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// What is no version merges both ways, whichever copy is newer: bits by OR, last-seen by the later one, reply-only sticks. Only the
// owner tells what it learned so, if that is the first step of the end.
func TestWhatIsNoVersionMergesBothWays(t *testing.T) {
	const base = flow.SynIn | flow.SynOut
	for _, ver := range []uint32{3, 4, 5} { // of what comes; 4 is held
		for _, owner := range []uint32{1, 2} {
			if owner == 1 && ver > 4 {
				continue // nobody but the owner makes versions
			}
			b, i := newBench(t, 0), 0
			for _, bits := range [][2]flow.Bits{
				{base, base}, {base | flow.FinIn, base}, {base, base | flow.FinOut}, {base | flow.FinIn, base | flow.RstOut},
			} {
				for _, idle := range [][2]uint32{{1_000, 9_000}, {9_000, 1_000}, {5_000, 5_000}} {
					for _, ro := range [][2]flow.Flags{{0, 0}, {flow.ReplyOnly, 0}, {0, flow.ReplyOnly}} {
						name := fmt.Sprintf("version %d, bits %x, idle %d, flags %x, owner %d", ver, bits, idle, ro, owner)
						i++
						has := session(i, 2, uint16(5+i), flow.Birth(100+i)<<16, owner, 3, 4)
						has.Bits, has.Idle, has.Flags = bits[0], idle[0], ro[0]
						b.put(has)
						come := has
						come.Ver, come.Bits, come.Idle, come.Flags = ver, bits[1], idle[1], ro[1]
						b.hear(3, syncwire.KindSession, come)
						x := b.held(has)
						if x.Bits != bits[0]|bits[1] || x.Idle != min(idle[0], idle[1]) || x.Flags&flow.ReplyOnly != ro[0]|ro[1] {
							t.Errorf("%s: holds bits %x, idle %d, flags %x", name, x.Bits, x.Idle, x.Flags)
						}
						wantVer, tells := max(ver, 4), owner == 1 && bits[0]&flow.Ending == 0 && x.Bits&flow.Ending != 0
						if tells {
							wantVer++
						}
						if x.Ver != wantVer || x.Term != 3 {
							t.Errorf("%s: holds term %d, version %d, want 3 and %d", name, x.Term, x.Ver, wantVer)
						}
						told := 0
						for _, a := range b.sends() {
							if a.To == syncer.AllNodes && a.Msg.Kind == syncwire.KindSession && flow.Bits(a.Msg.Rec.Bits) == x.Bits {
								told++
							}
						}
						if (told == 1) != tells || told > 1 {
							t.Errorf("%s: told all %d times", name, told)
						}
						b.sumsHold(t)
					}
				}
			}
		}
	}
}

// A node that peers say to own what it does not hold takes it up again. What it said last of it may be lost or on its way, so it
// goes on in a term of its own, which no such version equals.
func TestAForgottenOwnRecordIsClaimedAgain(t *testing.T) {
	for _, c := range []struct {
		name  string
		flags flow.Flags
		inc   uint64
		want  uint32 // term
		kind  syncwire.Kind
	}{
		{"a live one", 0, 10, 4, syncwire.KindSession},
		{"an aged one", flow.SoftTomb, 10, 4, syncwire.KindAge},
		{"not a closed one, which is over", flow.HardTomb, 10, 3, 0},
		{"not one of a former life, which the rendezvous gives away", 0, 9, 3, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, 0)
			s := session(1, 2, 5, 100<<16, 1, 3, 4)
			s.Flags, s.Owner.Inc = c.flags, c.inc
			b.hear(2, syncwire.KindDigestList, s)
			x := b.held(s)
			if closed := c.flags == flow.HardTomb; closed != b.HasEnded(s) || !closed && (x.Term != c.want || x.Flags&flow.Tomb != c.flags) {
				t.Errorf("holds %+v", x)
			}
			var kind syncwire.Kind
			for _, a := range b.sends() {
				if kind = a.Msg.Kind; a.To != syncer.AllNodes || a.Msg.Rec.Term != c.want || a.Msg.Rec.OwnerInc != 10 {
					t.Errorf("sent %+v", a)
				}
			}
			if kind != c.kind || b.Count[syncer.Recovered] != uint64(c.want-3) {
				t.Errorf("told %v, counted %d", kind, b.Count[syncer.Recovered])
			}
			// What it said last comes back, and is old.
			late := s
			late.Owner, late.Ver, late.Bits = nodeID(1), 5, late.Bits|flow.FinIn
			late.Flags = 0
			b.hear(3, syncwire.KindNackVersion, late)
			if x := b.held(s); c.want == 4 && (x.Term < 4 || x.Bits&flow.FinIn == 0) {
				t.Errorf("a lost version was taken: %+v", x)
			}
			b.sumsHold(t)
		})
	}
}

// A later life that its server has not answered may never be. Here it has the original tuple; elsewhere nothing is taken away for
// it: the earlier life served the client there when a query brought the later one.
func TestALifeThatNobodyWasToldOfTakesNothingAwayElsewhere(t *testing.T) {
	for name, told := range map[string]bool{"tentative": false, "told": true} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 0)
			late := session(1, 1, 6, 200<<16, 1, 1, 1)
			late.Flags = flow.Embryonic
			if told {
				late.Flags, late.Ver = 0, 2
			}
			if _, err := b.store.Insert(&late); err != nil {
				t.Fatal(err)
			}
			b.Recount()
			early := session(1, 2, 5, 100<<16, 2, 1, 2)
			b.hear(2, syncwire.KindSession, early)
			if x := b.held(early); x.Flags&flow.ReplyOnly == 0 {
				t.Fatalf("holds %+v", x)
			}
			if m := b.sends(); (len(m) == 1) != told {
				t.Errorf("answered by %+v", m)
			}
			h, _, _ := b.store.Find(&early.Reply)
			b.Resend(b.now, nodeID(3), 1, syncer.Ref{Birth: early.Birth, Handle: h})
			m := b.sends()
			if len(m) != 1 || m[0].Msg.Rec.Birth != uint64(early.Birth) || (m[0].Msg.Rec.Flags&uint16(flow.ReplyOnly) != 0) != told {
				t.Errorf("sent %+v", m)
			}
		})
	}
}

// A member that was cut off for longer than ends are remembered shows what this node ended meanwhile. It is told that
// this is over: taken up again, a table full of it would refuse everybody.
func TestAnOwnRecordWhoseEndWasForgottenIsOver(t *testing.T) {
	b := newBench(t, 0)
	aged := session(9, 1, 9, flow.Birth(b.now)<<16, 1, 1, 2)
	h, _ := b.store.Insert(&aged)
	b.Recount()
	b.Expired(b.now, h)
	b.after(1_000, aged)
	if !b.GiveUpTombstone(false) {
		t.Fatal("nothing is given up")
	}
	b.sends()
	before, later := flow.Birth(b.now-10)<<16, flow.Birth(b.now+10)<<16
	for name, c := range map[string]struct {
		kind  syncwire.Kind
		birth flow.Birth
		owner uint32
		flags uint16
		over  bool
	}{
		"listed":                       {syncwire.KindDigestList, before, 1, 0, true},
		"sent":                         {syncwire.KindSession, before, 1, 0, true},
		"born later":                   {syncwire.KindDigestList, later, 1, 0, false},
		"another's":                    {syncwire.KindDigestList, before, 2, 0, false},
		"handed over, which asks back": {syncwire.KindSession, before, 1, syncwire.FlagAck, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := session(1, 2, 5, c.birth, c.owner, 3, 4)
			r := record(s)
			r.Flags |= c.flags
			over := b.Count[syncer.Outlived]
			b.Receive(b.now, nodeID(2), &syncwire.Message{Kind: c.kind, Rec: r})
			if got := b.Count[syncer.Outlived] > over; got != c.over || (b.held(s).Birth == 0) != c.over {
				t.Errorf("over %v, holds %+v", got, b.held(s))
			}
			if m := b.sends(); c.over && (len(m) != 1 || m[0].To != 2 || m[0].Msg.Rec.Flags&uint16(flow.HardTomb) == 0) {
				t.Errorf("answered by %+v", m)
			}
			if h, _, ok := b.store.Find(&s.Reply); ok {
				b.store.Remove(h)
				b.Recount()
			}
		})
	}
}

// Orphans go to the winner of their rendezvous, and aged ones go the way that living ones do. Closed ones are over.
func TestAgedOrphansAreAdoptedLikeLivingOnes(t *testing.T) {
	adopted := func(f flow.Flags) (who string, kinds map[syncwire.Kind]int) {
		b := newBench(t, 0)
		kinds = map[syncwire.Kind]int{}
		for i := range 20 {
			s := session(i, 2, uint16(5+i), flow.Birth(100+i)<<16, 2, 3, 4)
			s.Flags = f
			if _, err := b.store.Insert(&s); err != nil {
				t.Fatal(err)
			}
		}
		b.Recount()
		b.SetView(b.now, view(2, 1, 3))
		b.Tick(b.now, 1000)
		for _, a := range b.sends() {
			if a.To != syncer.AllNodes || a.Msg.Rec.Term != 4 || a.Msg.Rec.OwnerID != 1 {
				t.Errorf("sent %+v", a)
			}
			who += fmt.Sprint(" ", flow.Birth(a.Msg.Rec.Birth)>>16)
			kinds[a.Msg.Kind]++
		}
		b.sumsHold(t)
		return who, kinds
	}
	live, k := adopted(0)
	if n := k[syncwire.KindSession]; n < 3 || n > 17 || len(k) != 1 {
		t.Errorf("of 20 living orphans this node of two adopted %v", k)
	}
	aged, k := adopted(flow.SoftTomb)
	if aged != live || len(k) != 1 || k[syncwire.KindAge] == 0 {
		t.Errorf("of the aged ones it adopted%s as %v, of the living ones%s", aged, k, live)
	}
	if closed, _ := adopted(flow.HardTomb); closed != "" {
		t.Errorf("of the closed ones it adopted%s", closed)
	}
}

func TestAShardRefusesAnOlderView(t *testing.T) {
	b, s, _ := foreign(t, 0)
	b.SetView(b.now, view(5, 1, 2, 3))
	b.SetView(b.now, view(4, 1, 3))
	s.Ver++
	b.hear(2, syncwire.KindSession, s)
	if x := b.held(s); x.Ver != s.Ver || b.Count[syncer.NotMember] != 0 || b.Count[syncer.ViewOld] != 1 {
		t.Errorf("its members counted: held %+v, counted %d", x, b.Count[syncer.ViewOld])
	}
	b.SetView(b.now, view(5, 1, 3)) // the same number again is the later word
	b.hear(2, syncwire.KindSession, s)
	if b.Count[syncer.NotMember] != 1 || b.Count[syncer.ViewOld] != 1 {
		t.Errorf("counted %d and %d", b.Count[syncer.NotMember], b.Count[syncer.ViewOld])
	}
}
