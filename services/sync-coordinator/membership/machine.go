package membership

import "slices"

// Config holds the times and shares of the rules. Times are milliseconds.
type Config struct {
	// ReadyPercent of the expected stock must have arrived before a joiner is let in.
	ReadyPercent uint64
	// BeginGrace is how long a member may keep a joiner waiting for its BULK_BEGIN before it is reported and left out.
	BeginGrace int64
	// BulkRepeat is how often a member that has not begun is asked again for its stock.
	BulkRepeat int64
	// TombAge is the longest life of a tombstone on a member whose links are well.
	TombAge int64
	// FenceSettle is the age that a member's fencing of a dead life must have before its "no record" frees a block. No
	// datagram older than this is accepted, so after it nothing of the dead life can still arrive.
	FenceSettle int64
	// ReportFresh is the age up to which a report counts.
	ReportFresh int64
	// RelayFresh is the age up to which a member's word counts that came by a peer: as long as a data plane keeps it.
	RelayFresh int64
	// Silence is how long a member whose gRPC is alive must be silent before it is degraded. There is no hurry: its peers
	// take over what they see packets of by themselves, and a loaded machine is silent for a moment now and then.
	Silence int64
	// Recover is how long a degraded member must be well before it allocates again.
	Recover int64
	// RelapseWithin is the time after a recovery in which the next illness counts as a relapse.
	RelapseWithin int64
	// ClockOff is the distance from the median clock at which a member is degraded.
	ClockOff int64
	// JoinBound is how long a joiner may make no progress before it is put aside; 0 is for ever.
	JoinBound int64
	// JoinFree is how many lives in a row may end before they were of use until the node must wait; then it waits
	// JoinBackOff, twice as long each time, up to JoinBackOffMax. A JoinBackOff of 0 never makes it wait.
	JoinFree                    uint32
	JoinBackOff, JoinBackOffMax int64
	// JoinStable is how long a life must have been admitted to have been of use.
	JoinStable int64
	// KeyNotice is how long a member may keep a step of a key rotation waiting before it is reported, and KeyPatience the
	// age at which the rotation goes on without such members; 0 is never.
	KeyNotice, KeyPatience int64
	// BlockNotice is how long a member may keep a dead life's block from being free before it is reported. There is no
	// bound: nobody waits for it, since the block can be leased all the same, see lease.
	BlockNotice int64
	// KeySettle is how long a key stays readable after the last member stopped sealing with it.
	KeySettle int64
}

// DefaultConfig has the values of the design.
func DefaultConfig() Config {
	return Config{
		ReadyPercent:  70,
		BeginGrace:    10_000,
		BulkRepeat:    2_000,
		TombAge:       60_000,
		FenceSettle:   5_000,
		ReportFresh:   2_000,
		RelayFresh:    10_000,
		Silence:       1_500,
		Recover:       2_000,
		RelapseWithin: 600_000,
		ClockOff:      500,
		KeySettle:     10_000,
		KeyNotice:     60_000,
		KeyPatience:   24 * 3_600_000,
		BlockNotice:   600_000,

		JoinBound:      60_000,
		JoinFree:       5,
		JoinBackOff:    10_000,
		JoinBackOffMax: 600_000,
		JoinStable:     60_000,
	}
}

// Outcome is what an event led to. When Changed, State must be written before anything else of the outcome is acted on,
// and the machine must be thrown away when the write is refused.
type Outcome struct {
	Changed bool
	State   State
	Events  []Event
	Bulk    []BulkOrder
}

// BulkOrder asks member From to send its stock to the joiner To.
type BulkOrder struct {
	From, To       uint32
	FromInc, ToInc uint64
}

// Machine is the membership of one cluster. It is used by one goroutine.
//
// Invariant: ids and incarnations only rise; the view rises with every change that a data plane can see; a block has one
// holder; no two lives of the view share a sync address.
type Machine struct {
	cfg Config
	st  State
	obs map[uint32]*observation

	maxReported uint64 // highest view that any data plane was seen to run
	setView     uint64 // view of the last change of who is a member under which incarnation
	keysAsked   int64  // when the step of the rotation began that is waited for; 0 is none
	keysSaid    map[uint32]Kind
	blocksDead  map[uint32]waiting // of blocks that wait for a dead life's sessions, by id
	keysSettled int64              // when every member was seen to seal with the active key; 0 is not yet

	changed bool // State differs from what was last taken
	bump    bool // and a data plane can see it
	setDiff bool // and the set of lives changed
	events  []Event
	bulk    []BulkOrder
	relays  Relays
}

// New starts the machine from what was stored. The view becomes max(stored, reported) + 1, so a coordinator whose store
// is behind never offers a data plane a view that it must refuse. keys are used only when the store has none.
func New(cfg Config, stored State, reported uint64, keys Secrets) *Machine {
	m := &Machine{cfg: cfg, st: stored.Clone(), obs: map[uint32]*observation{}, blocksDead: map[uint32]waiting{}}
	if believable(stored.View, reported) {
		m.maxReported = reported
	}
	if m.st.Keys.Generation == 0 {
		m.st.Keys = newKeyring(keys)
	}
	m.changed, m.bump, m.setDiff = true, true, true
	return m
}

// State is a copy of the present state; it may not have been taken yet.
func (m *Machine) State() State { return m.st.Clone() }

// Named is a copy of the node with that name.
func (m *Machine) Named(name string) (Node, bool) {
	if n := m.st.Named(name); n != nil {
		return *n, true
	}
	return Node{}, false
}

// Node is a copy of the node with that id.
func (m *Machine) Node(id uint32) (Node, bool) {
	if n := m.st.Node(id); n != nil {
		return *n, true
	}
	return Node{}, false
}

// Take returns what the events since the last Take led to, and forgets it.
func (m *Machine) Take() Outcome {
	if m.bump {
		m.st.View = max(m.st.View, m.maxReported) + 1
		m.changed = true
	}
	if m.setDiff {
		m.setView = m.st.View
	}
	o := Outcome{Changed: m.changed, Events: m.events, Bulk: m.bulk}
	if m.changed {
		o.State = m.st.Clone()
	}
	m.changed, m.bump, m.setDiff, m.events, m.bulk = false, false, false, nil, nil
	return o
}

// Tick lets time pass.
func (m *Machine) Tick(now int64) { m.settle(now) }

// settle applies every rule that depends on observations and time.
func (m *Machine) settle(now int64) {
	m.judge(now)
	m.reclaim(now)
	m.leaseWaiting()
	m.gates(now)
	m.putAside(now)
	m.forgive(now)
	m.turnKeys(now)
}

func (m *Machine) remove(now int64, n *Node, why Cause, byMachine bool) {
	m.ended(now, n, why == CauseAside)
	m.enter(now, n, Removed)
	n.Cause, n.Degraded, n.ByMachine = why, CauseNone, byMachine || n.ByMachine
	n.Fenced = max(n.Fenced, n.Inc)
	m.allocatable(n, false)
	m.touchSet()
	kind := NodeRemoved
	if why == CauseAside {
		kind = NodeAside
	}
	m.say(Event{Kind: kind, Node: n.ID, Inc: n.Inc, Cause: why})
	m.giveBack(n)
}

// unmark ends a node's part in the limit on removals by machine.
func (m *Machine) unmark(n *Node) {
	if !n.ByMachine {
		return
	}
	n.ByMachine = false
	m.changed = true
	if !slices.ContainsFunc(m.st.Nodes, func(o Node) bool { return o.ByMachine }) {
		m.st.Baseline = 0
	}
}

func (m *Machine) enter(now int64, n *Node, p Phase) { n.Phase, n.ChangedAt = p, now }

// allocatable opens or closes every block that the node's present life holds.
func (m *Machine) allocatable(n *Node, open bool) {
	for i := range m.st.Blocks {
		if b := &m.st.Blocks[i]; b.Holder == n.ID && b.HolderInc == n.Inc {
			b.Allocatable = open
			b.Used = b.Used || open
		}
	}
}

func (m *Machine) touch()    { m.changed, m.bump = true, true }
func (m *Machine) touchSet() { m.changed, m.bump, m.setDiff = true, true, true }

func (m *Machine) say(e Event) { m.events = append(m.events, e) }
