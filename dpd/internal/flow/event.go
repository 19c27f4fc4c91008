package flow

// EventKind says what happened to a session. The numbers are those of holdfast.event.v1.SessionEventKind.
type EventKind uint8

const (
	EventCreated EventKind = 1 + iota
	EventEstablished
	EventClosed
	EventExpired
	EventTakenOver
	EventRefused
	EventDesync // events were lost; a reader lists the sessions anew
)

var eventNames = [...]string{EventCreated: "created", EventEstablished: "established", EventClosed: "closed",
	EventExpired: "expired", EventTakenOver: "taken_over", EventRefused: "refused", EventDesync: "desync"}

// String is the kind's token in NATS subjects.
func (k EventKind) String() string {
	if int(k) < len(eventNames) && k != 0 {
		return eventNames[k]
	}
	return "unknown"
}

// Event is one thing that happened to a session of a worker.
type Event struct {
	Session Session // after it; only Orig for EventRefused
	Former  Node    // the owner before, for EventTakenOver
	Wall    uint64  // unix milliseconds
	Reason  string  // a stable snake_case constant, for EventRefused and EventClosed
	Worker  uint8
	Kind    EventKind
}
