package membership

import (
	"cmp"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
)

// AddPool adds a pool. A laddr pool is cut into blocks at once: block k has the k-th run of BlockSize addresses of each
// family's prefixes, so that a dual-stack pool gives dual-stack blocks; it ends where the shorter family ends.
func (m *Machine) AddPool(p Pool) error {
	if !validName(p.Name) {
		return ErrName
	}
	if m.pool(p.Name) != nil {
		return fmt.Errorf("%w: %s", ErrPoolExists, p.Name)
	}
	if len(m.st.Pools) >= MaxPools {
		return fmt.Errorf("%w: %d pools", ErrTooMany, MaxPools)
	}
	if p.Kind != PoolSip && p.Kind != PoolLaddr {
		return ErrPoolKind
	}
	if len(p.Prefixes) == 0 || len(p.Prefixes) > MaxPools {
		return ErrPoolPrefix
	}
	for i, a := range p.Prefixes {
		if !a.IsValid() || a != a.Masked() || a.Addr().Is4In6() {
			return fmt.Errorf("%w: %v", ErrPoolPrefix, a)
		}
		for _, b := range p.Prefixes[:i] {
			if a.Overlaps(b) {
				return fmt.Errorf("%w: %v and %v", ErrPoolOverlap, a, b)
			}
		}
		for _, o := range m.st.Pools {
			for _, b := range o.Prefixes {
				if a.Overlaps(b) {
					return fmt.Errorf("%w: %v is in %s", ErrPoolOverlap, a, o.Name)
				}
			}
		}
	}
	p.Prefixes = slices.Clone(p.Prefixes)
	if p.Kind == PoolLaddr {
		if p.BlockSize == 0 {
			p.BlockSize = 1
		}
		blocks, err := cutBlocks(p, m.nextBlock())
		if err != nil {
			return err
		}
		if len(m.st.Blocks)+len(blocks) > MaxBlocks {
			blocks = blocks[:MaxBlocks-len(m.st.Blocks)]
		}
		if len(blocks) == 0 {
			return fmt.Errorf("%w: %d blocks", ErrTooMany, MaxBlocks)
		}
		m.st.Blocks = append(m.st.Blocks, blocks...)
	} else {
		p.BlockSize = 0
	}
	m.st.Pools = append(m.st.Pools, p)
	m.changed = true
	m.bump = true
	m.leaseWaiting()
	return nil
}

// RemovePool takes a pool away. Refused while a block of it is held or a member has a sync address of it.
func (m *Machine) RemovePool(name string) error {
	p := m.pool(name)
	if p == nil {
		return fmt.Errorf("%w: %s", ErrPoolUnknown, name)
	}
	for _, b := range m.st.Blocks {
		if b.Pool == name && b.Holder != 0 {
			return fmt.Errorf("%w: block %d is held by node %d", ErrPoolInUse, b.ID, b.Holder)
		}
	}
	for _, n := range m.st.Nodes {
		if n.Member() && (inPool(p, n.Sip4) || inPool(p, n.Sip6)) {
			return fmt.Errorf("%w: node %s has a sync address of it", ErrPoolInUse, n.Name)
		}
	}
	m.st.Blocks = slices.DeleteFunc(m.st.Blocks, func(b Block) bool { return b.Pool == name })
	m.st.Pools = slices.DeleteFunc(m.st.Pools, func(q Pool) bool { return q.Name == name })
	m.changed = true
	m.bump = true
	return nil
}

func (m *Machine) pool(name string) *Pool {
	for i := range m.st.Pools {
		if m.st.Pools[i].Name == name {
			return &m.st.Pools[i]
		}
	}
	return nil
}

func (m *Machine) nextBlock() uint32 {
	next := uint32(1)
	for _, b := range m.st.Blocks {
		next = max(next, b.ID+1)
	}
	return next
}

func inPool(p *Pool, a netip.Addr) bool {
	return a.IsValid() && slices.ContainsFunc(p.Prefixes, func(x netip.Prefix) bool { return x.Contains(a) })
}

func cutBlocks(p Pool, id uint32) ([]Block, error) {
	if p.BlockSize < 1 || p.BlockSize > MaxBlockAddresses {
		return nil, ErrBlockSize
	}
	var runs [2][]netip.Addr // by family: 0 is IPv4
	for _, x := range p.Prefixes {
		f := 1
		if x.Addr().Is4() {
			f = 0
		}
		for a := range usable(x) {
			if len(runs[f]) == MaxBlocks*p.BlockSize {
				break
			}
			runs[f] = append(runs[f], a)
		}
	}
	n := MaxBlocks
	for _, r := range runs {
		if len(r) > 0 {
			n = min(n, len(r)/p.BlockSize)
		}
	}
	if n == 0 || len(runs[0])+len(runs[1]) == 0 {
		return nil, ErrBlockSize
	}
	blocks := make([]Block, n)
	for k := range blocks {
		blocks[k] = Block{ID: id + uint32(k), Pool: p.Name, Clean: true}
		for _, r := range runs {
			if len(r) > 0 {
				blocks[k].Addresses = append(blocks[k].Addresses, r[k*p.BlockSize:(k+1)*p.BlockSize]...)
			}
		}
	}
	return blocks, nil
}

// usable yields the host addresses of a prefix: without the all-zeros and all-ones of an IPv4 subnet and without the
// subnet-router anycast address of an IPv6 one, unless the prefix has room for one or two addresses only.
func usable(x netip.Prefix) func(func(netip.Addr) bool) {
	return func(yield func(netip.Addr) bool) {
		bits := x.Addr().BitLen() - x.Bits()
		for a := x.Addr(); a.IsValid() && x.Contains(a); a = a.Next() {
			if bits > 1 && a == x.Addr() {
				continue
			}
			if next := a.Next(); bits > 1 && a.Is4() && (!next.IsValid() || !x.Contains(next)) {
				continue
			}
			if !yield(a) {
				return
			}
		}
	}
}

// freeSip is the lowest unused address of one family in the sip pools. An address of a removed node stays its own until
// the pools have no other left, so that a node that comes back is where its peers knew it.
func (m *Machine) freeSip(is4 bool) netip.Addr {
	used := map[netip.Addr]*Node{}
	for i := range m.st.Nodes {
		n := &m.st.Nodes[i]
		for _, a := range []netip.Addr{n.Sip4, n.Sip6} {
			if a.IsValid() {
				used[a] = n
			}
		}
	}
	for _, p := range m.st.Pools {
		if p.Kind != PoolSip {
			continue
		}
		for _, x := range p.Prefixes {
			if x.Addr().Is4() != is4 {
				continue
			}
			for a := range usable(x) {
				if used[a] == nil {
					return a
				}
			}
		}
	}
	// Nothing unused: the oldest removed node gives its address up.
	gone := slices.DeleteFunc(slices.Clone(m.st.Nodes), func(n Node) bool {
		return n.Member() || !m.inSipPools(sipOf(&n, is4))
	})
	if len(gone) == 0 {
		return netip.Addr{}
	}
	oldest := slices.MinFunc(gone, func(a, b Node) int { return cmp.Compare(a.Inc, b.Inc) })
	n := m.st.Node(oldest.ID)
	a := sipOf(n, is4)
	if is4 {
		n.Sip4 = netip.Addr{}
	} else {
		n.Sip6 = netip.Addr{}
	}
	return a
}

func sipOf(n *Node, is4 bool) netip.Addr {
	if is4 {
		return n.Sip4
	}
	return n.Sip6
}

func (m *Machine) inSipPools(a netip.Addr) bool {
	return slices.ContainsFunc(m.st.Pools, func(p Pool) bool { return p.Kind == PoolSip && inPool(&p, a) })
}

// PoolSize is the number of addresses in a pool's prefixes, capped at the largest uint64.
func PoolSize(p Pool) uint64 {
	sum := new(big.Int)
	for _, x := range p.Prefixes {
		sum.Add(sum, new(big.Int).Lsh(big.NewInt(1), uint(x.Addr().BitLen()-x.Bits())))
	}
	if !sum.IsUint64() {
		return ^uint64(0)
	}
	return sum.Uint64()
}
