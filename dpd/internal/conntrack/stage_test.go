package conntrack

import (
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
		s := newSecret()
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
			h := machine.hash[at+i]
			switch rnd.IntN(8) {
			case 0, 1, 2, 3:
				b := &buckets[machine.bucket[at+i]/64]
				b.set(rnd.IntN(slots), fingerprint(h), Ref(rnd.Uint32()), false)
			case 4:
				machine.hash[at+i] &^= 0xffff // fingerprint 0 is 1
				inGo.hash[at+i] = machine.hash[at+i]
			}
		}
		for i := range n {
			b, fp, same := &buckets[machine.bucket[at+i]/64], fingerprint(machine.hash[at+i]), 0
			for slot := range slots {
				if b.lane(slot) == fp {
					same++
				}
			}
			want[at+i] = same > 1
		}
		var got, ref [BurstMax + 1]Ref
		w1 := match(&machine, at, &got[0], n, base, &records[0])
		w2 := matchGo(&inGo, at, &ref[0], n, base)
		for i := range n {
			if want[at+i] && got[i] != 0 && ref[i] != 0 {
				ref[i], inGo.record[at+i] = got[i], machine.record[at+i]
			}
		}
		if w1 != w2 || got != ref || machine != inGo {
			t.Fatalf("%d from %d: %d wait, want %d;\n%v\n%v", n, at, w1, w2, got, ref)
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
		step := 1 + rnd.IntN(Group)
		for at := 0; at < n; at += step {
			tab.Match(got, at, min(at+step, n))
		}
		for at := 0; at < n; at += step {
			tab.Rest(got, at, min(at+step, n))
		}
		for i := range got {
			if r := tab.Confirm(i, &k[i], got[i]); r != want[i] {
				t.Fatalf("key %d of %d, %v: ref %d, want %d", i, n, k[i], r, want[i])
			}
		}
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
