package membership

import "slices"

// RelayedReport is what a member told a peer of one block, by the word of the peer. Times are milliseconds.
type RelayedReport struct {
	Member     uint32
	Inc        uint64
	Block      uint32
	Holder     uint32 // the life whose sessions the block waits for, as the member knows it
	HolderInc  uint64
	Records    uint64
	Tombstones uint64
	Fenced     int64 // from the member's fencing of the holder to its count
	Age        int64 // since the member told it
}

// relayedUse is a RelayedReport as it is kept at the present life of its member.
type relayedUse struct {
	holder              uint32
	holderInc           uint64
	records, tombstones uint64
	fenced              int64
	made                int64
}

// Relays counts relayed reports since the machine was made.
type Relays struct {
	Used    uint64 // newer than what was known
	Known   uint64 // as old as what was known, or older
	Stale   uint64 // too old to count
	Unknown uint64 // of no member's present life, of the reporter itself, or of a block that waits for nobody
}

// Relays says what became of relayed reports.
func (m *Machine) Relays() Relays { return m.relays }

// relay keeps what a reporter was told by its peers. Memory is bounded by members and blocks: a word about others is not kept.
func (m *Machine) relay(now int64, r *Report) {
	for i := range r.Relayed {
		x := &r.Relayed[i]
		n := m.st.Node(x.Member)
		switch {
		case n == nil, !n.Member(), n.Inc != x.Inc, x.Member == r.Node, x.Age < 0,
			!slices.ContainsFunc(m.st.Blocks, func(b Block) bool { return b.ID == x.Block && m.st.holderDead(&b) }):
			m.relays.Unknown++
			continue
		case x.Age > m.cfg.RelayFresh:
			m.relays.Stale++
			continue
		}
		o := m.observe(now, n.ID)
		if had, ok := o.relayed[x.Block]; ok && had.made >= now-x.Age {
			m.relays.Known++
			continue
		}
		m.relays.Used++
		o.relayed[x.Block] = relayedUse{
			holder: x.Holder, holderInc: x.HolderInc, records: x.Records, tombstones: x.Tombstones, fenced: x.Fenced, made: now - x.Age,
		}
	}
}

// forgetRelayed drops what is kept of blocks that wait for nobody any more.
func (m *Machine) forgetRelayed() {
	for _, o := range m.obs {
		for id := range o.relayed {
			if i := slices.IndexFunc(m.st.Blocks, func(b Block) bool { return b.ID == id }); i < 0 || !m.st.holderDead(&m.st.Blocks[i]) {
				delete(o.relayed, id)
			}
		}
	}
}

// said is when the node's life counted what it said of a block last by itself.
func (o *observation) said(n *Node, b *Block) (made int64, ok bool) {
	if !o.reported || o.report.Inc != n.Inc {
		return 0, false
	}
	i := slices.IndexFunc(o.report.Blocks, func(x BlockReport) bool { return x.ID == b.ID })
	if i < 0 {
		return 0, false
	}
	return o.at - o.report.Blocks[i].Age, true
}

// doneWith is Report.doneWith for a relayed word.
func (u *relayedUse) doneWith(b *Block, settle int64) bool {
	return u.records == 0 && u.tombstones == 0 && u.holder == b.Holder && u.holderInc >= b.HolderInc && u.fenced >= settle
}
