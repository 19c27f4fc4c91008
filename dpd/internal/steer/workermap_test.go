package steer

import "testing"

func TestMapIsEvenAndCheapInRules(t *testing.T) {
	most := map[int]int{1: 1, 2: 2, 3: 11, 4: 4, 8: 8, 64: 64}
	for n := 1; n <= MaxWorkers; n++ {
		m, err := NewMap(n)
		if err != nil {
			t.Fatal(err)
		}
		if m.Workers() != n {
			t.Errorf("%d workers of %d", m.Workers(), n)
		}
		count := make([]int, n)
		for b := range Buckets {
			count[m.Worker(uint8(b))]++
		}
		for w, c := range count {
			if c < 2*(mapPeriod/n) || c > 2*((mapPeriod+n-1)/n) {
				t.Errorf("%d workers: worker %d has %d buckets", n, w, c)
			}
		}
		blocks := m.blocks()
		var owner [Buckets]int
		for _, x := range blocks {
			for b := range Buckets {
				if uint16(b)&x.mask == x.value {
					owner[b] += 1 + int(x.worker)<<8
				}
			}
		}
		for b := range Buckets {
			if owner[b] != 1+m.Worker(uint8(b))<<8 {
				t.Fatalf("%d workers: bucket %d is not covered exactly once by its worker", n, b)
			}
		}
		if limit, ok := most[n]; ok && len(blocks) > limit {
			t.Errorf("%d workers take %d blocks, want at most %d", n, len(blocks), limit)
		}
	}
}

func TestMapFitsDeviceTables(t *testing.T) {
	m, err := NewMap(3)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{128, 256, 512} {
		reta, err := m.RETA(size)
		if err != nil {
			t.Fatal(err)
		}
		for hash := range uint32(2000) {
			// A device takes the low bits of the hash as index.
			if got, want := int(reta[int(hash)%size]), m.Worker(uint8(hash)); got != want {
				t.Fatalf("table of %d: hash %d goes to %d, want %d", size, hash, got, want)
			}
		}
	}
	for _, size := range []int{-128, 0, 64, 100, 192} {
		if _, err := m.RETA(size); err == nil {
			t.Errorf("a table of %d entries", size)
		}
	}
	for _, n := range []int{-1, 0, MaxWorkers + 1} {
		if _, err := NewMap(n); err == nil {
			t.Errorf("a map for %d workers", n)
		}
	}
}
