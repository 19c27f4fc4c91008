package desired

import (
	"fmt"
	"net/netip"

	"github.com/holdfast-lb/holdfast/services/kit/apierr"
)

// Purpose says what the addresses of a pool are for.
type Purpose string

// The purposes.
const (
	Laddr Purpose = "laddr"
	SIP   Purpose = "sip"
)

// Bounds of a pool.
const (
	maxPools         = 256
	maxPoolPrefixes  = 64
	maxPoolAddresses = 1 << 16
	maxBlock         = 256
)

// PoolSpec is what a user says of a pool.
type PoolSpec struct {
	Purpose Purpose `json:"purpose"`
	// Prefixes are masked and don't overlap.
	Prefixes  []netip.Prefix `json:"prefixes"`
	BlockSize uint16         `json:"block_size,omitempty"`
}

// Pool is a stored pool. Records are never changed in place.
type Pool struct {
	ID   string   `json:"id"`
	Spec PoolSpec `json:"spec"`
	Meta Meta     `json:"meta"`
}

// contains says whether an address is of the pool.
func (p *PoolSpec) contains(a netip.Addr) bool {
	for _, x := range p.Prefixes {
		if x.Contains(a) {
			return true
		}
	}
	return false
}

// size is the number of addresses, which validation bounds.
func size(prefixes []netip.Prefix) uint64 {
	var n uint64
	for _, p := range prefixes {
		host := p.Addr().BitLen() - p.Bits()
		if host > 32 {
			return 1 << 33
		}
		n += 1 << host
	}
	return n
}

// kept is the number of addresses of old that are in now too. Neither overlaps within itself.
func kept(old, now []netip.Prefix) uint64 {
	var n uint64
	for _, a := range old {
		for _, b := range now {
			if a.Overlaps(b) {
				n += min(size([]netip.Prefix{a}), size([]netip.Prefix{b}))
			}
		}
	}
	return n
}

func (p *PoolSpec) validate(v *apierr.Violations) {
	if p.Purpose != Laddr && p.Purpose != SIP {
		v.Add("address_pool.purpose", "is not POOL_PURPOSE_LADDR or POOL_PURPOSE_SIP")
	}
	switch {
	case p.Purpose == SIP && p.BlockSize != 0:
		v.Add("address_pool.block_size", "is given for a pool of sync addresses, which has no blocks")
	case p.BlockSize > maxBlock:
		v.Add("address_pool.block_size", "is %d, more than %d", p.BlockSize, maxBlock)
	}
	if len(p.Prefixes) == 0 || len(p.Prefixes) > maxPoolPrefixes {
		v.Add("address_pool.prefixes", "has %d entries, not 1 to %d", len(p.Prefixes), maxPoolPrefixes)
		return
	}
	for i, x := range p.Prefixes {
		path := fmt.Sprintf("address_pool.prefixes[%d]", i)
		if !x.IsValid() {
			v.Add(path, "is neither a prefix nor an address")
			continue
		}
		if x != x.Masked() {
			v.Add(path, "%v has bits set beyond its length", x)
		}
		validateAddress(v, path, x.Addr())
		for j, y := range p.Prefixes[:i] {
			if !y.IsValid() {
				continue
			}
			if x.Addr().Is4() != y.Addr().Is4() {
				v.Add(path, "is of another address family than prefixes[%d]", j)
				break
			}
			if x.Overlaps(y) {
				v.Add(path, "overlaps prefixes[%d]", j)
				break
			}
		}
	}
	if n := size(p.Prefixes); n > maxPoolAddresses {
		v.Add("address_pool.prefixes", "hold more than %d addresses", maxPoolAddresses)
	}
}

// CreatePool decides on a new pool.
func (s *State) CreatePool(at At, id, requestID string, spec PoolSpec) (Change, error) {
	var v apierr.Violations
	validateID(&v, "address_pool_id", id)
	validateRequestID(&v, requestID)
	spec.validate(&v)
	if err := v.Err(); err != nil {
		return Change{}, err
	}
	if old := s.pools[id]; old != nil {
		if requestID != "" && old.Meta.RequestID == requestID {
			return Change{Kind: KindPool, ID: id, Pool: old, Nothing: true}, nil
		}
		return Change{}, apierr.New(apierr.DuplicateName, "there is an address pool %q already", id)
	}
	if err := s.poolFits(id, &spec); err != nil {
		return Change{}, err
	}
	if len(s.pools) >= maxPools {
		return Change{}, apierr.New(apierr.LimitReached, "there are %d address pools already", maxPools)
	}
	return Change{Kind: KindPool, ID: id, Pool: &Pool{ID: id, Spec: spec, Meta: at.created(requestID)}}, nil
}

// UpdatePool decides on a new spec of a pool. Purpose and block size can't change.
func (s *State) UpdatePool(at At, id, etag string, force bool, spec PoolSpec) (Change, error) {
	old, err := s.Pool(id)
	if err != nil {
		return Change{}, err
	}
	if err := old.Meta.match(etag); err != nil {
		return Change{}, err
	}
	var v apierr.Violations
	spec.validate(&v)
	immutable(&v, "address_pool.purpose", old.Spec.Purpose, spec.Purpose)
	immutable(&v, "address_pool.block_size", old.Spec.BlockSize, spec.BlockSize)
	if err := v.Err(); err != nil {
		return Change{}, err
	}
	if err := s.poolFits(id, &spec); err != nil {
		return Change{}, err
	}
	had, has := size(old.Spec.Prefixes), kept(old.Spec.Prefixes, spec.Prefixes)
	if (had-has)*2 > had && !force {
		return Change{}, apierr.New(apierr.ShrinksByHalf, "%d of %d addresses would go", had-has, had)
	}
	x := *old
	x.Spec, x.Meta = spec, old.Meta.changed(at)
	return Change{Kind: KindPool, ID: id, Pool: &x}, nil
}

// DeletePool decides on the end of a pool.
func (s *State) DeletePool(id, etag string, force bool) (Change, error) {
	old, err := s.Pool(id)
	if err != nil {
		return Change{}, err
	}
	if err := old.Meta.match(etag); err != nil {
		return Change{}, err
	}
	if !force {
		return Change{}, apierr.New(apierr.ShrinksByHalf, "all %d addresses would go", size(old.Spec.Prefixes))
	}
	return Change{Kind: KindPool, ID: id}, nil
}

// poolFits refuses addresses that are taken: by another pool, or by a service as its VIP.
func (s *State) poolFits(id string, spec *PoolSpec) error {
	for _, o := range s.Pools() {
		if o.ID == id {
			continue
		}
		for _, a := range o.Spec.Prefixes {
			for _, b := range spec.Prefixes {
				if a.Overlaps(b) {
					return apierr.With(apierr.PoolOverlap, map[string]string{"address_pool": "addressPools/" + o.ID},
						"%v overlaps %v of pool %q", b, a, o.ID)
				}
			}
		}
	}
	for _, svc := range s.Services() {
		if spec.contains(svc.Spec.VIP) {
			return addressIsVIP(svc.Spec.VIP, id)
		}
	}
	return nil
}
