package ended

import (
	"math/rand/v2"
	"testing"
	"unsafe"
)

func TestAnEntryTakesNoMoreThan32Bytes(t *testing.T) {
	if n := unsafe.Sizeof(Entry{}); n != entryLen {
		t.Fatalf("an entry has %d bytes", n)
	}
	c, r := New(MaxLimit), rand.New(rand.NewPCG(1, 2))
	var l List
	for range 3_000_000 {
		c.Add(&l, Entry{ID: Split(r.Uint64())})
		if c.Bytes() > 32*(c.Len()+chunkLen) {
			t.Fatalf("%d bytes for %d entries", c.Bytes(), c.Len())
		}
	}
}

// A slice for each list is the reference.
func TestRandomOperationsAgreeWithSlices(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 3))
		limit := 100 + r.IntN(20_000)
		c := New(limit)
		var lists [3]List
		var model [3][]Entry
		in := map[uint64]bool{}
		ids := uint64(2 * limit)
		for step := range 120_000 {
			k, id := r.IntN(3), r.Uint64N(ids)*0x9e3779b97f4a7c15
			// Phases of growth and of shrinking.
			op := r.IntN(10)
			if step/30_000%2 == 1 {
				op = 9 - op
			}
			switch {
			case op < 6:
				e := Entry{ID: Split(id), At: uint32(step), Port: r.Uint32(), Local: uint16(step), Leaf: uint16(step >> 3)}
				want := !in[id] && len(in) < limit
				if got := c.Add(&lists[k], e); got != want {
					t.Fatalf("seed %d, step %d: Add %v, want %v", seed, step, got, want)
				}
				if want {
					in[id] = true
					model[k] = append(model[k], e)
				}
			case op < 8 && len(model[k]) > 0:
				e := c.Drop(&lists[k])
				if e.next, e.chain = 0, 0; e != model[k][0] {
					t.Fatalf("seed %d, step %d: dropped %+v, want %+v", seed, step, e, model[k][0])
				}
				delete(in, e.id())
				model[k] = model[k][1:]
			case op == 8 && len(model[k]) > 0:
				to := (k + 1) % 3
				c.Move(&lists[k], &lists[to]).Port = 7
				e := model[k][0]
				e.Port = 7
				model[k], model[to] = model[k][1:], append(model[to], e)
			case op == 9 && r.IntN(50) == 0:
				to := (k + 1) % 3
				c.Join(&lists[k], &lists[to])
				model[k], model[to] = nil, append(model[to], model[k]...)
			}
			if got := c.Has(id); got != in[id] {
				t.Fatalf("seed %d, step %d: Has %v, want %v", seed, step, got, in[id])
			}
			if c.Len() != len(in) || c.Full() != (len(in) >= limit) || lists[k].Len() != len(model[k]) {
				t.Fatalf("seed %d, step %d: %d entries, want %d", seed, step, c.Len(), len(in))
			}
			if h := c.Head(&lists[k]); (h == nil) != (len(model[k]) == 0) || h != nil && h.ID != model[k][0].ID {
				t.Fatalf("seed %d, step %d: head %+v", seed, step, h)
			}
		}
		for id := range in {
			if !c.Has(id) {
				t.Fatalf("seed %d: %x is lost", seed, id)
			}
		}
	}
}

func TestASteadyStreamAllocatesNothing(t *testing.T) {
	c, r := New(MaxLimit), rand.New(rand.NewPCG(1, 4))
	var l List
	for range 100_000 {
		c.Add(&l, Entry{ID: Split(r.Uint64())})
	}
	turn := func() {
		for range 1000 {
			c.Drop(&l)
			c.Add(&l, Entry{ID: Split(r.Uint64())})
		}
	}
	for range 200 {
		turn()
	}
	before := c.Bytes()
	if n := testing.AllocsPerRun(100, turn); n != 0 {
		t.Errorf("%v allocations in 1000 turns", n)
	}
	if c.Bytes() != before {
		t.Errorf("%d bytes became %d", before, c.Bytes())
	}
}

func BenchmarkAddAndDrop(b *testing.B) {
	c, r := New(MaxLimit), rand.New(rand.NewPCG(1, 4))
	var l List
	for range 1_200_000 {
		c.Add(&l, Entry{ID: Split(r.Uint64())})
	}
	b.ReportAllocs()
	for b.Loop() {
		c.Drop(&l)
		c.Add(&l, Entry{ID: Split(r.Uint64())})
	}
}
