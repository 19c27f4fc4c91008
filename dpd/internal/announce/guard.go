package announce

// Verdict is why routes may or may not stand.
type Verdict uint8

// The verdicts. Good comes first so that a fresh Guard lets routes stand.
const (
	Good Verdict = iota
	LinkDown
	WorkerLate
	NextHopSilent
	Recovering // all is well again, but not for long enough
	NumVerdicts
)

var verdictNames = [NumVerdicts]string{"good", "link down", "worker late", "next hop silent", "recovering"}

// String names the verdict for logs and metrics.
func (v Verdict) String() string {
	if v < NumVerdicts {
		return verdictNames[v]
	}
	return "unknown"
}

// GuardConfig are the limits of a Guard, in milliseconds. Zero values mean the defaults.
type GuardConfig struct {
	WorkerLateMs int64 // a heartbeat older than this is late; 200
	EchoLateMs   int64 // no echo from the next hop for this long; 3000
	RecoverMs    int64 // good for this long before routes return; 1000
	Confirm      int   // samples in a row that must be bad for WorkerLate or NextHopSilent; 2
}

// Sample is what the process sees of itself at one moment.
type Sample struct {
	LinkUp         bool
	HeartbeatAgeMs int64 // of the oldest worker
	EchoAgeMs      int64 // since the last echo of any next hop; negative: none is asked
}

// Guard decides whether routes may stand. It holds no clock: the caller samples about every 50 ms and says when.
//
//	         bad (link: at once; else Confirm times in a row)
//	Good ────────────────────────────────────────────────────> LinkDown | WorkerLate | NextHopSilent
//	  ^                                                              │ all good
//	  └── good for RecoverMs ── Recovering <─────────────────────────┘
//	                                 └── bad once ──> back
//
// A sample that itself comes late says that the whole process was stopped: heartbeats are old then because nobody could
// beat, so it counts for nothing, and the next one decides.
type Guard struct {
	config  GuardConfig
	verdict Verdict
	streak  int
	since   int64 // start of Recovering
	last    int64
	begun   bool
}

// NewGuard makes a guard that lets routes stand.
func NewGuard(c GuardConfig) *Guard {
	def := func(v *int64, d int64) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&c.WorkerLateMs, 200)
	def(&c.EchoLateMs, 3000)
	def(&c.RecoverMs, 1000)
	if c.Confirm <= 0 {
		c.Confirm = 2
	}
	return &Guard{config: c}
}

// Step judges a sample taken at now (milliseconds of any monotonic clock) and returns the verdict.
func (g *Guard) Step(now int64, s Sample) Verdict {
	late := g.begun && now-g.last > g.config.WorkerLateMs
	g.last, g.begun = now, true
	seen := g.judge(s)
	if late && seen == WorkerLate {
		return g.verdict
	}
	if seen != Good {
		g.streak++
		if seen == LinkDown || g.verdict != Good || g.streak >= g.config.Confirm {
			g.verdict = seen
		}
		return g.verdict
	}
	g.streak = 0
	switch g.verdict {
	case Good:
	case Recovering:
		if now-g.since >= g.config.RecoverMs {
			g.verdict = Good
		}
	default:
		g.verdict, g.since = Recovering, now
	}
	return g.verdict
}

func (g *Guard) judge(s Sample) Verdict {
	switch {
	case !s.LinkUp:
		return LinkDown
	case s.HeartbeatAgeMs > g.config.WorkerLateMs:
		return WorkerLate
	case s.EchoAgeMs > g.config.EchoLateMs:
		return NextHopSilent
	}
	return Good
}
