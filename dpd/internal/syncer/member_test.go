package syncer_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// adopters says which of the nodes adopts each of some orphans of node 9, each in the view that it is given.
func adopters(t *testing.T, views map[uint32]*syncer.View) (who string) {
	t.Helper()
	orphan := func(i int) flow.Session { return session(i, 9, uint16(5+i), flow.Birth(100+i)<<16, 9, 3, 4) }
	var nodes []*bench
	for id := uint32(1); id <= 4; id++ {
		b := newBenchOf(t, id, 0)
		for i := range 30 {
			b.put(orphan(i))
		}
		views[id].Self = nodeID(id)
		b.SetView(b.now, views[id])
		b.Tick(b.now, 1000)
		nodes = append(nodes, b)
	}
	for i := range 30 {
		for _, b := range nodes {
			if b.held(orphan(i)).Owner == b.Self() {
				who += fmt.Sprint(b.Self().ID)
			}
		}
	}
	return who
}

// Each orphan is adopted by one node, whatever the order in which views name them, and by none that may not or is leaving.
func TestWhoAdoptsOrphans(t *testing.T) {
	all := func(change func(v *syncer.View)) map[uint32]*syncer.View {
		m := map[uint32]*syncer.View{}
		for id := uint32(1); id <= 4; id++ {
			m[id] = view(2, 1, 2, 3, 4)
			change(m[id])
		}
		return m
	}
	plain := adopters(t, all(func(*syncer.View) {}))
	if len(plain) != 30 {
		t.Errorf("30 orphans were adopted by %s", plain)
	}
	for _, id := range "1234" {
		if !slices.Contains([]rune(plain), id) {
			t.Errorf("node %c adopts none: %s", id, plain)
		}
	}
	k := 0
	if got := adopters(t, all(func(v *syncer.View) {
		k++
		v.Members = append(v.Members[k%4:len(v.Members):len(v.Members)], v.Members[:k%4]...)
	})); got != plain {
		t.Errorf("named in other orders: %s, want %s", got, plain)
	}
	for name, change := range map[string]func(m *syncer.Member){
		"not admitted": func(m *syncer.Member) { m.Admitted = false },
		"leaving":      func(m *syncer.Member) { m.Draining = true },
	} {
		got := adopters(t, all(func(v *syncer.View) { change(&v.Members[1]) }))
		if len(got) != 30 || slices.Contains([]byte(got), '2') {
			t.Errorf("while node 2 is %s: %s", name, got)
		}
		for i := range got {
			if plain[i] != '2' && got[i] != plain[i] {
				t.Errorf("node 2 is %s, and orphan %d goes to %c instead of %c", name, i, got[i], plain[i])
			}
		}
		got = adopters(t, all(func(v *syncer.View) {
			for i := range v.Members {
				change(&v.Members[i])
			}
		}))
		if got != plain {
			t.Errorf("while all are %s: %s, want %s", name, got, plain)
		}
	}
	// A member that is fenced adopts nothing, though the view has not heard of that.
	b := newBench(t, 0)
	b.Fenced(b.now, flow.Node{ID: 2, Inc: 11})
	b.SetView(b.now, view(2, 1, 2))
	for i := range 30 {
		s := session(i, 9, uint16(5+i), flow.Birth(100+i)<<16, 9, 3, 4)
		b.put(s)
		if b.Expired(b.now, b.handle(s)); b.held(s).Owner != nodeID(1) {
			t.Errorf("orphan %d is left to a member that is fenced", i)
		}
	}
}

func TestFencingOfAMember(t *testing.T) {
	two := func(inc uint64) flow.Node { return flow.Node{ID: 2, Inc: inc} }
	hears := func(b *bench, n flow.Node) bool {
		before := b.Count[syncer.NotMember]
		b.Receive(b.now, n, &syncwire.Message{Kind: syncwire.KindHint, Rec: record(session(9, 2, 9, 1<<16, 2, 1, 2))})
		return b.Count[syncer.NotMember] == before
	}
	b := newBench(t, 0)
	b.Fenced(b.now, two(10)) // the life itself, not one after it
	b.Fenced(b.now, flow.Node{ID: 1, Inc: 99})
	if !hears(b, two(10)) {
		t.Error("fenced by its own life")
	}
	b.Fenced(b.now, two(12))
	b.Fenced(b.now, two(11)) // late
	if hears(b, two(10)) {
		t.Error("heard although fenced")
	}
	v := view(2, 1, 2, 3)
	for inc, want := range map[uint64]bool{10: false, 11: false, 12: true, 13: true} {
		v.Epoch++
		v.Members[1].Node = two(inc)
		if b.SetView(b.now, v); hears(b, two(inc)) != want {
			t.Errorf("life %d is heard: %v", inc, !want)
		}
	}
	if x := b.Self(); x != nodeID(1) {
		t.Errorf("self is %v", x)
	}
}

// A suspicion is one, however often it is said; each allows one takeover of a session.
func TestASuspicionSaidTwiceIsOne(t *testing.T) {
	b, s, h := foreign(t, 0)
	for i, want := range []bool{true, false} {
		b.Suspect(b.now, nodeID(2), true)
		b.Suspect(b.now, nodeID(9), true) // a stranger
		b.Packet(b.now, h, in(0))
		if got := b.held(s).Owner == nodeID(1); got != want {
			t.Fatalf("word %d: taken over %v", i, got)
		}
		back := b.held(s)
		back.Owner, back.Term, back.Ver = nodeID(2), back.Term+1, 2
		b.hear(2, syncwire.KindSession, back)
	}
}

// What was lost and sent again is received when the repetition is.
func TestAMessageThatWasSentAgainIsConfirmedByItsRepetition(t *testing.T) {
	for _, c := range []struct {
		name      string
		confirmed func(first, again uint64) uint64
		want      bool // collected
	}{
		{"the first alone", func(first, _ uint64) uint64 { return first }, false},
		{"all before the repetition", func(_, again uint64) uint64 { return again - 1 }, false},
		{"the repetition", func(_, again uint64) uint64 { return again }, true},
		{"more than that", func(_, again uint64) uint64 { return again + 7 }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, 0)
			s := session(1, 2, 5, 100<<16, 1, 1, 2)
			h := b.put(s)
			b.Delete(b.now, h)
			first := b.sends()[0]
			other := session(2, 3, 6, 0, 0, 0, 0)
			if _, err := b.Create(b.now, &other); err != nil { // between both
				t.Fatal(err)
			}
			b.Done()
			b.Resend(b.now, nodeID(3), first.Seq, first.Ref)
			again := b.sends()[0].Seq
			if again <= first.Seq+1 {
				t.Fatalf("numbers %d and %d", first.Seq, again)
			}
			b.Confirmed(nodeID(2), again)
			b.Confirmed(nodeID(3), c.confirmed(first.Seq, again))
			b.Confirmed(nodeID(3), 1) // late
			if got := !b.after(11_000, s); got != c.want {
				t.Errorf("collected: %v", got)
			}
		})
	}
}

// A new life of this node owns nothing of what the former one did, and nothing that was said by that one counts as received.
func TestANewLifeOfThisNodeBeginsAnew(t *testing.T) {
	b := newBench(t, 0)
	s := session(1, 2, 5, 0, 0, 0, 0)
	if _, err := b.Create(b.now, &s); err != nil {
		t.Fatal(err)
	}
	b.calmView()
	if _, owned := b.Mapped(); owned != 1 || b.Repairing(nodeID(2)) {
		t.Fatalf("owns %d", owned)
	}
	b.SetView(b.now, lifeView(2, newLife, 2, 3))
	if all, owned := b.Mapped(); all != 1 || owned != 0 {
		t.Errorf("holds %d, owns %d of the former life", all, owned)
	}
	if !b.Repairing(nodeID(2)) || !b.Repairing(nodeID(3)) {
		t.Error("no repair")
	}
	b.sumsHold(t)
}

// Claims are for a node that goes on with its tables. One that was given another id was no one before.
func TestANodeThatWasGivenItsIDClaimsNothing(t *testing.T) {
	b := newBench(t, 0)
	v := view(2, 5, 2, 3)
	v.Self = nodeID(5)
	if b.SetView(b.now, v); !b.Claimed(b.now) {
		t.Error("waits for claims")
	}
}

// What a fenced node claims in its new life is what its packets served within the time-out.
func TestWhatAFencedNodeClaims(t *testing.T) {
	for _, c := range []struct {
		name  string
		seen  [2]bool
		idle  uint32
		flags flow.Flags
		owner flow.Node
		want  bool
	}{
		{"a client's packet passed here", [2]bool{true, false}, 1_000, 0, nodeID(1), true},
		{"a server's packet passed here", [2]bool{false, true}, 1_000, 0, nodeID(1), true},
		{"no packet passed here", [2]bool{}, 1_000, 0, nodeID(1), false},
		{"the last one just within the time-out", [2]bool{true, true}, 59_999, 0, nodeID(1), true},
		{"the last one longer ago", [2]bool{true, true}, 60_000, 0, nodeID(1), false},
		{"it aged", [2]bool{true, true}, 1_000, flow.SoftTomb, nodeID(1), false},
		{"it was closed", [2]bool{true, true}, 1_000, flow.HardTomb, nodeID(1), false},
		{"another's, who is here", [2]bool{true, true}, 1_000, 0, nodeID(2), false},
		{"another's, who is gone", [2]bool{true, true}, 1_000, 0, nodeID(9), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, 0)
			s := session(1, 2, 5, 100<<16, 0, 3, 4)
			s.Owner, s.Idle, s.Flags = c.owner, c.idle, c.flags
			s.Seq[0].Seen, s.Seq[1].Seen = c.seen[0], c.seen[1]
			b.put(s)
			b.SetView(b.now, lifeView(2, newLife, 2, 3))
			b.Tick(b.now, 1000)
			if got := b.held(s).Owner == newLife; got != c.want {
				t.Errorf("claimed: %v", got)
			}
			b.sumsHold(t)
		})
	}
}

func TestAViewHasSoManyMembersAndNoMore(t *testing.T) {
	b := newBench(t, 0)
	var ids []uint32
	for id := uint32(1); id <= syncer.MaxMembers+5; id++ {
		ids = append(ids, id)
	}
	b.SetView(b.now, view(2, ids...))
	s := session(1, 2, 5, 100<<16, 2, 1, 2)
	b.Miss(b.now, &s.Orig, 0x10)
	m := b.sends()
	if len(m) != syncer.MaxMembers {
		t.Errorf("%d members were asked", len(m))
	}
	for i := range m {
		b.no(m[i].To, &m[i])
	}
	if b.acts(syncer.ActMissed) != 1 {
		t.Error("no verdict although all said no")
	}
}
