//go:build dpdk

package main

import (
	"bytes"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

func TestMacswapExchangesTheAddresses(t *testing.T) {
	var b port.Batch
	whole := []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	for _, n := range []int{15, 12, 11, 0} {
		b.Push(port.Packet{Data: append([]byte(nil), whole[:n]...)})
	}
	macswap(&b)
	swapped := []byte{7, 8, 9, 10, 11, 12, 1, 2, 3, 4, 5, 6, 13, 14, 15}
	for i, want := range [][]byte{swapped, swapped[:12], whole[:11], {}} {
		if got := b.Pkt[i].Data; !bytes.Equal(got, want) {
			t.Errorf("packet %d: %v, want %v", i, got, want)
		}
	}
}

func TestComparisonsAreMedianRatiosOfPairs(t *testing.T) {
	var r report
	ours := []float64{8, 8, 8, 8, 8, 8, 80}
	base := []float64{10, 10, 10, 10, 10, 10, 10}
	r.compare("X", "m", "u", ours, base, 0.70, "")
	r.compare("Y", "m", "u", ours[:3], base[:3], 0.70, "")
	r.compare("Z", "m", "u", ours, base, 0.90, "")
	for i, want := range []bool{true, false, false} { // too few pairs never hold
		if got := r.results[i]; *got.Holds != want || got.Ratio != 0.8 {
			t.Errorf("%s: holds %v, ratio %v", got.ID, *got.Holds, got.Ratio)
		}
	}
	if s := r.results[0].Spread; s != [2]float64{0.8, 8} {
		t.Errorf("spread %v", s)
	}
}
