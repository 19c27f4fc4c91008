package membership

import (
	"fmt"
	"slices"
	"time"
)

// BackOffError refuses a Join: too many lives of the node in a row ended before they were of use.
type BackOffError struct {
	Name  string
	Until int64 // unix milliseconds
	Lives uint32
}

// Error names the time from which on the node may join again.
func (e *BackOffError) Error() string {
	return fmt.Sprintf("membership: %s may join again at %s: %d lives in a row ended before they were of use",
		e.Name, time.UnixMilli(e.Until).UTC().Format(time.RFC3339), e.Lives)
}

// Is makes every BackOffError an ErrBackOff.
func (e *BackOffError) Is(target error) bool { return target == ErrBackOff }

// ended counts the end of a life, just before its phase changes. A life was of use when it was admitted for JoinStable,
// or when it was drained. Each change of the view costs every member, so a node whose lives are of no use may make only
// JoinFree of them at once. A life that was put aside has had its time already: the next one waits in any case.
func (m *Machine) ended(now int64, n *Node, aside bool) {
	switch {
	case n.Phase == Draining, n.Phase == Admitted && now-n.ChangedAt >= m.cfg.JoinStable:
		n.Setbacks, n.JoinAfter = 0, 0
		return
	case aside:
		n.Setbacks = max(n.Setbacks, m.cfg.JoinFree) + 1
	default:
		n.Setbacks++
	}
	n.JoinAfter = 0
	if pause := m.backOff(n.Setbacks); pause > 0 {
		n.JoinAfter = now + pause
	}
}

// backOff is the pause after so many lives in a row that were of no use: none for JoinFree of them, then JoinBackOff,
// doubling up to JoinBackOffMax.
func (m *Machine) backOff(setbacks uint32) int64 {
	if setbacks <= m.cfg.JoinFree || m.cfg.JoinBackOff <= 0 {
		return 0
	}
	return min(m.cfg.JoinBackOff<<min(setbacks-m.cfg.JoinFree-1, 20), m.cfg.JoinBackOffMax)
}

// heldBack says whether a node must wait before its next life. While nobody else serves there is nobody to spare. A time
// that is further away than the longest pause comes from a clock that was wrong.
func (m *Machine) heldBack(now int64, n *Node) bool {
	left := n.JoinAfter - now
	return left > 0 && left <= m.cfg.JoinBackOffMax && m.othersServe(n)
}

func (m *Machine) othersServe(n *Node) bool {
	return slices.ContainsFunc(m.st.Nodes, func(o Node) bool { return o.ID != n.ID && o.Serving() })
}

// forgive ends the count of lives that were of no use once one has been admitted for long enough.
func (m *Machine) forgive(now int64) {
	for i := range m.st.Nodes {
		if n := &m.st.Nodes[i]; n.Setbacks > 0 && n.Phase == Admitted && now-n.ChangedAt >= m.cfg.JoinStable {
			n.Setbacks, n.JoinAfter = 0, 0
			m.changed = true
		}
	}
}
