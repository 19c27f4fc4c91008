package syncseal_test

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/syncseal"
)

func TestASaltIsVouchedForBetweenItsEndsAlone(t *testing.T) {
	var r, other syncseal.Ring
	k1, k2 := syncseal.Key{ID: 1, Secret: [32]byte{1}}, syncseal.Key{ID: 2, Secret: [32]byte{2}}
	if r.Set(1, k1) != nil || other.Set(1, syncseal.Key{ID: 1, Secret: [32]byte{9}}) != nil {
		t.Fatal("keys")
	}
	ends := syncseal.Ends{SenderInc: 7, ReceiverInc: 8, Sender: 1, Receiver: 2}
	rows := map[string]syncseal.Ends{
		"another life of the sender":   {SenderInc: 9, ReceiverInc: 8, Sender: 1, Receiver: 2},
		"another life of the receiver": {SenderInc: 7, ReceiverInc: 9, Sender: 1, Receiver: 2},
		"another sender":               {SenderInc: 7, ReceiverInc: 8, Sender: 3, Receiver: 2},
		"another receiver":             {SenderInc: 7, ReceiverInc: 8, Sender: 1, Receiver: 3},
		"the other direction":          {SenderInc: 8, ReceiverInc: 7, Sender: 2, Receiver: 1},
	}
	hits, outside := map[string]int{}, 0
	const n = 20_000
	seen := map[uint32]bool{}
	for i := range uint32(n) {
		s := r.Salt(&ends, i)
		if seen[s] || !r.Vouches(&ends, s) {
			t.Fatalf("salt %d is %#x: seen before %v", i, s, seen[s])
		}
		seen[s] = true
		for name, e := range rows {
			if r.Vouches(&e, s) {
				hits[name]++
			}
		}
		if other.Vouches(&ends, s) {
			outside++
		}
	}
	hits["another cluster key"] = outside
	for name, h := range hits { // by chance one in 4096
		if h > 20 {
			t.Errorf("%s: %d of %d", name, h, n)
		}
	}
	s := r.Salt(&ends, 5)
	if r.Set(2, k1, k2) != nil || !r.Vouches(&ends, s) {
		t.Error("a rotation under way disowns it")
	}
	if r.Set(2, k2) != nil || r.Vouches(&ends, s) || !r.Vouches(&ends, r.Salt(&ends, 5)) {
		t.Error("a rotation that is over does not")
	}
	if !r.Has(2) || r.Has(1) || r.Has(0) {
		t.Error("the ring has other keys than it was given")
	}
}

func TestWithoutAKeyNoSaltIsVouchedFor(t *testing.T) {
	var r syncseal.Ring
	ends := syncseal.Ends{SenderInc: 7, ReceiverInc: 8, Sender: 1, Receiver: 2}
	if s := r.Salt(&ends, syncseal.Salts+3); s>>12 != 3 || r.Vouches(&ends, s) {
		t.Errorf("%#x", s)
	}
}

func TestASaltIsCheckedWithoutAllocation(t *testing.T) {
	r := new(syncseal.Ring)
	if r.Set(1, syncseal.Key{ID: 1, Secret: [32]byte{1}}) != nil {
		t.Fatal("keys")
	}
	ends := &syncseal.Ends{SenderInc: 7, ReceiverInc: 8, Sender: 1, Receiver: 2}
	if n := testing.AllocsPerRun(100, func() { r.Vouches(ends, 77) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkVouches(b *testing.B) {
	r := new(syncseal.Ring)
	if r.Set(1, syncseal.Key{ID: 1, Secret: [32]byte{1}}) != nil {
		b.Fatal("keys")
	}
	ends := &syncseal.Ends{SenderInc: 7, ReceiverInc: 8, Sender: 1, Receiver: 2}
	for i := 0; b.Loop(); i++ {
		r.Vouches(ends, uint32(i))
	}
}
