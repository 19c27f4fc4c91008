package announce

import (
	"math/rand/v2"
	"testing"
)

func TestGuard(t *testing.T) {
	good := Sample{LinkUp: true, HeartbeatAgeMs: 10, EchoAgeMs: 100}
	noEcho := Sample{LinkUp: true, HeartbeatAgeMs: 10, EchoAgeMs: -1}
	link := Sample{LinkUp: false, HeartbeatAgeMs: 10, EchoAgeMs: 100}
	late := Sample{LinkUp: true, HeartbeatAgeMs: 201, EchoAgeMs: 100}
	silent := Sample{LinkUp: true, HeartbeatAgeMs: 10, EchoAgeMs: 3001}
	type step struct {
		after int64 // ms since the step before
		s     Sample
		want  Verdict
	}
	for name, steps := range map[string][]step{
		"good stays good":                    {{0, good, Good}, {50, good, Good}, {50, noEcho, Good}},
		"a limit itself is good":             {{0, Sample{true, 200, 3000}, Good}, {50, Sample{true, 200, 3000}, Good}},
		"a link that falls counts at once":   {{0, good, Good}, {50, link, LinkDown}},
		"one late heartbeat is forgiven":     {{0, good, Good}, {50, late, Good}, {50, good, Good}, {50, late, Good}},
		"two in a row are not":               {{0, good, Good}, {50, late, Good}, {50, late, WorkerLate}},
		"late and silent in turn count":      {{0, good, Good}, {50, late, Good}, {50, silent, NextHopSilent}},
		"a silent next hop":                  {{0, good, Good}, {50, silent, Good}, {50, silent, NextHopSilent}},
		"good again, but not for long":       {{0, link, LinkDown}, {50, good, Recovering}, {999, good, Recovering}, {1, good, Good}},
		"a relapse starts the wait anew":     {{0, link, LinkDown}, {50, good, Recovering}, {190, late, WorkerLate}, {50, good, Recovering}, {50, good, Recovering}, {950, good, Good}},
		"the reason follows what is wrong":   {{0, link, LinkDown}, {50, silent, NextHopSilent}, {50, late, WorkerLate}},
		"a stopped process judges nothing":   {{0, good, Good}, {50, late, Good}, {5000, late, Good}, {50, good, Good}},
		"a link lost during a stop is known": {{0, good, Good}, {5000, link, LinkDown}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewGuard(GuardConfig{})
			now := int64(1_000_000)
			for i, s := range steps {
				now += s.after
				if got := g.Step(now, s.s); got != s.want {
					t.Fatalf("step %d: got %q, want %q", i, got, s.want)
				}
			}
		})
	}
}

// The property: routes never return within RecoverMs of a bad sample.
func TestGuardNeverReturnsEarly(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 2))
		g := NewGuard(GuardConfig{})
		now, bad, allowed := int64(0), int64(-1), true
		for range 400 {
			now += int64(20 + r.IntN(100))
			s := Sample{LinkUp: r.IntN(40) != 0, HeartbeatAgeMs: int64(r.IntN(205)), EchoAgeMs: -1}
			v := g.Step(now, s)
			if g.judge(s) != Good {
				bad = now
			}
			if !allowed && v == Good && now-bad < 1000 {
				t.Fatalf("seed %d: back after %d ms", seed, now-bad)
			}
			allowed = v == Good
		}
	}
}

func TestVerdictNames(t *testing.T) {
	seen := map[string]bool{}
	for v := range NumVerdicts {
		if n := v.String(); n == "" || seen[n] {
			t.Errorf("verdict %d has the name %q", v, n)
		} else {
			seen[n] = true
		}
	}
	if NumVerdicts.String() != "unknown" {
		t.Error("an unknown verdict has a name")
	}
}
