package membership

// Kind names what happened to a node or a block.
type Kind string

// Kinds of events.
const (
	NodeJoined   Kind = "joined"
	NodeReady    Kind = "ready"
	NodeAdmitted Kind = "admitted"
	NodeDraining Kind = "draining"
	NodeRemoved  Kind = "removed"
	// NodeAside: the joiner made no progress and was put aside.
	NodeAside Kind = "aside"
	// NodeFenced: this life was a member when a later one of the same node took its place.
	NodeFenced      Kind = "fenced"
	NodeDegraded    Kind = "degraded"
	NodeRecovered   Kind = "recovered"
	NodeControlLost Kind = "control_lost"
	NodeControlBack Kind = "control_back"
	// RemovalHeld: both witnesses speak against the node, but as many as the machine may remove are gone already.
	RemovalHeld Kind = "removal_held"
	// MemberLeftOut: Peer gave the joiner Node no stock in time; the gate no longer waits for it.
	MemberLeftOut Kind = "member_left_out"
	BlockLeased   Kind = "block_leased"
	BlockFreed    Kind = "block_freed"
	KeysRotating  Kind = "keys_rotating"
	KeysRotated   Kind = "keys_rotated"
	// KeysHeld: the rotation waits for this member to apply the keys.
	KeysHeld Kind = "keys_held"
	// KeysLeftOut: the rotation waited for this member for too long and goes on without it.
	KeysLeftOut Kind = "keys_left_out"
	// BlockHeld: the block has waited for a dead life's sessions for long, and member Peer says nothing that frees it.
	BlockHeld Kind = "block_held"
)

// Event is one thing that happened, for operators and subscribers. Fields that say nothing are zero.
type Event struct {
	Kind  Kind
	Node  uint32
	Inc   uint64
	Peer  uint32
	Block uint32
	Cause Cause
}
