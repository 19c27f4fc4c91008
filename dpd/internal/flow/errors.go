package flow

import "errors"

// Refusals of a session store. Stores return these very values or wrap them.
var (
	// ErrOrigTaken: another record that is neither reply-only nor a tombstone owns the original tuple.
	ErrOrigTaken = errors.New("flow: original tuple taken")
	// ErrReplyTaken: another record owns the reply tuple.
	ErrReplyTaken = errors.New("flow: reply tuple taken")
	// ErrFull: the store has no room and nothing that may be evicted.
	ErrFull = errors.New("flow: session store full")
)
