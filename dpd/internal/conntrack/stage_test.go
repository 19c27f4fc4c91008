package conntrack

import (
	"math/bits"
	"math/rand/v2"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// TestStagesDoWhatTheirFormsInGoDo: the assembly hashes as secret.hash, and finds what matchGo finds.
func TestStagesDoWhatTheirFormsInGoDo(t *testing.T) {
	rnd := rand.New(rand.NewPCG(6, 2))
	const count = 37
	buckets := make([]bucket, count)
	records := make([]record, 1)
	for range 3000 {
		var machine, inGo burst
		s := newSecret(nil)
		var p [BurstMax]Plain
		for i := range p {
			p[i] = Plain{Addr: rnd.Uint64(), Ports: rnd.Uint32(), Seq: rnd.Uint32(), Payload: rnd.Uint32(), Size: 1}
		}
		at, n := rnd.IntN(BurstMax+1), 0
		n = rnd.IntN(BurstMax - at + 1)
		base := &buckets[0]
		askPlain(&machine, at, &p[0], n, &s, base, count)
		askPlainGo(&inGo, at, &p[0], n, &s, count)
		if machine != inGo {
			t.Fatalf("%d from %d: asked\n%+v, in Go\n%+v", n, at, machine, inGo)
		}
		for i := range n {
			k := p[i].Key()
			if h := machine.hash[at+i]; h != s.hash(&k) || machine.bucket[at+i] != (&index{n: count}).home(h)*64 {
				t.Fatalf("hash %x of %v, want %x", h, k, s.hash(&k))
			}
		}
		n = rnd.IntN(BurstMax + 1)
		askPlain(&machine, 0, &p[0], n, &s, base, count)
		inGo = machine
		var want [BurstMax]bool // has several slots with its fingerprint: any will do
		for i := range buckets {
			buckets[i] = bucket{over: uint16(rnd.IntN(2))}
			for slot := range slots {
				if rnd.IntN(3) > 0 {
					buckets[i].set(slot, 1+uint64(rnd.IntN(0xffff)), Ref(rnd.Uint32()), false)
				}
			}
		}
		for i := range n {
			h := machine.hash[i]
			switch rnd.IntN(8) {
			case 0, 1, 2, 3:
				b := &buckets[machine.bucket[i]/64]
				b.set(rnd.IntN(slots), fingerprint(h), Ref(rnd.Uint32()), false)
			case 4:
				machine.hash[i] &^= 0xffff // fingerprint 0 is 1
				inGo.hash[i] = machine.hash[i]
			}
		}
		for i := range n {
			b, fp, same := &buckets[machine.bucket[i]/64], fingerprint(machine.hash[i]), 0
			for slot := range slots {
				if b.lane(slot) == fp {
					same++
				}
			}
			want[i] = same > 1
		}
		var got, ref [BurstMax + 1]Ref
		w1 := match(&machine, &got[0], n, base, &records[0])
		w2 := matchGo(&inGo, &ref[0], n, base)
		for i := range n {
			if want[i] && got[i] != 0 && ref[i] != 0 {
				ref[i] = got[i]
			}
		}
		if w1 != w2 || got != ref || machine != inGo {
			t.Fatalf("%d: %d wait, want %d;\n%v\n%v", n, w1, w2, got, ref)
		}
	}
}

// TestAskDoesWhatAskPlainDoes, and both what LookupBatch does.
func TestAskDoesWhatAskPlainDoes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 9))
	tab := newTable(t, Config{CapacityV4: 500})
	var keys []flow.Key
	for i := range uint32(500) {
		var s flow.Session
		benchSession(i, false, &s)
		if _, err := tab.Insert(&s); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, s.Orig, s.Reply)
	}
	for range 2000 {
		n := 1 + rnd.IntN(BurstMax)
		k := make([]flow.Key, n)
		for i := range k {
			k[i] = keys[rnd.IntN(len(keys))]
			if rnd.IntN(4) == 0 {
				k[i].Addr[0] ^= 1 << rnd.IntN(64)
			}
		}
		want, got := make([]Ref, n), make([]Ref, n)
		tab.LookupBatch(k, want)
		for i := range k {
			if rnd.IntN(2) == 0 {
				tab.Ask(i, &k[i])
			} else {
				tab.AskPlain(i, []Plain{{Addr: k[i].Addr[0], Ports: uint32(k[i].Meta >> 32), Size: 40}})
			}
		}
		tab.Match(got)
		for i := range got {
			if r := tab.Confirm(i, &k[i], got[i]); r != want[i] {
				t.Fatalf("key %d of %d, %v: ref %d, want %d", i, n, k[i], r, want[i])
			}
		}
	}
}

// TestMatchFindsWhatIsAwayFromHome: in a full table one key in ten is; Confirm would find them too, but one by one.
func TestMatchFindsWhatIsAwayFromHome(t *testing.T) {
	const n = 10_000
	tab := newTable(t, Config{CapacityV4: n, Load: 0.95})
	var keys [2 * n]flow.Key
	var want [2 * n]Ref
	for i := range uint32(n) {
		var s flow.Session
		benchSession(i, false, &s)
		h, err := tab.Insert(&s)
		if err != nil {
			t.Fatal(err)
		}
		keys[2*i], keys[2*i+1], want[2*i], want[2*i+1] = s.Orig, s.Reply, MakeRef(h, in), MakeRef(h, out)
	}
	away := 0
	for i := range tab.ix.bucket {
		away += bits.OnesCount8(tab.ix.bucket[i].away)
	}
	wrong := 0
	var got [BurstMax]Ref
	for at := 0; at < len(keys); at += BurstMax {
		k := keys[at:min(at+BurstMax, len(keys))]
		for i := range k {
			tab.Ask(i, &k[i])
		}
		tab.Match(got[:len(k)])
		for i := range k {
			if got[i] != want[at+i] {
				wrong++
			}
		}
	}
	if away < len(keys)/20 || wrong > len(keys)/500 { // some have the fingerprint of another
		t.Errorf("%d of %d away from home, %d not matched", away, len(keys), wrong)
	}
}

// TestStagesGoByTheTableAsItIs: what was matched before sessions came, went, died and took each other's tuples is confirmed and followed as
// if it had been looked up after that.
func TestStagesGoByTheTableAsItIs(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 1))
	const names = 40
	tab := newTable(t, Config{CapacityV4: 2 * names, CapacityV6: 2 * names})
	var all [2 * names]flow.Session // two of each original tuple
	var live [2 * names]flow.Handle
	for i := range all {
		s := &all[i]
		benchSession(uint32(i), i%4 == 3, s)
		if i >= names {
			s.Orig = all[i-names].Orig
			if i%4 == 3 { // a server of the other family
				s.Reply = flow.Key{Addr: [4]uint64{uint64(i)}, Meta: 7<<32 | flow.ProtoTCP<<8 | flow.IPv4}
			}
		}
	}
	change := func() {
		i := rnd.IntN(len(all))
		s := all[i]
		s.Flags = []flow.Flags{0, 0, flow.SoftTomb, flow.SoftTomb, flow.ReplyOnly}[rnd.IntN(5)]
		switch h := live[i]; {
		case h == 0:
			live[i], _ = tab.Insert(&s) // refused where another has its tuple
		case rnd.IntN(2) == 0:
			tab.Remove(h)
			live[i] = 0
		default:
			_ = tab.Update(h, &s)
		}
	}
	stale, followed := 0, 0
	for range 40_000 {
		n := 1 + rnd.IntN(8)
		keys, refs, p := make([]flow.Key, n), make([]Ref, n), make([]Plain, n)
		for i := range keys {
			s := &all[rnd.IntN(len(all))]
			d := rnd.IntN(2)
			keys[i] = [2]flow.Key{s.Orig, s.Reply}[d]
			p[i] = Plain{Addr: keys[i].Addr[0], Ports: uint32(keys[i].Meta >> 32), Seq: s.Seq[d].Next, Ack: s.Seq[d].Ack, Payload: 1, Size: 41}
			if keys[i].Family() == flow.IPv6 {
				p[i].Size = 0
			}
			tab.Ask(i, &keys[i])
		}
		tab.Match(refs)
		for range rnd.IntN(4) {
			change()
		}
		for i := range keys {
			var want Ref
			if h, d, ok := tab.Find(&keys[i]); ok {
				want = MakeRef(h, d)
			}
			if got := tab.Confirm(i, &keys[i], refs[i]); got != want {
				t.Fatalf("%v, matched as %d: %d, want %d", keys[i], refs[i], got, want)
			}
			if tab.Follow(refs[i:i+1], p[i:i+1], 0) == 1 {
				if followed++; refs[i] != want {
					t.Fatalf("%v followed by %d, want %d", keys[i], refs[i], want)
				}
			}
			if refs[i] != want {
				stale++
			}
		}
	}
	if stale < 1000 || followed < 10_000 {
		t.Errorf("%d refs no longer held, %d packets were followed", stale, followed)
	}
}

// TestATupleThatASessionLacksIsNotItsOwn: a record came to be one without a reply tuple, which reads as a tuple of zeros.
func TestATupleThatASessionLacksIsNotItsOwn(t *testing.T) {
	tab := newTable(t, Config{CapacityV4: 1})
	s := tcp4(t)
	s.Mode, s.Reply = flow.DR, flow.Key{}
	h, err := tab.Insert(s)
	if err != nil {
		t.Fatal(err)
	}
	zeros := flow.Key{Meta: flow.ProtoTCP<<8 | flow.IPv4}
	tab.Ask(0, &zeros)
	if got := tab.Confirm(0, &zeros, MakeRef(h, out)); got != 0 {
		t.Errorf("ref %d", got)
	}
}

// TestABurstHoldsNoMore: what does not fit is not left out in silence, and a burst may be full of keys that are not at home.
func TestABurstHoldsNoMore(t *testing.T) {
	tab := newTable(t, Config{CapacityV4: 1})
	for i := range tab.ix.bucket {
		tab.ix.bucket[i].over = 1
	}
	var refs [BurstMax + 1]Ref
	tab.AskPlain(0, make([]Plain, BurstMax))
	tab.Match(refs[:BurstMax])
	for name, f := range map[string]func(){
		"matched": func() { tab.Match(refs[:]) },
		"asked":   func() { tab.AskPlain(1, make([]Plain, BurstMax)) },
		"at":      func() { tab.AskPlain(BurstMax+1, nil) },
		"before":  func() { tab.AskPlain(-1, make([]Plain, 2)) },
	} {
		if safely(func() int { f(); return 0 }) != -1 {
			t.Errorf("%s: no complaint", name)
		}
	}
}

// TestConfirmedDoesWhatItsFormInGoDoes on records of any content that differ from the keys in up to one bit.
func TestConfirmedDoesWhatItsFormInGoDoes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 5))
	const records = 8
	right, odd := 0, 0
	for range 200_000 {
		rec, paths := make([]record, records), make([]path, 4)
		for i := range paths {
			for j := range paths[i].addr {
				paths[i].addr[j] = [2]uint64{rnd.Uint64(), rnd.Uint64N(3)}
			}
			paths[i].ports = rnd.Uint32()
		}
		for i := range rec {
			rec[i] = record{
				addr: [2]uint64{rnd.Uint64(), rnd.Uint64()}, ports: [2]uint32{rnd.Uint32(), rnd.Uint32()}, proto: flow.ProtoTCP,
				kind: uint8(rnd.IntN(8)) << kindModeShift,
			}
			if rnd.IntN(2) == 0 {
				rec[i].kind |= kindSix
				rec[i].ports[0] %= uint32(len(paths))
			}
			if rnd.IntN(12) == 0 {
				rec[i].kind ^= 1 << rnd.IntN(8)
			}
		}
		n := rnd.IntN(6)
		keys, refs := make([]flow.Key, n+1), make([]Ref, n+1)
		tab := Table{rec: rec}
		tab.paths.all = paths
		for i := range n {
			refs[i] = Ref(rnd.IntN(2 * records))
			if r := &rec[refs[i]>>1]; r.kind&kindWide == 0 || int(r.ports[0]) < len(paths) {
				tab.key(refs[i].Handle(), refs[i].Dir(), &keys[i])
			}
			switch rnd.IntN(12) {
			case 0:
				keys[i].Addr[rnd.IntN(4)] ^= 1 << rnd.IntN(64)
			case 1:
				keys[i].Meta ^= 1 << rnd.IntN(64)
			case 2:
				refs[i] = Ref(2 * (records + rnd.IntN(3))) // none
			}
		}
		got := confirmed(rec, paths, &keys[0], &refs[0], n)
		if want := safely(func() int { return confirmedGo(rec, paths, keys[:n], refs[:n]) }); want >= 0 && got != want {
			t.Fatalf("%d of %d, in Go %d\n%+v\n%+v\n%+v", got, n, want, keys, refs, rec)
		}
		for i := range got {
			if !tab.matches(refs[i], &keys[i]) {
				t.Fatalf("%+v is not %v", rec[refs[i]>>1], keys[i])
			}
		}
		if right += got; got < n {
			odd++
		}
	}
	if right < 100_000 || odd < 20_000 {
		t.Errorf("%d keys were right, %d runs ended early", right, odd)
	}
}

// TestNearChangesNothing, whether there are such tuples or not.
func TestNearChangesNothing(t *testing.T) {
	tab := newTable(t, Config{CapacityV4: 20, CapacityV6: 20})
	var known []flow.Session
	for i := range uint32(20) {
		var s flow.Session
		benchSession(i, i%2 == 1, &s)
		if _, err := tab.Insert(&s); err != nil {
			t.Fatal(err)
		}
		known = append(known, s)
	}
	before := tab.Stats()
	for i := range known {
		tab.Near(known[i].Orig, known[i].Reply)
		tab.Near(known[i].Reply.Reverse(), flow.Key{})
	}
	if after := tab.Stats(); after != before {
		t.Errorf("stats %+v, want %+v", after, before)
	}
	for i := range known {
		if _, d, ok := tab.Find(&known[i].Reply); !ok || d != out {
			t.Errorf("session %d is gone", i)
		}
	}
}
