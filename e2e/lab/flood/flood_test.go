package main

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestEveryKindMakesFramesOfBothFamilies(t *testing.T) {
	for _, k := range kinds {
		rnd := rand.New(rand.NewPCG(1, 1))
		seen := map[uint16]int{}
		for range 1000 {
			b := k.make(rnd).Eth([6]byte{2, 1}, [6]byte{2, 2}).Bytes()
			if len(b) < 14 || b[1] != 1 || b[7] != 2 {
				t.Fatalf("%s: %x", k.name, b)
			}
			seen[uint16(b[12])<<8|uint16(b[13])]++
		}
		if len(seen) != 2 || seen[0x86dd] < 300 || seen[0x0800]+seen[0x0806] < 300 {
			t.Errorf("%s: frames by type %v", k.name, seen)
		}
	}
}

func TestFaultsNameWhatIsWrong(t *testing.T) {
	good := func() result {
		r := result{rate: 1, after: trial{tried: 10, opened: 10}}
		for _, k := range kinds {
			r.trials = append(r.trials, trial{kind: k.name, reached: 9, tried: 10, opened: 9, memory: 100 << 20, reasons: map[string]uint64{"x": 1}})
		}
		return r
	}
	if r := good(); len(r.faults()) != 0 {
		t.Fatalf("faults of a good run: %v", r.faults())
	}
	for name, spoil := range map[string]func(*result){
		"connections lost":    func(r *result) { r.trials[1].lost = 1 },
		"new connections":     func(r *result) { r.trials[2].opened = 8 },
		"nothing was counted": func(r *result) { r.trials[3].reasons = nil },
		"memory grew":         func(r *result) { r.trials[4].memory = 200 << 20 },
		"afterwards":          func(r *result) { r.after.opened = 9 },
		"data planes ended":   func(r *result) { r.trials[0].ended = 1 },
		"kinds were run":      func(r *result) { r.trials = r.trials[:2] },
	} {
		r := good()
		spoil(&r)
		if f := r.faults(); len(f) != 1 || !strings.Contains(f[0], name) {
			t.Errorf("%s: %v", name, f)
		}
	}
	r := good()
	if got, want := r.line(), "flood: kinds=5 rate=1 reached=9 lost=0 opened_worst=0.90 memory_grown_mb=0 after=1.00"; got != want {
		t.Errorf("%s", got)
	}
}

func TestReasonsAreReadFromThePageOfMetrics(t *testing.T) {
	sum := map[string]uint64{"no_session": 1}
	readReasons(strings.NewReader(`# HELP x
holdfast_dpd_dropped_packets_total{node="lb1",reason="no_session"} 41
holdfast_dpd_worker{node="lb1",name="evicted"} 7
holdfast_dpd_worker{node="lb1",name="hits"} 9
holdfast_dpd_node{name="host_limited"} 3
holdfast_dpd_node{name="host_arp_answered"} 3
other{name="evicted"} 5
`), sum)
	if sum["no_session"] != 42 || sum["evicted"] != 7 || sum["host_limited"] != 3 || len(sum) != 3 {
		t.Errorf("%v", sum)
	}
}
