package membership

// lease gives a member without a block the best one there is, or none.
//
// A free block comes first, the one that the node held before ahead of others. Failing that it gets a dead life's block,
// its own ahead of others: it may allocate from that only after it has had the whole stock of every member.
func (m *Machine) lease(n *Node) {
	if m.st.Holds(n.ID, n.Inc) != nil {
		return
	}
	var best *Block
	rank := 0
	for i := range m.st.Blocks {
		b := &m.st.Blocks[i]
		r := 0
		switch {
		case b.Holder == n.ID && b.Clean && !b.Allocatable && m.st.holderDead(b):
			r = 5 // a former life got it and never used it
		case b.Holder == 0 && b.LastHolder == n.ID:
			r = 4
		case b.Holder == 0:
			r = 3
		case b.Holder == n.ID && m.st.holderDead(b):
			r = 2
		case m.st.holderDead(b):
			r = 1
		}
		if r > rank {
			best, rank = b, r
		}
	}
	if best == nil {
		return
	}
	best.Clean = rank >= 3
	best.Holder, best.HolderInc = n.ID, n.Inc
	best.Epoch++
	best.Allocatable = false
	m.touch()
	m.say(Event{Kind: BlockLeased, Node: n.ID, Inc: n.Inc, Block: best.ID})
}

// leaseWaiting gives blocks to members that came when there was none.
func (m *Machine) leaseWaiting() {
	for i := range m.st.Nodes {
		if n := &m.st.Nodes[i]; n.Phase == Joining {
			m.lease(n)
		}
	}
}

// reclaim frees a dead life's block once every member has fenced that life long enough and holds nothing of the block.
func (m *Machine) reclaim(now int64) {
	for i := range m.st.Blocks {
		b := &m.st.Blocks[i]
		if !m.st.holderDead(b) || !m.clear(now, b) {
			continue
		}
		m.say(Event{Kind: BlockFreed, Node: b.Holder, Inc: b.HolderInc, Block: b.ID})
		b.LastHolder = b.Holder
		b.Holder, b.HolderInc = 0, 0
		b.Clean, b.Allocatable = true, false
		b.Epoch++
		m.touch()
	}
}

func (m *Machine) clear(now int64, b *Block) bool {
	members := 0
	for i := range m.st.Nodes {
		n := &m.st.Nodes[i]
		if !n.Member() {
			continue
		}
		members++
		if !m.speaks(now, n) || !holdsNothing(m.obs[n.ID].report.Blocks, b.ID, m.cfg.FenceSettle) {
			return false
		}
	}
	// With nobody left to ask, the absence of an answer is not one.
	return members > 0
}

func holdsNothing(blocks []BlockReport, id uint32, settle int64) bool {
	for _, r := range blocks {
		if r.ID == id {
			return r.Records == 0 && r.Tombstones == 0 && r.FenceAge >= settle
		}
	}
	return false
}

// MayAllocate says whether the holder of a block may take ports from it now.
func (s *State) MayAllocate(b *Block) bool {
	if !b.Allocatable || s.holderDead(b) {
		return false
	}
	n := s.Node(b.Holder)
	return n != nil && n.Degraded == CauseNone && (n.Phase == Ready || n.Phase == Admitted)
}
