package conntrack

import (
	"math/rand/v2"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// TestFollowDoesWhatTouchDoes drives two tables that hold the same sessions with the same packets: one by Follow, with Touch where it
// says no, the other by Touch alone. Records and outgoing tuples stay equal; Follow says yes only where Touch has nothing to tell.
func TestFollowDoesWhatTouchDoes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9, 9))
	const sessions = 300
	short, long := newTable(t, Config{CapacityV4: sessions, CapacityV6: sessions}), newTable(t, Config{CapacityV4: sessions, CapacityV6: sessions})
	var keys []flow.Key
	var refs []Ref
	for i := range uint32(sessions) {
		var s flow.Session
		benchSession(i, i%10 == 0, &s)
		switch i % 7 {
		case 1:
			s.Owner = flow.Node{ID: 9, Inc: 9}
		case 2:
			s.Flags, s.State = flow.Embryonic, flow.TCPSynRecv
		case 3:
			s.Flags = flow.Synced
		case 4:
			s.Seq = [2]flow.SeqHint{}
		case 5:
			s.Flags = flow.ReplyOnly
		}
		h, err := short.Insert(&s)
		other, err2 := long.Insert(&s)
		if err != nil || err2 != nil || h != other {
			t.Fatal(i, err, err2)
		}
		keys, refs = append(keys, s.Orig, s.Reply), append(refs, MakeRef(h, in), MakeRef(h, out))
	}
	followed := 0
	now := expiry.Tick(5)
	for range 300_000 {
		now += expiry.Tick(rnd.IntN(3))
		i := rnd.IntN(len(keys))
		k, ref := &keys[i], refs[i]
		var s flow.Session
		long.Load(ref.Handle(), &s)
		d := ref.Dir()
		seg := Segment{Flags: ACK, Seq: s.Seq[d].Next, Ack: s.Seq[d].Ack, Window: s.Seq[d].Window}
		switch rnd.IntN(6) {
		case 0:
			seg.Payload = uint32(rnd.IntN(2000))
		case 1:
			seg.Ack += uint32(rnd.IntN(3000))
		case 2:
			seg.Seq -= uint32(rnd.IntN(3000))
			seg.Payload = uint32(rnd.IntN(3000))
		case 3:
			seg.Ack = rnd.Uint32() // a guess
		}
		named := ref
		if rnd.IntN(10) == 0 {
			named = refs[rnd.IntN(len(refs))] // of another tuple with the same fingerprint
		}
		var want, got flow.Key
		o := long.Touch(ref.Handle(), d, &seg, now)
		long.Outgoing(ref.Handle(), d, &want)
		p := []Plain{{Addr: k.Addr[0], Ports: uint32(k.Meta >> 32), Seq: seg.Seq, Ack: seg.Ack, Payload: seg.Payload, Window: seg.Window, Size: 40}}
		if rnd.IntN(20) == 0 {
			p[0].Size = 0 // not plain
		}
		before := p[0]
		if short.Follow([]Ref{named}, p, now) == 1 {
			followed++
			if o != 0 || named != ref || k.Family() != flow.IPv4 || before.Size == 0 {
				t.Fatalf("%v %+v: followed by ref %d of %d, Touch says %b", k, seg, named, ref, o)
			}
			got = p[0].Key()
		} else {
			if p[0] != before {
				t.Fatalf("%v %+v: not followed, yet changed to %+v", k, seg, p[0])
			}
			if p := short.Touch(ref.Handle(), d, &seg, now); p != o {
				t.Fatalf("%v %+v: outcome %b, want %b", k, seg, p, o)
			}
			short.Outgoing(ref.Handle(), d, &got)
		}
		var a, b flow.Session
		short.Load(ref.Handle(), &a)
		long.Load(ref.Handle(), &b)
		if got != want || a != b {
			t.Fatalf("%v %+v:\ngot  %v %+v\nwant %v %+v", k, seg, got, a, want, b)
		}
	}
	if followed < 50_000 {
		t.Errorf("only %d packets were followed", followed)
	}
}

// TestFollowStopsAtTheFirstThatNeedsThought: what comes before is booked, what comes after is untouched.
func TestFollowStopsAtTheFirstThatNeedsThought(t *testing.T) {
	tab := newTable(t, Config{CapacityV4: 64})
	var refs []Ref
	var p []Plain
	for i := range uint32(64) {
		var s flow.Session
		benchSession(i, false, &s)
		h, err := tab.Insert(&s)
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, MakeRef(h, in))
		p = append(p, Plain{Addr: s.Orig.Addr[0], Ports: uint32(s.Orig.Meta >> 32), Seq: s.Seq[0].Next, Ack: s.Seq[0].Ack, Payload: 10, Size: 50})
	}
	for stop := range p {
		all := append([]Plain(nil), p...)
		all[stop].Ports ^= 1
		for i := range all {
			all[i].Seq += uint32(10 * stop) // goes on
		}
		want := append([]Plain(nil), all[stop:]...)
		if n := tab.Follow(refs, all, expiry.Tick(stop)); n != stop {
			t.Fatalf("stopped at %d, want %d", n, stop)
		}
		for i := range all[stop:] {
			if all[stop+i] != want[i] {
				t.Fatalf("packet %d behind the stop at %d: %+v, want %+v", stop+i, stop, all[stop+i], want[i])
			}
		}
		for i, ref := range refs {
			var s flow.Session
			tab.Load(ref.Handle(), &s)
			if got, booked := s.Seq[0].Next, p[i].Seq+uint32(10*stop)+10; (got == booked) != (i < stop) {
				t.Fatalf("stop %d, session %d: next %d", stop, i, got)
			}
		}
	}
}

// TestFollowLeavesWhatSaysNothingNewToTouch, which counts acknowledgements that answer each other: else no storm of them would end.
func TestFollowLeavesWhatSaysNothingNewToTouch(t *testing.T) {
	tab := newTable(t, Config{CapacityV4: 16})
	var s flow.Session
	benchSession(1, false, &s)
	h, err := tab.Insert(&s)
	if err != nil {
		t.Fatal(err)
	}
	keys := [2]*flow.Key{&s.Orig, &s.Reply}
	for n := range 40 {
		d := flow.Direction(n & 1)
		p := []Plain{{Addr: keys[d].Addr[0], Ports: uint32(keys[d].Meta >> 32), Seq: s.Seq[d].Next, Ack: s.Seq[d].Ack, Window: s.Seq[d].Window, Size: 40}}
		if n := tab.Follow([]Ref{MakeRef(h, d)}, p, 0); n != 0 {
			t.Fatal("followed")
		}
		if o := tab.Touch(h, d, &Segment{Flags: ACK, Seq: p[0].Seq, Ack: p[0].Ack, Window: p[0].Window}, 0); o&DupAck != 0 {
			return
		}
	}
	t.Error("no storm was noticed")
}

// TestFollowDoesWhatItsFormInGoDoes on records and packets of any content, distances of half the number space included.
func TestFollowDoesWhatItsFormInGoDoes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(4, 4))
	const records = 9
	number := func() uint32 {
		return rnd.Uint32()&3 + rnd.Uint32N(3)<<31 - uint32(rnd.IntN(2))*ackSpan + uint32(rnd.IntN(2))*ackAhead
	}
	word := func(r *record) uint64 { return r.word() }
	all := 0
	for range 100_000 {
		machine, inGo := make([]record, records), make([]record, records)
		for i := range machine {
			machine[i] = record{
				addr: [2]uint64{rnd.Uint64N(4) << 31, rnd.Uint64()}, ports: [2]uint32{rnd.Uint32N(2) << 16, rnd.Uint32()}, state: flow.State(rnd.IntN(2)),
				proto: flow.ProtoTCP, next: [2]uint32{number(), number()}, ack: [2]uint32{number(), number()}, window: [2]uint16{uint16(rnd.IntN(2)), 512},
			}
		}
		copy(inGo, machine)
		n := 1 + rnd.IntN(6)
		refs, p := make([]Ref, n), make([]Plain, n)
		for i := range p {
			refs[i] = Ref(rnd.IntN(2 * records))
			r, d := &machine[refs[i]>>1], refs[i]&1
			p[i] = Plain{Addr: r.addr[d], Ports: r.ports[d], Seq: number(), Ack: number(), Window: uint16(rnd.IntN(2)), Size: 40}
			switch rnd.IntN(30) {
			case 0:
				p[i].Addr ^= 1 << rnd.IntN(64)
			case 1:
				p[i].Ports ^= 1 << rnd.IntN(32)
			case 2:
				p[i].Size = 0
			case 3:
				refs[i] = 2 * records // none
			}
			if rnd.IntN(3) == 0 {
				p[i].Payload = number()
			}
		}
		q := append([]Plain(nil), p...)
		mask, want := ^uint64(0), word(&record{state: 0, proto: flow.ProtoTCP})
		if rnd.IntN(4) > 0 {
			mask &^= 0xff // whatever the state
		}
		now := expiry.Tick(rnd.Uint32())
		got := follow(machine, &refs[0], &p[0], n, mask, want, now)
		if w := safely(func() int { return followGo(inGo, refs, q, mask, want, now) }); w >= 0 && w != got {
			t.Fatalf("followed %d, in Go %d", got, w)
		}
		for i := range machine {
			if machine[i] != inGo[i] {
				t.Fatalf("record %d\n%+v, in Go\n%+v", i, machine[i], inGo[i])
			}
		}
		for i := range p {
			if p[i] != q[i] {
				t.Fatalf("packet %d of %d\n%+v, in Go\n%+v", i, n, p[i], q[i])
			}
		}
		all += got
	}
	if all < 100_000 {
		t.Errorf("only %d packets were followed", all)
	}
}

// safely is what f returns, or -1 if it asks for a record that is not there, where the assembly stops.
func safely(f func() int) (n int) {
	defer func() {
		if recover() != nil {
			n = -1
		}
	}()
	return f()
}
