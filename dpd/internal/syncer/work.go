package syncer

const (
	// sendsPerMS is how many messages of bulk, lists and adoption all nodes together may make for
	// one worker of another in a millisecond: about half of what it takes in. A joiner hears them
	// all at once.
	sendsPerMS = 2048
	// workStep is how many slots are visited between two looks at what that made.
	workStep = 64
)

// pace is what is left of a millisecond's share of messages.
type pace struct {
	at   int64
	left int
}

// Work goes on with bulk, lists and adoption beyond what Tick does of them, for a worker that has
// nothing else to do. It visits up to slots slots of the store and stops once it has made sends
// actions, give or take a step. It reports whether there was anything to do. How many messages it
// makes in a millisecond is bounded by what the members can take.
func (s *Shard) Work(now int64, slots, sends int) bool {
	s.time(now)
	if s.pace.at != s.now {
		s.pace = pace{at: s.now, left: max(sendsPerMS/max(len(s.members), 1), workStep)}
	}
	began := len(s.out)
	most := began + min(sends, s.pace.left)
	visited := 0
	for visited < slots && len(s.out) < most && s.Busy() {
		step := min(workStep, slots-visited)
		s.jobs(step)
		visited += step
	}
	s.pace.left -= len(s.out) - began
	return visited > 0
}
