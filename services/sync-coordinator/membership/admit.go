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
//
// A member whose stock does not begin, or does not go on, for BeginGrace is reported and left out. A joiner that needs
// the whole stock of such a member has it all the same once their digests are equal and every tombstone that the member
// had before the joiner came is over.
func (m *Machine) gate(now int64, n *Node, o *observation) bool {
	o.aging = false
	if m.setDiff || o.report.View < m.setView {
		return false
	}
	var expected, received uint64
	open, whole, aging := false, true, false
	for x := range m.others(n) {
		if m.dead(o, x) {
			continue
		}
		b := bulkOf(o.report.Bulk, x)
		met := b.Begun && greeted(o.report.Peers, x)
		stalled := now-o.moved(now, x, b) >= m.cfg.BeginGrace
		if met && b.Ended {
			expected += min(b.Expected, maxStock)
			received += min(b.Received, b.Expected, maxStock)
			continue
		}
		if m.equal(o, x) {
			aging = aging || now-n.JoinedAt < m.cfg.TombAge
			whole = whole && now-n.JoinedAt >= m.cfg.TombAge
		} else {
			whole = false
		}
		if o.report.Settled {
			continue
		}
		switch {
		case stalled && !o.leftOut[x.ID]:
			o.leftOut[x.ID] = true
			m.say(Event{Kind: MemberLeftOut, Node: n.ID, Inc: n.Inc, Peer: x.ID})
		case stalled:
		case met:
			expected += min(b.Expected, maxStock)
			received += min(b.Received, b.Expected, maxStock)
		default:
			open = true
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
			o.aging = aging
			return false
		}
	}
	return true
}

// maxStock bounds what one member's stock counts, so that no sum of it overflows.
const maxStock = 1 << 40

// moved is when a joiner got something of a member's stock last.
func (o *observation) moved(now int64, x *Node, b BulkReport) int64 {
	f, ok := o.flows[x.ID]
	switch {
	case !ok || f.inc != x.Inc:
		f = flow{inc: x.Inc, at: o.began}
		if b.Begun {
			f.at = now
		}
	case b.Begun && (!f.begun || b.Received > f.received || b.Ended && !f.ended):
		f.at = now
	}
	f.begun, f.ended, f.received = f.begun || b.Begun, f.ended || b.Ended, max(f.received, b.Received)
	o.flows[x.ID] = f
	return f.at
}

// equal says whether a joiner holds what a member holds by another way than its bulk: their digests are equal. Only
// where the member can't be asked for its bulk, since its control connection is lost.
func (m *Machine) equal(o *observation, x *Node) bool {
	c := m.obs[x.ID]
	if c == nil || c.control != controlDown {
		return false
	}
	for _, p := range o.report.Peers {
		if p.ID == x.ID && p.Inc == x.Inc {
			return p.Greeted && p.Equal && !p.Suspected
		}
	}
	return false
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
		if !greeted(o.report.Peers, x) || bulkOf(o.report.Bulk, x).Begun {
			continue
		}
		if at, ok := o.asked[x.ID]; ok && now-at < m.cfg.BulkRepeat {
			continue
		}
		o.asked[x.ID] = now
		m.bulk = append(m.bulk, BulkOrder{From: x.ID, FromInc: x.Inc, To: n.ID, ToInc: n.Inc})
	}
}

// bulkOf is what a report says of one member's stock; zero when it says nothing.
func bulkOf(bulk []BulkReport, x *Node) BulkReport {
	for _, b := range bulk {
		if b.ID == x.ID && b.Inc == x.Inc {
			return b
		}
	}
	return BulkReport{}
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
