package membership

import "slices"

// judge removes members against whom both witnesses speak, and sets and clears the degraded flag.
//
// A node is silent when a majority of the other serving members whose own gRPC is alive, and at least one, hear no PROBE
// of it. Silent and its gRPC lost: removed at once. Silent alone, for a while: degraded. gRPC lost alone: only said,
// since a node whose control plane is away goes on. A joiner abstains: a peer that it has not met yet is silent to it.
//
// A node is deaf when nothing of its peers reaches it. For a while: degraded, so that no peer waits for its confirmation.
// A node that both witnesses speak against and that the limit on removals keeps is degraded too, for the same reason.
func (m *Machine) judge(now int64) {
	// From the highest id down, so that of two nodes that do not hear each other the lowest goes on allocating.
	for i := len(m.st.Nodes) - 1; i >= 0; i-- {
		n := &m.st.Nodes[i]
		if !n.Member() {
			continue
		}
		o := m.observe(now, n.ID)
		silent := m.silent(now, n)
		if silent && o.control == controlDown {
			if m.condemn(now, n, o); !n.Member() {
				continue
			}
		} else {
			o.held = false
		}
		if n.Serving() && o.control != controlUnknown {
			m.grade(now, n, o, silent)
		}
	}
}

// Suspected says whether a majority of the judges finds the node silent.
func (m *Machine) Suspected(now int64, id uint32) bool {
	n := m.st.Node(id)
	return n != nil && n.Member() && m.silent(now, n)
}

func (m *Machine) silent(now int64, n *Node) bool {
	judges, against := 0, 0
	for i := range m.st.Nodes {
		j := &m.st.Nodes[i]
		// A deaf node hears nobody: that says something of it alone.
		if j.ID == n.ID || !j.Serving() || !m.speaks(now, j) || j.Degraded == CauseDeaf {
			continue
		}
		judges++
		if m.obs[j.ID].silent[n.ID] == n.Inc {
			against++
		}
	}
	return majority(against, judges)
}

// majority is more than half of all, and at least one.
func majority(some, all int) bool { return some >= all/2+1 }

// deaf says whether what its peers send does not reach a node, although they live and are heard by others. The node says
// so itself: it hears no PROBE of a majority of them. Or a majority of those who hear it say so: what its PROBEs confirm
// does not go on.
func (m *Machine) deaf(now int64, n *Node) bool {
	peers, unheard, deafTo := 0, 0, 0
	for i := range m.st.Nodes {
		x := &m.st.Nodes[i]
		if x.ID == n.ID || !x.Serving() || !m.speaks(now, x) || x.Degraded == CauseSilent {
			continue
		}
		peers++
		if m.speaks(now, n) && m.obs[n.ID].silent[x.ID] == x.Inc {
			unheard++
		}
		for _, p := range m.obs[x.ID].report.Peers {
			if p.ID == n.ID && p.Inc == n.Inc && p.Unheard && !p.Suspected {
				deafTo++
				break
			}
		}
	}
	return majority(unheard, peers) || majority(deafTo, peers)
}

// condemn removes a node unless too many are gone already: at most max(1, a third) of the view before the first removal
// that is not undone. A node that serves nothing yet costs nothing and is not counted.
func (m *Machine) condemn(now int64, n *Node, o *observation) {
	if !n.Serving() {
		m.remove(now, n, CauseDead, false)
		return
	}
	serving, gone := 0, 0
	for i := range m.st.Nodes {
		if m.st.Nodes[i].Serving() {
			serving++
		}
		if m.st.Nodes[i].ByMachine {
			gone++
		}
	}
	base := m.st.Baseline
	if base == 0 {
		base = serving
	}
	if gone+1 > max(1, base/3) {
		if !o.held {
			o.held = true
			m.say(Event{Kind: RemovalHeld, Node: n.ID, Inc: n.Inc, Cause: CauseDead})
		}
		return
	}
	m.st.Baseline = base
	m.remove(now, n, CauseDead, true)
}

func (m *Machine) grade(now int64, n *Node, o *observation, silent bool) {
	why := CauseNone
	deaf := m.deaf(now, n)
	o.quiet = lasting(now, o.quiet, silent)
	o.deaf = lasting(now, o.deaf, deaf)
	switch {
	case silent && now-o.quiet >= m.cfg.Silence:
		why = CauseSilent
	case deaf && now-o.deaf >= m.cfg.Silence:
		why = CauseDeaf
	case m.clockOff(now, n, o):
		why = CauseClock
	}
	if why != CauseNone {
		o.ill = now
	}
	// Someone must allocate: the last well node that is reached is not degraded.
	if !m.anotherWell(n) {
		why = CauseNone
	} else if why == CauseNone && n.Degraded != CauseNone && now-o.ill < m.recovery(o) {
		return
	}
	if why == n.Degraded {
		return
	}
	kind := NodeDegraded
	switch {
	case why == CauseNone:
		kind = NodeRecovered
		o.well = now
	case n.Degraded != CauseNone:
		kind = "" // still degraded, for another reason
	case o.well != 0 && now-o.well < m.cfg.RelapseWithin:
		o.relapses = min(o.relapses+1, maxRelapses)
	default:
		o.relapses = 0
	}
	n.Degraded = why
	m.touch()
	if kind != "" {
		m.say(Event{Kind: kind, Node: n.ID, Inc: n.Inc, Cause: why})
	}
}

// lasting is since when something holds without a break; 0: it doesn't hold.
func lasting(now, since int64, holds bool) int64 {
	switch {
	case !holds:
		return 0
	case since == 0:
		return now
	}
	return since
}

// maxRelapses bounds the doubling of recovery.
const maxRelapses = 7

// recovery is how long a degraded node must be well before it allocates again. It doubles with each relapse: each turn is
// a new view, which costs all members, and a node that is ill now and then is the one to wait.
func (m *Machine) recovery(o *observation) int64 { return m.cfg.Recover << o.relapses }

func (m *Machine) anotherWell(n *Node) bool {
	return slices.ContainsFunc(m.st.Nodes, func(x Node) bool {
		o := m.obs[x.ID]
		return x.ID != n.ID && x.Phase == Admitted && x.Degraded == CauseNone && o != nil && o.control == controlUp
	})
}

// clockOff says whether the node's clock is too far off the median clock. Its own counts too, as 0, and of the middle two of an
// even number the nearer one: so of a few nodes the one that is off is degraded, and not those that disagree with it alone. The
// data planes judge themselves by the same rule.
func (m *Machine) clockOff(now int64, n *Node, o *observation) bool {
	if !m.speaks(now, n) {
		return false
	}
	var off []int64
	for _, p := range o.report.Peers {
		if x := m.st.Node(p.ID); p.ClockKnown && !p.Suspected && x != nil && x.Member() && x.Inc == p.Inc {
			off = append(off, p.ClockOffset)
		}
	}
	if len(off) == 0 {
		return false
	}
	off = append(off, 0)
	slices.Sort(off)
	low, high := off[(len(off)-1)/2], off[len(off)/2]
	return min(max(low, -low), max(high, -high)) > m.cfg.ClockOff
}
