// Package verdict decides whether a server is up from the results of its checks: so many alike in a row turn it.
//
//	            rise successes in a row
//	unknown ──────────────────────────────> up
//	   │                                   │ ▲
//	   │ fall failures in a row            │ │ rise successes
//	   └───────────> down <────────────────┘ │
//	                   └─────────────────────┘
package verdict

// State of a server.
type State uint8

// The states. Unknown counts as up: a server that was never checked takes traffic.
const (
	Unknown State = iota
	Up
	Down
)

// Rule says how many results in a row turn a server; each is at least 1.
type Rule struct {
	Rise, Fall uint32
}

// Verdict is what is known of one server. The zero value is a server that was never checked.
type Verdict struct {
	State State
	// Streak is the number of results in a row that are like the last one, which Good tells.
	Streak uint32
	Good   bool
}

// Observe takes in a result and says whether the state changed.
func (v *Verdict) Observe(good bool, r Rule) bool {
	if v.Streak == 0 || v.Good != good {
		v.Good, v.Streak = good, 0
	}
	if v.Streak < 1<<32-1 {
		v.Streak++
	}
	next := v.State
	switch {
	case good && v.Streak >= max(r.Rise, 1):
		next = Up
	case !good && v.Streak >= max(r.Fall, 1):
		next = Down
	}
	changed := next != v.State
	v.State = next
	return changed
}
