package membership

// gates moves joiners on: to ready when they have enough of the stock and may allocate, to admitted when their routes
// stand. It also orders the stock that they still lack.
func (m *Machine) gates(now int64) {
	for i := range m.st.Nodes {
		n := &m.st.Nodes[i]
		o := m.obs[n.ID]
		if o == nil || !m.speaks(now, n) {
			continue
		}
		switch n.Phase {
		case Joining:
			m.orderStock(now, n, o)
			if !m.gate(now, n, o) {
				continue
			}
			m.enter(now, n, Ready)
			m.allocatable(n, true)
			o.readyView = max(m.st.View, m.maxReported) + 1
			m.touch()
			m.say(Event{Kind: NodeReady, Node: n.ID, Inc: n.Inc})
		case Ready:
			if !o.report.Settled || o.report.View < o.readyView {
				continue
			}
			m.enter(now, n, Admitted)
			m.unmark(n)
			m.touch()
			m.say(Event{Kind: NodeAdmitted, Node: n.ID, Inc: n.Inc})
		}
	}
}

func (m *Machine) others(n *Node) func(func(*Node) bool) {
	return func(yield func(*Node) bool) {
		for i := range m.st.Nodes {
			if x := &m.st.Nodes[i]; x.ID != n.ID && x.Member() && !yield(x) {
				return
			}
		}
	}
}

// gate says whether a joiner may be let in. It looks only at a report that runs the present set of lives: an older one
// does not know whom it lacks. A joiner that is settled before it may allocate has either had every member's whole stock
// or does not synchronise at all: there is nothing to wait for.
func (m *Machine) gate(now int64, n *Node, o *observation) bool {
	if m.setDiff || o.report.View < m.setView {
		return false
	}
	var expected, received uint64
	open, whole := false, true
	for x := range m.others(n) {
		if m.dead(o, x) {
			continue
		}
		begun := false
		for _, b := range o.report.Bulk {
			if b.ID == x.ID && b.Inc == x.Inc && b.Begun {
				begun = true
				expected += b.Expected
				received += min(b.Received, b.Expected)
				whole = whole && b.Ended
			}
		}
		if begun && greeted(o.report.Peers, x) {
			continue
		}
		whole = false
		if o.report.Settled {
			continue
		}
		if now-o.began < m.cfg.BeginGrace {
			open = true
		} else if !o.leftOut[x.ID] {
			o.leftOut[x.ID] = true
			m.say(Event{Kind: MemberLeftOut, Node: n.ID, Inc: n.Inc, Peer: x.ID})
		}
	}
	if !o.report.Settled && (open || received*100 < expected*m.cfg.ReadyPercent) {
		return false
	}
	for _, is6 := range families(n) {
		b := m.st.Holds(n.ID, n.Inc, is6)
		switch {
		case b == nil && m.hasBlocks(is6):
			return false
		case b != nil && !b.Clean && !whole:
			return false
		}
	}
	return true
}

func greeted(peers []PeerReport, x *Node) bool {
	for _, p := range peers {
		if p.ID == x.ID && p.Inc == x.Inc {
			return p.Greeted
		}
	}
	return false
}

// orderStock asks every member that the joiner has met and that has not begun yet to send its stock, and asks again.
func (m *Machine) orderStock(now int64, n *Node, o *observation) {
	for x := range m.others(n) {
		if !greeted(o.report.Peers, x) || begun(o.report.Bulk, x) {
			continue
		}
		if at, ok := o.asked[x.ID]; ok && now-at < m.cfg.BulkRepeat {
			continue
		}
		o.asked[x.ID] = now
		m.bulk = append(m.bulk, BulkOrder{From: x.ID, FromInc: x.Inc, To: n.ID, ToInc: n.Inc})
	}
}

func begun(bulk []BulkReport, x *Node) bool {
	for _, b := range bulk {
		if b.ID == x.ID && b.Inc == x.Inc {
			return b.Begun
		}
	}
	return false
}

// Restock orders the stock of every member for a node anew, whatever it has.
func (m *Machine) Restock(now int64, id uint32) error {
	n := m.st.Node(id)
	switch {
	case n == nil:
		return ErrUnknownNode
	case !n.Member():
		return ErrNotMember
	}
	o := m.observe(now, id)
	for x := range m.others(n) {
		o.asked[x.ID] = now
		m.bulk = append(m.bulk, BulkOrder{From: x.ID, FromInc: x.Inc, To: n.ID, ToInc: n.Inc})
	}
	return nil
}
