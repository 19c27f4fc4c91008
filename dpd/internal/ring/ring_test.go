package ring

import (
	"math/rand/v2"
	"runtime"
	"testing"
)

func TestCapacityIsRoundedUpToAPowerOfTwo(t *testing.T) {
	for _, c := range []struct{ ask, want int }{{1, 1}, {2, 2}, {3, 4}, {64, 64}, {65, 128}} {
		if got := New[int](c.ask).Cap(); got != c.want {
			t.Errorf("New(%d) has %d slots, want %d", c.ask, got, c.want)
		}
	}
}

func TestCapacityOutsideBoundsPanics(t *testing.T) {
	for _, n := range []int{0, -1, 1<<24 + 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("New(%d) did not panic", n)
				}
			}()
			New[int](n)
		}()
	}
}

// A slice is the reference: the ring must refuse exactly when the slice is at capacity and give values in order.
func TestRandomOperationsAgreeWithASlice(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	r := New[uint32](8)
	var model []uint32
	for i := range 100_000 {
		if rnd.IntN(2) == 0 {
			v := uint32(i)
			if got, want := r.Put(&v), len(model) < 8; got != want {
				t.Fatalf("step %d: Put = %v with %d inside", i, got, len(model))
			} else if got {
				model = append(model, v)
			}
		} else {
			var v uint32
			if got, want := r.Take(&v), len(model) > 0; got != want {
				t.Fatalf("step %d: Take = %v with %d inside", i, got, len(model))
			} else if got {
				if v != model[0] {
					t.Fatalf("step %d: took %d, want %d", i, v, model[0])
				}
				model = model[1:]
			}
		}
		if r.Len() != len(model) {
			t.Fatalf("step %d: Len = %d, want %d", i, r.Len(), len(model))
		}
	}
}

func TestTwoThreadsLoseAndRepeatNothing(t *testing.T) {
	const n = 200_000
	r := New[int](64)
	go func() {
		for i := 0; i < n; {
			if r.Put(&i) {
				i++
			} else {
				runtime.Gosched()
			}
		}
	}()
	for want := 0; want < n; {
		var v int
		if !r.Take(&v) {
			runtime.Gosched()
			continue
		}
		if v != want {
			t.Fatalf("took %d, want %d", v, want)
		}
		want++
	}
}

func TestNothingIsAllocated(t *testing.T) {
	r := New[[6]uint64](8)
	var v [6]uint64
	if n := testing.AllocsPerRun(100, func() { r.Put(&v); r.Take(&v) }); n != 0 {
		t.Errorf("%v allocations a round trip", n)
	}
}

// Ahead shows what Take will give, and nothing that was not put yet.
func TestAheadAgreesWithTake(t *testing.T) {
	rnd := rand.New(rand.NewPCG(4, 4))
	r := New[uint32](8)
	var model []uint32
	for i := range uint32(50_000) {
		switch v := i; rnd.IntN(3) {
		case 0:
			if r.Put(&v) {
				model = append(model, v)
			}
		case 1:
			if r.Take(&v) {
				model = model[1:]
			}
		default:
			n := rnd.IntN(10)
			switch got := r.Ahead(n); {
			case n >= len(model) && got != nil:
				t.Fatalf("step %d: %d ahead of %d is %d", i, n, len(model), *got)
			case n < len(model) && (got == nil || *got != model[n]):
				t.Fatalf("step %d: %d ahead of %d is %v, want %d", i, n, len(model), got, model[n])
			}
		}
	}
}
