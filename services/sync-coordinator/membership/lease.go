package membership

import "slices"

// lease gives a member the best block there is of each family that it wants and has none of.
//
// A free block comes first, the one that the node held before ahead of others. Failing that it gets a dead life's block,
// its own ahead of others: it may allocate from that only after it has had the whole stock of every member. So does a node
// whose former lives keep MaxFormerBlocks already: one that ends and joins without end takes no more blocks than these.
func (m *Machine) lease(n *Node) {
	for _, is6 := range families(n) {
		if m.st.Holds(n.ID, n.Inc, is6) == nil {
			m.leaseFamily(n, is6)
		}
	}
}

func families(n *Node) []bool {
	var f []bool
	if n.IPv4 {
		f = append(f, false)
	}
	if n.IPv6 {
		f = append(f, true)
	}
	return f
}

func (m *Machine) hasBlocks(is6 bool) bool {
	return slices.ContainsFunc(m.st.Blocks, func(b Block) bool { return b.Is6() == is6 && !b.Retired })
}

func (m *Machine) leaseFamily(n *Node, is6 bool) {
	var best *Block
	rank := 0
	keep := m.former(n, is6)
	for i := range m.st.Blocks {
		b := &m.st.Blocks[i]
		r := 0
		switch {
		case b.Is6() != is6 || b.Retired:
		case b.Holder == n.ID && b.Clean && !b.Used && m.st.holderDead(b):
			r = 6 // a former life got it and never used it
		case b.Holder == n.ID && m.st.holderDead(b) && keep >= MaxFormerBlocks:
			r = 5 // its former lives keep enough
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
	best.Clean = rank == 6 || rank == 4 || rank == 3
	best.Holder, best.HolderInc = n.ID, n.Inc
	best.Epoch++
	best.Allocatable, best.Used = false, false
	m.touch()
	m.say(Event{Kind: BlockLeased, Node: n.ID, Inc: n.Inc, Block: best.ID})
}

// former counts the blocks of one family that wait for the sessions of former lives of a node.
func (m *Machine) former(n *Node, is6 bool) int {
	count := 0
	for i := range m.st.Blocks {
		b := &m.st.Blocks[i]
		if b.Holder == n.ID && b.Is6() == is6 && m.st.holderDead(b) && (b.Used || !b.Clean) {
			count++
		}
	}
	return count
}

// giveBack frees at once what a life that is over held and could never use.
func (m *Machine) giveBack(n *Node) {
	for i := range m.st.Blocks {
		if b := &m.st.Blocks[i]; b.Holder == n.ID && b.HolderInc == n.Inc && b.Clean && !b.Used {
			m.free(b)
		}
	}
}

// free ends a lease whose sessions are all gone.
func (m *Machine) free(b *Block) {
	m.say(Event{Kind: BlockFreed, Node: b.Holder, Inc: b.HolderInc, Block: b.ID})
	b.LastHolder = b.Holder
	b.Holder, b.HolderInc = 0, 0
	b.Clean, b.Allocatable, b.Used = true, false, false
	b.Epoch++
	m.touch()
}

// leaseWaiting gives blocks to members that came when there was none.
func (m *Machine) leaseWaiting() {
	for i := range m.st.Nodes {
		if n := &m.st.Nodes[i]; n.Phase == Joining {
			m.lease(n)
		}
	}
}

// waiting is since when a block waits for a dead life's sessions.
type waiting struct {
	inc   uint64 // of the dead life
	since int64
	said  bool
}

// reclaim frees a dead life's block once every member has fenced that life long enough and holds nothing of the block.
func (m *Machine) reclaim(now int64) {
	for i := range m.st.Blocks {
		b := &m.st.Blocks[i]
		if !m.st.holderDead(b) {
			delete(m.blocksDead, b.ID)
			continue
		}
		w := m.blocksDead[b.ID]
		if w.inc != b.HolderInc {
			w = waiting{inc: b.HolderInc, since: now}
		}
		by, clear := m.clear(now, b)
		if clear {
			delete(m.blocksDead, b.ID)
			m.free(b)
			continue
		}
		if by != nil && !w.said && now-w.since >= m.cfg.BlockNotice {
			w.said = true
			m.say(Event{Kind: BlockHeld, Node: b.Holder, Inc: b.HolderInc, Block: b.ID, Peer: by.ID})
		}
		m.blocksDead[b.ID] = w
	}
	m.st.Blocks = slices.DeleteFunc(m.st.Blocks, func(b Block) bool { return b.Retired && b.Holder == 0 })
	m.forgetRelayed()
}

// clear says whether every member is done with a block, and else which one is not.
func (m *Machine) clear(now int64, b *Block) (by *Node, yes bool) {
	members := 0
	for i := range m.st.Nodes {
		n := &m.st.Nodes[i]
		if !n.Member() {
			continue
		}
		members++
		if !m.done(now, n, b) {
			return n, false
		}
	}
	// With nobody left to ask, the absence of an answer is not one.
	return nil, members > 0
}

// done says whether the newest word of a member about a block frees it: its own over gRPC, or one that came by a peer. A word of its
// own that doesn't count any more still outdates what it said before.
func (m *Machine) done(now int64, n *Node, b *Block) bool {
	o := m.obs[n.ID]
	if o == nil {
		return false
	}
	own, said := o.said(n, b)
	if r, ok := o.relayed[b.ID]; ok && now-r.made <= m.cfg.RelayFresh && (!said || r.made > own) {
		return r.doneWith(b, m.cfg.FenceSettle)
	}
	return m.speaks(now, n) && o.report.doneWith(b, m.cfg.FenceSettle)
}

// doneWith says whether the reporter held nothing of the block when it counted, and had fenced its dead holder long enough before. The
// fencing of a later life of the holder counts too: it fences all before it.
func (r *Report) doneWith(b *Block, settle int64) bool {
	return slices.ContainsFunc(r.Blocks, func(x BlockReport) bool {
		return x.ID == b.ID && x.Records == 0 && x.Tombstones == 0 && slices.ContainsFunc(r.Fenced, func(f FenceReport) bool {
			return f.ID == b.Holder && f.Inc >= b.HolderInc && f.Age-x.Age >= settle
		})
	})
}

// MayAllocate says whether the holder of a block may take ports from it now.
func (s *State) MayAllocate(b *Block) bool {
	if !b.Allocatable || s.holderDead(b) {
		return false
	}
	n := s.Node(b.Holder)
	return n != nil && n.Degraded == CauseNone && (n.Phase == Ready || n.Phase == Admitted)
}
