package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// series is the trials of one kind at one rate.
type series struct {
	kind   string
	rate   int // 0: no attack
	trials []trial
	judged int     // the first of the trials whose admission is judged: a doubtful series is repeated
	beside []trial // of the control, by turns with the judged ones; none: those of all the run
}

// median of the admissions of trials.
func median(trials []trial) time.Duration {
	if len(trials) == 0 {
		return 0
	}
	return admissions(trials)[len(trials)/2]
}

func (s *series) worst() time.Duration {
	if len(s.trials) == 0 {
		return 0
	}
	return admissions(s.trials)[len(s.trials)-1]
}

func admissions(trials []trial) []time.Duration {
	var list []time.Duration
	for _, t := range trials {
		list = append(list, t.admission)
	}
	slices.Sort(list)
	return list
}

// total adds the trials up; its rate is the mean.
func (s *series) total() (sum trial) {
	sum.counters = counters{}
	for _, t := range s.trials {
		sum.took += t.took
		sum.sent.replies += t.sent.replies
		sum.sent.syncBytes += t.sent.syncBytes
		sum.sent.lost += t.sent.lost
		sum.rate += t.rate / float64(len(s.trials))
		sum.attacked += t.attacked
		sum.refused += t.refused
		sum.ended += t.ended
		sum.broken += t.broken
		for name, v := range t.counters {
			sum.counters[name] += v
		}
		if t.example != "" {
			sum.example = t.example
		}
	}
	return sum
}

// amplified is how many bytes nodes sent to each other for each byte of the flood, beyond what they
// send without one.
func (s *series) amplified(baseline *series) float64 {
	t, b := s.total(), baseline.total()
	if t.attacked == 0 || b.took == 0 {
		return 0
	}
	usual := float64(b.sent.syncBytes) / b.took.Seconds() * t.took.Seconds()
	return max(float64(t.sent.syncBytes)-usual, 0) / float64(t.attacked)
}

// result is all that was measured.
type result struct {
	maxDelay time.Duration // from which on an admission is delayed too long
	baseline series
	controls []series // by rate
	attacks  []series
}

// control is the series of the control at a rate.
func (r *result) control(rate int) *series {
	for i := range r.controls {
		if r.controls[i].rate == rate {
			return &r.controls[i]
		}
	}
	return &r.baseline
}

// delayed is what an attack cost beyond what the same flood to a closed port costs: the difference
// of both medians.
func (r *result) delayed(s *series) time.Duration {
	control := s.beside
	if len(control) == 0 {
		control = r.control(s.rate).trials
	}
	return max(median(s.trials[s.judged:])-median(control), 0)
}

// row is the line of one series.
func (r *result) row(s *series) string {
	t := s.total()
	line := fmt.Sprintf("%-15s %6d/s reached %6.0f  admission_ms median %5d worst %5d delayed %5d  "+
		"replies %d ended %d broken %d  amplification %.3f",
		s.kind, s.rate, t.rate, ms(median(s.trials[s.judged:])), ms(s.worst()), ms(r.delayed(s)),
		t.sent.replies, t.ended, t.broken, s.amplified(&r.baseline))
	if s.judged > 0 {
		line += fmt.Sprintf("  repeated beside the control of %d", ms(median(s.beside)))
	}
	if why := t.counters.refusals(4); why != "" {
		line += "  (" + why + ")"
	}
	if t.example != "" {
		line += "\n    " + t.example
	}
	return line
}

// maxAmplified is from when on members are made to send more than they were sent.
const maxAmplified = 1.0

// faults names what must not be.
func (r *result) faults() (list []string) {
	add := func(s *series, format string, args ...any) {
		list = append(list, fmt.Sprintf("%s at %d/s: "+format, append([]any{s.kind, s.rate}, args...)...))
	}
	for _, s := range append([]series{r.baseline}, append(slices.Clone(r.controls), r.attacks...)...) {
		t := s.total()
		if t.sent.replies > 0 {
			add(&s, "%d replies, %s", t.sent.replies, t.example)
		}
		if t.ended > 0 {
			add(&s, "%d data planes ended", t.ended)
		}
		if t.broken > 0 {
			add(&s, "%d connections broke, %s", t.broken, t.example)
		}
		if t.sent.lost > 0 {
			add(&s, "the capture missed %d frames", t.sent.lost)
		}
		if n := t.counters.panics(); n > 0 {
			add(&s, "%d panics", n)
		}
	}
	for _, s := range r.attacks {
		if d := r.delayed(&s); d >= r.maxDelay {
			add(&s, "admission is delayed by %d ms", ms(d))
		}
		if a := s.amplified(&r.baseline); a > maxAmplified {
			add(&s, "members sent %.1f times what was sent to them", a)
		}
	}
	return list
}

// line is the last line.
func (r *result) line() string {
	kinds, rates, reached := map[string]bool{}, []string{}, map[int][]float64{}
	var restarts, ended, broken int
	var replies uint64
	var worst, delayed time.Duration
	var amplified float64
	for _, s := range append(slices.Clone(r.controls), r.attacks...) {
		t := s.total()
		replies, ended, broken = replies+t.sent.replies, ended+t.ended, broken+t.broken
	}
	for _, s := range r.attacks {
		kinds[s.kind] = true
		if rate := fmt.Sprint(s.rate); !slices.Contains(rates, rate) {
			rates = append(rates, rate)
		}
		restarts += len(s.trials)
		reached[s.rate] = append(reached[s.rate], s.total().rate)
		worst, delayed = max(worst, s.worst()), max(delayed, r.delayed(&s))
		amplified = max(amplified, s.amplified(&r.baseline))
	}
	var typical []string // rates as reached, in the median
	for _, rate := range slices.Sorted(maps.Keys(reached)) {
		list := reached[rate]
		slices.Sort(list)
		typical = append(typical, fmt.Sprintf("%.0f", list[len(list)/2]))
	}
	return fmt.Sprintf("hostile: kinds=%d rates=%s reached=%s restarts=%d "+
		"replies=%d ended=%d broken=%d admission_ms_baseline=%d admission_ms_worst=%d "+
		"delayed_ms_worst=%d amplification_worst=%.2f",
		len(kinds), strings.Join(rates, ","), strings.Join(typical, ","), restarts,
		replies, ended, broken, ms(median(r.baseline.trials)), ms(worst), ms(delayed), amplified)
}

func ms(d time.Duration) int64 { return d.Milliseconds() }
