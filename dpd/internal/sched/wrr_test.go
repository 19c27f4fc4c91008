package sched

import (
	"math/rand/v2"
	"testing"
)

// The service changes every n picks, since a third server comes and goes. The other two must get what their weights say of the rest.
func TestAFlappingServerStarvesNoOther(t *testing.T) {
	for _, every := range []int{1, 2, 5, 9, 10, 11, 30} {
		with, without := service(1, WRR, 10, 1, 1), service(1, WRR, 10, 1, 1)
		without.Servers[2].State = Down
		gone := service(1, WRR, 10, 1)
		for name, other := range map[string]ServiceConfig{"down": without, "not configured": gone} {
			snap := compile(t, nil, with)
			st := use(snap)
			var got [3]int
			const rounds = 1000
			for i := range rounds {
				for _, j := range picks(st, 1, every, false) {
					got[j]++
				}
				next := with
				if i%2 == 0 {
					next = other
				}
				snap = compile(t, snap, next)
				st.Use(snap)
			}
			share := rounds * every / 12
			if got[1] < share*8/10 || got[1] > share*13/10 || got[2] > share*13/10 {
				t.Errorf("a server that is %s every %d picks: %v", name, every, got)
			}
		}
	}
}

// Whatever changes, no server's share lies far from its weight among those that were there.
func TestSharesFollowWeightsThroughAnyChanges(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 4))
		cfg := service(1, WRR, 1, 1, 1, 1, 1, 1)
		snap := compile(t, nil, cfg)
		st := use(snap)
		var got, due [6]float64
		for range 3000 {
			cfg = service(1, WRR, 7, 1, 3, 2, 5, 4)
			sum := 0.0
			for j := range cfg.Servers {
				if s := &cfg.Servers[j]; j > 1 && rnd.IntN(3) == 0 {
					s.State = Down
				} else {
					sum += float64(s.Weight)
				}
			}
			snap = compile(t, snap, cfg)
			st.Use(snap)
			n := 1 + rnd.IntN(5)
			for _, j := range picks(st, 1, n, false) {
				got[j]++
			}
			for j := range cfg.Servers {
				if s := &cfg.Servers[j]; s.State == Up {
					due[j] += float64(n) * float64(s.Weight) / sum
				}
			}
		}
		for j := range got {
			if got[j] < due[j]*0.75 || got[j] > due[j]*1.25 {
				t.Errorf("seed %d: server %d got %v of %v", seed, j, got[j], due[j])
			}
		}
	}
}

func TestALimitBelowTheNumberOfWorkersIsOneForEach(t *testing.T) {
	s := service(1, WLC, 1)
	s.Servers[0].MaxConnections = 2
	snap := compile(t, nil, s)
	for w := range 8 {
		st := NewState(w, 8)
		st.Use(snap)
		if got := picks(st, 1, 3, true); got[0] != 0 || got[1] != -1 {
			t.Errorf("worker %d picks %v", w, got)
		}
	}
}
