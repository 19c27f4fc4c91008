package main

import (
	"strings"
	"testing"
	"time"
)

func of(kind string, rate int, trials ...trial) series {
	return series{kind: kind, rate: rate, trials: trials}
}

func (s series) at(rate float64) series {
	for i := range s.trials {
		s.trials[i].rate = rate
	}
	return s
}

func after(list ...int) (trials []trial) {
	for _, n := range list {
		trials = append(trials, trial{
			admission: time.Duration(n) * time.Millisecond, took: time.Second, sent: tally{syncBytes: 1000}, attacked: 2000,
		})
	}
	return trials
}

func goodResult() result {
	return result{
		maxDelay: time.Second,
		baseline: of("baseline", 0, after(4000, 4100, 4500)...),
		controls: []series{
			of("closed-port", 3000, after(4200, 4300, 4400)...), of("closed-port", 58000, after(6000, 6100, 9000)...),
		},
		attacks: []series{
			of("random-bytes", 3000, after(4200, 5200, 5900)...).at(2990),
			of("random-bytes", 58000, after(6000, 7000, 9000)...).at(48000),
			of("salt-zero", 3000, after(4200, 4300, 9900)...).at(2980),
		},
	}
}

func TestLineIsWhatIssueAsksFor(t *testing.T) {
	r := goodResult()
	want := "hostile: kinds=2 rates=3000,58000 reached=2990,48000 restarts=9 replies=0 ended=0 broken=0 " +
		"admission_ms_baseline=4100 admission_ms_worst=9900 delayed_ms_worst=900 amplification_worst=0.00"
	if got := r.line(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if f := r.faults(); len(f) != 0 {
		t.Errorf("faults of a good run: %v", f)
	}
}

func TestFaults(t *testing.T) {
	for name, row := range map[string]struct {
		spoil func(*result)
		want  string
	}{
		"a reply":                   {func(r *result) { r.attacks[0].trials[1].sent.replies = 3 }, "3 replies"},
		"a reply to the control":    {func(r *result) { r.controls[0].trials[1].sent.replies = 1 }, "1 replies"},
		"a data plane that ended":   {func(r *result) { r.attacks[1].trials[0].ended = 1 }, "1 data planes ended"},
		"a connection that broke":   {func(r *result) { r.attacks[2].trials[2].broken = 2 }, "2 connections broke"},
		"a capture with holes":      {func(r *result) { r.attacks[0].trials[0].sent.lost = 9 }, "missed 9 frames"},
		"a panic that was caught":   {func(r *result) { r.attacks[0].trials[0].counters = counters{"sync_panics": 1} }, "1 panics"},
		"an admission that is late": {func(r *result) { r.attacks[1].trials = after(7100, 7100, 7100) }, "delayed by 1000 ms"},
		"answers beyond questions":  {func(r *result) { r.attacks[1].trials[0].sent.syncBytes = 20_000 }, "members sent 3.2 times"},
	} {
		r := goodResult()
		row.spoil(&r)
		if f := r.faults(); len(f) != 1 || !strings.Contains(f[0], row.want) {
			t.Errorf("%s: %v", name, f)
		}
	}
}

// A series that was repeated is judged by what came then, beside its own control; what else it met
// still counts.
func TestRepeatedSeries(t *testing.T) {
	r := goodResult()
	s := &r.attacks[0]
	s.trials = append(after(9000, 9000, 9000), after(6000, 6500, 6600)...)
	s.judged, s.beside = 3, after(5800, 5900, 9000)
	if got := r.delayed(s); got != 600*time.Millisecond {
		t.Errorf("delayed by %v", got)
	}
	s.trials[0].sent.replies = 1
	if f := r.faults(); len(f) != 1 {
		t.Errorf("%v", f)
	}
}

func TestCounters(t *testing.T) {
	page := `# HELP holdfast_dpd_node x
holdfast_dpd_node{name="sync_sent"} 100
holdfast_dpd_node{name="sync_limited"} 7
holdfast_dpd_node{name="other"} 7
holdfast_dpd_worker{worker="0",name="panics"} 1
holdfast_dpd_worker{worker="1",name="panics"} 2
holdfast_dpd_dropped_packets_total{worker="0",reason="no_session"} 5
holdfast_dpd_dropped_packets_total{worker="1",reason="no_session"} 6
go_goroutines 8
`
	c := readCounters(strings.NewReader(page))
	if c["sync_sent"] != 100 || c["dropped_no_session"] != 11 || len(c) != 5 || c.panics() != 3 {
		t.Errorf("%v", c)
	}
	if got := c.refusals(1); got != "dropped_no_session 11" {
		t.Errorf("%q", got)
	}
	again := counters{"sync_sent": 10, "sync_limited": 3}
	sum := grown([]counters{{"sync_sent": 60, "sync_limited": 6}, {"sync_sent": 50, "sync_limited": 1}}, []counters{c, again})
	if sum["sync_sent"] != 50 || sum["sync_limited"] != 4 {
		t.Errorf("%v", sum)
	}
}

func TestPlan(t *testing.T) {
	for name, row := range map[string]struct {
		only, rates string
		restarts    int
		good        bool
	}{
		"all":              {"", "", 3, true},
		"some":             {"salt-zero,reflected", "1000", 1, true},
		"no such kind":     {"salt", "", 3, false},
		"no number":        {"", "fast", 3, false},
		"no restart":       {"", "", 0, false},
		"a rate of nought": {"", "0", 1, false},
	} {
		if _, err := planOf(false, row.only, row.rates, row.restarts); (err == nil) != row.good {
			t.Errorf("%s: %v", name, err)
		}
	}
	if p, err := planOf(true, "", "", 3); err != nil || len(p.kinds) != len(shortKinds) || p.restarts != 1 {
		t.Errorf("short: %+v %v", p, err)
	}
}
