package main

import (
	"strings"
	"testing"
)

// TestVerdictSeesEachFault breaks one figure of a good run at a time.
func TestVerdictSeesEachFault(t *testing.T) {
	s := sound("", 2, 1, 1000, 180_000)
	good := result{nodes: 2, samples: 1800, oldestClosed: 11_000}
	good.marked, good.end = state{heap: 1 << 20, records: 16_000}, state{heap: 1 << 20, records: 16_100}
	good.tally.Begun, good.during.equal = 180_000, 10_000
	if v := verdict(s, &good); !passed(v) {
		t.Fatalf("a good run fails: %+v", v)
	}
	for want, spoil := range map[string]func(*result){
		"rate":    func(r *result) { r.tally.Waiting = 1 },
		"refused": func(r *result) { r.during.refused = 1 },
		"memory":  func(r *result) { r.end.records = 20_000 },
		"flat":    func(r *result) { r.end.heap += 16 << 20 },
		"kept":    func(r *result) { r.oldestAged = 12_001 },
		"closed":  func(r *result) { r.oldestClosed = 12_001 },
		"aged":    func(r *result) { r.held = 12_001 },
		"end":     func(r *result) { r.left = 1 },
		"quiet":   func(r *result) { r.differ = 1 },
		"broken":  func(r *result) { r.tally.Again = 1 },
		"repair":  func(r *result) { r.repairing = 1 },
		"digests": func(r *result) { r.during.unequal = 1 },
		"equal":   func(r *result) { r.during.equal = 0 },
		"waits":   func(r *result) { r.tally.LateUDP = 1 },
		"peers":   func(r *result) { r.during.held = 1 },
		"ring":    func(r *result) { r.during.overflows = 1 },
	} {
		r := good
		spoil(&r)
		var failed []string
		for _, c := range verdict(s, &r) {
			if !c.holds {
				failed = append(failed, c.name)
			}
		}
		if len(failed) != 1 || !strings.Contains(failed[0], want) {
			t.Errorf("%s: %q fail", want, failed)
		}
	}
}

func TestTheAgeOfTombstonesFollowsFromHowManyAreHeld(t *testing.T) {
	r := result{ends: []uint64{0, 10, 20, 20, 40}}
	for held, want := range map[uint64]int64{0: 0, 1: 1, 20: 1, 21: 3, 30: 3, 40: 4, 50: 4} {
		if got := r.age(held); got != want*sample {
			t.Errorf("%d held: %d ms, want %d", held, got, want*sample)
		}
	}
}
