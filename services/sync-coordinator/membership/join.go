package membership

import (
	"fmt"
	"net"
	"slices"
	"strconv"
)

// JoinRequest is what a node asks for at its start.
type JoinRequest struct {
	Name           string
	ControlAddress string // host:port on which its gRPC server is reached
	// StoredInc is the highest incarnation that the node itself remembers; 0 is none.
	StoredInc uint64
	// ProcessID names the process; the same one asking again is given the same life. Empty never matches.
	ProcessID  string
	SyncPort   uint16 // 0 is DefaultSyncPort
	IPv4, IPv6 bool   // the families that it wants

	Workers       uint32
	Version       string
	DataAddresses []string
}

func (r *JoinRequest) check() error {
	switch {
	case !validName(r.Name):
		return fmt.Errorf("%w: %q", ErrName, r.Name)
	case !validAddress(r.ControlAddress):
		return fmt.Errorf("%w: %q", ErrAddress, r.ControlAddress)
	case !r.IPv4 && !r.IPv6:
		return ErrFamily
	case len(r.ProcessID) > 64, len(r.Version) > 128, len(r.DataAddresses) > 64:
		return ErrTooLong
	}
	for _, a := range r.DataAddresses {
		if len(a) > 64 {
			return ErrTooLong
		}
	}
	return nil
}

// Join gives a node its id, a new incarnation, sync addresses and, where there are any to give, blocks. Every lower
// incarnation of it is fenced from now on. now is unix milliseconds: an incarnation is never below it, so that one given
// after the loss of every store is still above those before.
func (m *Machine) Join(now int64, r JoinRequest) (Node, error) {
	if err := r.check(); err != nil {
		return Node{}, err
	}
	n := m.st.Named(r.Name)
	switch {
	case n != nil && n.Member() && r.ProcessID != "" && n.ProcessID == r.ProcessID:
		return *n, nil
	case (n == nil || !n.Member()) && m.st.Members() >= MaxMembers:
		return Node{}, fmt.Errorf("%w: %d members", ErrTooMany, MaxMembers)
	case n == nil && len(m.st.Nodes) >= MaxNodes:
		return Node{}, fmt.Errorf("%w: %d node names", ErrTooMany, MaxNodes)
	}
	if n != nil && m.mustWait(now, n) {
		return Node{}, &BackOffError{Name: n.Name, Until: n.JoinAfter, Lives: n.Setbacks}
	}
	next := Node{ID: uint32(len(m.st.Nodes) + 1), Name: r.Name}
	over := uint64(0) // the life that ends by this one
	if n != nil {
		next = *n
		if n.Member() {
			over = n.Inc
			m.ended(now, &next, false)
		}
	}
	next.Sip4 = m.sip(next.Sip4, r.IPv4, true)
	next.Sip6 = m.sip(next.Sip6, r.IPv6, false)
	if !next.Sip4.IsValid() && !next.Sip6.IsValid() {
		return Node{}, ErrNoSip
	}
	fenced := max(next.Fenced, next.Inc, r.StoredInc)
	next.Inc = max(fenced+1, uint64(max(now, 0)))
	next.Fenced = fenced
	next.Cause, next.Degraded, next.Reason = CauseNone, CauseNone, ""
	next.ControlAddress, next.SyncPort = r.ControlAddress, r.SyncPort
	if next.SyncPort == 0 {
		next.SyncPort = DefaultSyncPort
	}
	next.IPv4, next.IPv6, next.ProcessID = r.IPv4, r.IPv6, r.ProcessID
	next.Workers, next.Version, next.DataAddresses = r.Workers, r.Version, slices.Clone(r.DataAddresses)
	next.JoinedAt = now
	m.enter(now, &next, Joining)
	if n == nil {
		m.st.Nodes = append(m.st.Nodes, next)
	} else {
		*n = next
	}
	m.obs[next.ID] = newObservation(now)
	for _, o := range m.obs {
		o.forget(next.ID)
	}
	m.lease(m.st.Node(next.ID))
	m.touchSet()
	if over != 0 {
		m.say(Event{Kind: NodeFenced, Node: next.ID, Inc: over})
	}
	m.say(Event{Kind: NodeJoined, Node: next.ID, Inc: next.Inc})
	m.settle(now)
	return *m.st.Node(next.ID), nil
}

// mustWait says whether a node is held back. A new process is the word that the former one is over, so a life that is
// still in the view ends here, whether the next one may begin yet or not.
func (m *Machine) mustWait(now int64, n *Node) bool {
	if !n.Member() {
		return m.heldBack(now, n)
	}
	after := *n
	m.ended(now, &after, false)
	if !m.heldBack(now, &after) {
		return false
	}
	m.remove(now, n, CauseRestarted, false)
	m.settle(now)
	return true
}

// Leave takes a life out of the view on its own word, whatever the witnesses say. For a life that the machine removed it
// is the word that the node is not expected back, which makes room for the next removal.
func (m *Machine) Leave(now int64, id uint32, inc uint64) error {
	n := m.st.Node(id)
	switch {
	case n == nil:
		return ErrUnknownNode
	case n.Inc != inc:
		return fmt.Errorf("%w: %d, newest is %d", ErrStaleInc, inc, n.Inc)
	}
	if n.Member() {
		m.remove(now, n, CauseLeft, false)
	}
	m.unmark(n)
	m.settle(now)
	return nil
}

// Drain stops new sessions on a node. The data plane does the rest and leaves. Without force the last admitted node is
// not drained.
func (m *Machine) Drain(now int64, name string, force, validateOnly bool) error {
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
	case !force && !slices.ContainsFunc(m.st.Nodes, func(o Node) bool { return o.ID != n.ID && o.Phase == Admitted }):
		return fmt.Errorf("%w: %s", ErrLastNode, name)
	case validateOnly:
		return nil
	}
	m.enter(now, n, Draining)
	m.allocatable(n, false)
	m.touch()
	m.say(Event{Kind: NodeDraining, Node: n.ID, Inc: n.Inc})
	m.settle(now)
	return nil
}

func validName(s string) bool {
	if len(s) == 0 || len(s) > MaxNameLen || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
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
