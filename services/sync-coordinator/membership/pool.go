package membership

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// SetPools replaces the pools. Leases that stand go on: a block whose pool is gone stays with its holder and is dropped
// when it is free, and a member keeps its sync address for its life. Ids of blocks are never used again.
func (m *Machine) SetPools(now int64, pools []Pool) error {
	pools = slices.Clone(pools)
	slices.SortFunc(pools, func(a, b Pool) int { return cmp.Compare(a.Name, b.Name) })
	if slices.EqualFunc(pools, m.st.Pools, equalPool) {
		return nil
	}
	if err := checkPools(pools); err != nil {
		return err
	}
	var wanted []Block
	for i := range pools {
		pools[i].Prefixes = slices.Clone(pools[i].Prefixes)
		if pools[i].Kind == PoolLaddr {
			wanted = append(wanted, cut(&pools[i], MaxBlocks-len(wanted))...)
		}
	}
	m.st.Pools = pools
	m.changed = true
	m.setBlocks(wanted)
	m.settle(now)
	return nil
}

func equalPool(a, b Pool) bool {
	return a.Name == b.Name && a.Kind == b.Kind && a.BlockSize == b.BlockSize && slices.Equal(a.Prefixes, b.Prefixes)
}

func checkPools(pools []Pool) error {
	if len(pools) > MaxPools {
		return fmt.Errorf("%w: %d pools", ErrTooMany, len(pools))
	}
	var seen []netip.Prefix
	for i, p := range pools {
		switch {
		case p.Name == "" || i > 0 && pools[i-1].Name == p.Name:
			return fmt.Errorf("%w: %q: no name, or one given twice", ErrPool, p.Name)
		case p.Kind != PoolSip && p.Kind != PoolLaddr:
			return fmt.Errorf("%w: %s: kind %q", ErrPool, p.Name, p.Kind)
		case len(p.Prefixes) == 0 || len(p.Prefixes) > MaxPools:
			return fmt.Errorf("%w: %s: %d prefixes", ErrPool, p.Name, len(p.Prefixes))
		case p.Kind == PoolLaddr && (p.BlockSize < 1 || p.BlockSize > MaxBlockAddresses):
			return fmt.Errorf("%w: %s: block size %d", ErrPool, p.Name, p.BlockSize)
		}
		for _, a := range p.Prefixes {
			if !a.IsValid() || a != a.Masked() || a.Addr().Is4() != p.Prefixes[0].Addr().Is4() {
				return fmt.Errorf("%w: %s: prefix %v", ErrPool, p.Name, a)
			}
			for _, b := range seen {
				if a.Overlaps(b) {
					return fmt.Errorf("%w: %s: %v overlaps %v", ErrPool, p.Name, a, b)
				}
			}
			seen = append(seen, a)
		}
	}
	return nil
}

// cut makes at most limit blocks of a pool; addresses that don't fill a block are left over.
func cut(p *Pool, limit int) []Block {
	var blocks []Block
	var run []netip.Addr
	for _, x := range p.Prefixes {
		for a := x.Addr(); a.IsValid() && x.Contains(a) && len(blocks) < limit; a = a.Next() {
			if run = append(run, a); len(run) == p.BlockSize {
				blocks = append(blocks, Block{Pool: p.Name, Addresses: run, Clean: true})
				run = nil
			}
		}
	}
	return blocks
}

// setBlocks keeps every block that is wanted under the same addresses, retires or drops the others, and adds those of
// the wanted that share no address with one that is still held.
func (m *Machine) setBlocks(wanted []Block) {
	used := map[netip.Addr]bool{}
	kept := m.st.Blocks[:0:0]
	for _, b := range m.st.Blocks {
		i := slices.IndexFunc(wanted, func(w Block) bool { return slices.Equal(w.Addresses, b.Addresses) })
		switch {
		case i >= 0:
			b.Pool, b.Retired = wanted[i].Pool, false
			wanted = slices.Delete(wanted, i, i+1)
		case b.Holder == 0:
			m.bump = true
			continue
		default:
			b.Retired = true
		}
		for _, a := range b.Addresses {
			used[a] = true
		}
		kept = append(kept, b)
	}
	for _, b := range wanted {
		if len(kept) >= MaxBlocks || slices.ContainsFunc(b.Addresses, func(a netip.Addr) bool { return used[a] }) {
			continue
		}
		m.st.LastBlock++
		b.ID = m.st.LastBlock
		kept = append(kept, b)
		m.bump = true
	}
	m.st.Blocks = kept
}

// sip is the sync address of one family for a node that has had one: the same while the pools have it.
func (m *Machine) sip(had netip.Addr, wanted, is4 bool) netip.Addr {
	if !wanted {
		return netip.Addr{}
	}
	if m.inSipPools(had) {
		return had
	}
	return m.freeSip(is4)
}

// freeSip is the lowest unused address of one family in the sip pools. An address of a removed node stays its own until
// the pools have no other left, so that a node that comes back is where its peers knew it.
func (m *Machine) freeSip(is4 bool) netip.Addr {
	used := map[netip.Addr]bool{}
	var oldest *Node // of the removed ones that could give theirs up
	for i := range m.st.Nodes {
		n := &m.st.Nodes[i]
		a := n.sip(is4)
		used[a] = true
		if !n.Member() && m.inSipPools(a) && (oldest == nil || n.Inc < oldest.Inc) {
			oldest = n
		}
	}
	for _, p := range m.st.Pools {
		for _, x := range p.Prefixes {
			if p.Kind != PoolSip || x.Addr().Is4() != is4 {
				continue
			}
			for a := x.Addr(); a.IsValid() && x.Contains(a); a = a.Next() {
				if !used[a] {
					return a
				}
			}
		}
	}
	if oldest == nil {
		return netip.Addr{}
	}
	a := oldest.sip(is4)
	if is4 {
		oldest.Sip4 = netip.Addr{}
	} else {
		oldest.Sip6 = netip.Addr{}
	}
	return a
}

func (n *Node) sip(is4 bool) netip.Addr {
	if is4 {
		return n.Sip4
	}
	return n.Sip6
}

func (m *Machine) inSipPools(a netip.Addr) bool {
	return a.IsValid() && slices.ContainsFunc(m.st.Pools, func(p Pool) bool {
		return p.Kind == PoolSip && slices.ContainsFunc(p.Prefixes, func(x netip.Prefix) bool { return x.Contains(a) })
	})
}
