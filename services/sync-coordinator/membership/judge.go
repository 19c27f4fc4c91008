package membership

import "slices"

// judge removes members against whom both witnesses speak, and sets and clears the degraded flag.
//
// A node is silent when a majority of the other serving members whose own gRPC is alive, and at least one, hear no PROBE
// of it. Silent and its gRPC lost: removed at once. Silent alone, for a while: degraded. gRPC lost alone: only said, since a node whose
// control plane is away goes on. A joiner abstains: a peer that it has not met yet is silent to it.
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
			m.condemn(now, n, o)
			continue
		}
		o.held = false
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
		if j.ID == n.ID || !j.Serving() || !m.speaks(now, j) {
			continue
		}
		judges++
		if m.obs[j.ID].silent[n.ID] == n.Inc {
			against++
		}
	}
	return against >= judges/2+1 // which no judge at all never reaches
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
	switch {
	case !silent:
		o.quiet = 0
	case o.quiet == 0:
		o.quiet = now
	}
	switch {
	case silent && now-o.quiet >= m.cfg.Silence:
		why = CauseSilent
	case m.clockOff(now, n, o):
		why = CauseClock
	}
	if why != CauseNone {
		o.ill = now
	}
	// Someone must allocate: the last well node that is reached is not degraded.
	if !m.anotherWell(n) {
		why = CauseNone
	} else if why == CauseNone && n.Degraded != CauseNone && now-o.ill < m.cfg.Recover {
		return
	}
	if why == n.Degraded {
		return
	}
	kind := NodeDegraded
	switch {
	case why == CauseNone:
		kind = NodeRecovered
	case n.Degraded != CauseNone:
		kind = "" // still degraded, for another reason
	}
	n.Degraded = why
	m.touch()
	if kind != "" {
		m.say(Event{Kind: kind, Node: n.ID, Inc: n.Inc, Cause: why})
	}
}

func (m *Machine) anotherWell(n *Node) bool {
	return slices.ContainsFunc(m.st.Nodes, func(x Node) bool {
		o := m.obs[x.ID]
		return x.ID != n.ID && x.Phase == Admitted && x.Degraded == CauseNone && o != nil && o.control == controlUp
	})
}

// clockOff says whether the node's clock is too far off the median of what its peers' clocks show.
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
	slices.Sort(off)
	k := len(off)
	median := off[k/2]/2 + off[(k-1)/2]/2
	return median > m.cfg.ClockOff || median < -m.cfg.ClockOff
}
