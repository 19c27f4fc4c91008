package membership

import (
	"fmt"
	"net"
	"slices"
	"strconv"
)

// Config holds the times and shares of the rules. Times are milliseconds.
type Config struct {
	// ReadyPercent of the expected stock must have arrived before a joiner is let in.
	ReadyPercent uint64
	// BeginGrace is how long a member may keep a joiner waiting for its BULK_BEGIN before it is reported and left out.
	BeginGrace int64
	// BulkRepeat is how often a member that has not begun is asked again for its stock.
	BulkRepeat int64
	// FenceSettle is the age that a member's fencing of a dead life must have before its "no record" frees a block. No
	// datagram older than this is accepted, so after it nothing of the dead life can still arrive.
	FenceSettle int64
	// ReportFresh is the age up to which a report counts.
	ReportFresh int64
	// Recover is how long a degraded member must be well before it allocates again.
	Recover int64
	// ClockOff is the distance from the median clock at which a member is degraded.
	ClockOff int64
	// KeySettle is how long a key stays readable after the last member stopped sealing with it.
	KeySettle int64
}

// DefaultConfig has the values of the design.
func DefaultConfig() Config {
	return Config{
		ReadyPercent: 70,
		BeginGrace:   10_000,
		BulkRepeat:   2_000,
		FenceSettle:  5_000,
		ReportFresh:  2_000,
		Recover:      2_000,
		ClockOff:     500,
		KeySettle:    10_000,
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
	keysSettled int64  // when every member was seen to seal with the active key; 0 is not yet

	changed bool // State differs from what was last taken
	bump    bool // and a data plane can see it
	setDiff bool // and the set of lives changed
	events  []Event
	bulk    []BulkOrder
}

// New starts the machine from what was stored. The view becomes max(stored, reported) + 1, so a coordinator whose store
// is behind never offers a data plane a view that it must refuse. keys are used only when the store has none.
func New(cfg Config, stored State, reported uint64, keys Secrets) *Machine {
	m := &Machine{cfg: cfg, st: stored.Clone(), obs: map[uint32]*observation{}, maxReported: reported}
	if m.st.Keys.Generation == 0 {
		m.st.Keys = newKeyring(keys)
	}
	m.changed, m.bump, m.setDiff = true, true, true
	return m
}

// State is a copy of the present state; it may not have been taken yet.
func (m *Machine) State() State { return m.st.Clone() }

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
	m.turnKeys(now)
}

// JoinRequest is what a node asks for at its start.
type JoinRequest struct {
	Name           string
	ControlAddress string // host:port on which its gRPC server is reached
	// StoredInc is the highest incarnation that the node itself remembers; 0 is none.
	StoredInc uint64
	SyncPort  uint16
	Workers   uint32
	// View is the highest view that the node ever applied.
	View uint64
}

// Join gives a node its id, a new incarnation, sync addresses and, when there is one to give, a block. Every lower
// incarnation of it is fenced from now on. now is unix milliseconds: an incarnation is never below it, so that one given
// after the loss of every store is still above those before.
func (m *Machine) Join(now int64, r JoinRequest) (Node, error) {
	if !validName(r.Name) {
		return Node{}, fmt.Errorf("%w: %q", ErrName, r.Name)
	}
	if !validAddress(r.ControlAddress) {
		return Node{}, fmt.Errorf("%w: %q", ErrAddress, r.ControlAddress)
	}
	n := m.st.Named(r.Name)
	if (n == nil || !n.Member()) && m.st.Members() >= MaxMembers {
		return Node{}, fmt.Errorf("%w: %d members", ErrTooMany, MaxMembers)
	}
	if n == nil && len(m.st.Nodes) >= MaxNodes {
		return Node{}, fmt.Errorf("%w: %d node names", ErrTooMany, MaxNodes)
	}
	// Everything that can refuse comes before the first change.
	id := uint32(len(m.st.Nodes) + 1)
	next := Node{ID: id, Name: r.Name}
	if n != nil {
		next = *n
	}
	if !m.inSipPools(next.Sip4) {
		next.Sip4 = m.freeSip(true)
	}
	if !m.inSipPools(next.Sip6) {
		next.Sip6 = m.freeSip(false)
	}
	if !next.Sip4.IsValid() && !next.Sip6.IsValid() {
		return Node{}, ErrNoSip
	}
	fenced := max(next.Fenced, next.Inc, r.StoredInc)
	next.Inc = max(fenced+1, uint64(max(now, 0)))
	next.Fenced = fenced
	next.Phase, next.Cause, next.Degraded = Joining, CauseNone, CauseNone
	next.ControlAddress, next.SyncPort, next.Workers = r.ControlAddress, r.SyncPort, r.Workers
	if n == nil {
		m.st.Nodes = append(m.st.Nodes, next)
	} else {
		*m.st.Node(n.ID) = next
	}
	m.maxReported = max(m.maxReported, r.View)
	m.obs[next.ID] = newObservation(now)
	for _, o := range m.obs {
		o.forget(next.ID)
	}
	m.lease(m.st.Node(next.ID))
	m.touchSet()
	m.say(Event{Kind: NodeJoined, Node: next.ID, Inc: next.Inc})
	m.settle(now)
	return *m.st.Node(next.ID), nil
}

// Leave takes a node out of the view because it said so itself.
func (m *Machine) Leave(now int64, id uint32, inc uint64) error {
	n := m.st.Node(id)
	switch {
	case n == nil:
		return ErrUnknownNode
	case n.Inc != inc:
		return fmt.Errorf("%w: %d, newest is %d", ErrStaleInc, inc, n.Inc)
	case !n.Member():
		return nil // said twice
	}
	m.remove(n, CauseLeft, false)
	m.settle(now)
	return nil
}

// Remove takes a node out of the view because an operator said so, whatever the witnesses say. For a node that the
// machine removed it is the word that the node is not expected back, which makes room for the next removal.
func (m *Machine) Remove(now int64, name string) error {
	n := m.st.Named(name)
	if n == nil {
		return fmt.Errorf("%w: %s", ErrUnknownNode, name)
	}
	if n.Member() {
		m.remove(n, CauseOperator, false)
	}
	m.unmark(n)
	m.settle(now)
	return nil
}

// Drain stops new sessions on a node. The data plane does the rest and leaves.
func (m *Machine) Drain(now int64, name string) error {
	n := m.st.Named(name)
	switch {
	case n == nil:
		return fmt.Errorf("%w: %s", ErrUnknownNode, name)
	case !n.Member():
		return fmt.Errorf("%w: %s", ErrNotMember, name)
	case n.Phase == Draining:
		return nil
	case n.Phase != Admitted:
		return fmt.Errorf("%w: %s is %s", ErrPhase, name, n.Phase)
	}
	n.Phase = Draining
	if b := m.st.Holds(n.ID, n.Inc); b != nil {
		b.Allocatable = false
	}
	m.touch()
	m.say(Event{Kind: NodeDraining, Node: n.ID, Inc: n.Inc})
	m.settle(now)
	return nil
}

func (m *Machine) remove(n *Node, why Cause, byMachine bool) {
	n.Phase, n.Cause, n.Degraded, n.ByMachine = Removed, why, CauseNone, byMachine || n.ByMachine
	n.Fenced = max(n.Fenced, n.Inc)
	if b := m.st.Holds(n.ID, n.Inc); b != nil {
		b.Allocatable = false
	}
	m.touchSet()
	m.say(Event{Kind: NodeRemoved, Node: n.ID, Inc: n.Inc, Cause: why})
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

func (m *Machine) touch()    { m.changed, m.bump = true, true }
func (m *Machine) touchSet() { m.changed, m.bump, m.setDiff = true, true, true }

func (m *Machine) say(e Event) { m.events = append(m.events, e) }

func validName(s string) bool {
	if len(s) == 0 || len(s) > MaxNameLen {
		return false
	}
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !alnum && (c != '-' || i == 0 || i == len(s)-1) {
			return false
		}
	}
	return true
}

func validAddress(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || len(s) > 255 {
		return false
	}
	p, err := strconv.ParseUint(port, 10, 16)
	return err == nil && p > 0
}
