// Package event carries session events from the workers to NATS. A worker puts an Event into a bounded ring and never
// waits; what does not fit is counted by the worker and announced as DESYNC, after which a reader lists the sessions anew.
package event

import "github.com/holdfast-lb/holdfast/dpd/internal/flow"

// Kind says what happened to a session. The numbers are those of holdfast.event.v1.SessionEventKind.
type Kind uint8

const (
	Created Kind = 1 + iota
	Established
	Closed
	Expired
	TakenOver
	Refused
	Desync
)

var kinds = [...]string{Created: "created", Established: "established", Closed: "closed", Expired: "expired",
	TakenOver: "taken_over", Refused: "refused", Desync: "desync"}

// String is the kind's token in subjects.
func (k Kind) String() string {
	if int(k) < len(kinds) && k != 0 {
		return kinds[k]
	}
	return "unknown"
}

// Event is one thing that happened: pointer-free but for Reason, which points to a constant.
type Event struct {
	Session flow.Session // after it; only Orig for Refused
	Former  flow.Node    // the owner before, for TakenOver
	Wall    uint64       // unix milliseconds
	Reason  string       // a stable snake_case constant, for Refused and Closed
	Worker  uint8
	Kind    Kind
}
