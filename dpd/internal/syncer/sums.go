package syncer

import (
	"encoding/binary"
	"math/bits"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

const (
	mul1 = 0x9e6c63d0876a9a47
	mul2 = 0xd1b54a32d192ed03
	mul3 = 0x8cb92ba72f3d8dd7
)

// fold is the mixing step of the cluster hash: both halves of the product.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// hash is the cluster hash of a tuple, under the cluster's key.
func (s *Shard) hash(k *flow.Key) uint64 { return clusterHash(&s.key, k) }

func clusterHash(key *[2]uint64, k *flow.Key) uint64 {
	h := fold(k.Addr[0]^key[0], k.Addr[1]^mul1)
	h = fold(h^k.Addr[2]^mul2, k.Addr[3]^key[1])
	return fold(h^k.Meta, key[0]^mul3)
}

// sum is a record's part of its leaf's sum: its identity and version, nothing that may differ
// between equal copies.
func (s *Shard) sum(x *flow.Session, h uint64) uint64 {
	v := fold(uint64(x.Birth)^s.key[1], h|1)
	v = fold(v^s.hash(&x.Reply), uint64(x.Term)<<32^uint64(x.Ver)^mul1)
	return fold(v^x.Owner.Inc, uint64(x.Owner.ID)^mul2)
}

// bulkKey is no secret; zeros would be no key, since they take the addresses of IPv4 out of the
// hash.
var bulkKey = [2]uint64{mul2, mul3}

// bulkSum is a record's part of a bulk's digest: of what sum is of, but under a key that everyone
// knows, since the sync threads that count what comes don't have the cluster's. Who may seal a
// datagram may lie anyway.
func bulkSum(r *syncwire.Record) uint64 {
	orig, reply := flow.Key(r.Orig), flow.Key(r.Reply)
	v := fold(r.Birth, clusterHash(&bulkKey, &orig)|1)
	v = fold(v^clusterHash(&bulkKey, &reply), uint64(r.Term)<<32^uint64(r.Ver)^mul1)
	return fold(v^r.OwnerInc, uint64(r.OwnerID)^mul2)
}

func leafOf(x *flow.Session, h uint64) int { return int(x.Bucket)<<2 | int(h>>62) }

// maxOwners bounds the owners whose sums are kept apart, members and those gone: a peer may name
// any. 8 KB each.
const maxOwners = 2 * MaxMembers

// ownerSums are the leaf sums of what one owner has here.
type ownerSums struct {
	node   flow.Node
	kept   bool   // this node or a member of the view; the records of others are orphans
	n      uint64 // records
	leaves [leaves]uint64
}

// sums are the digest sums by owner, so that a change of the view gives them other names and passes
// over no record.
type sums struct {
	own  *ownerSums
	list []*ownerSums
	near [64]*ownerSums // where the owner of an id was found last
	// rest is of owners that the list had no room for. While it holds records no owner gets a place
	// but members.
	rest ownerSums

	changed   [leaves]int64 // when a record of the leaf last changed
	stirred   [leaves]int64 // when an orphan of it did
	disturbed [leaves]int64 // when a record of it last changed by another word than its owner's, see disturb
	relabeled int64         // when the view last changed who is an orphan
}

// of finds the sums of an owner, nil if they are in the rest.
func (q *sums) of(n flow.Node) *ownerSums {
	near := &q.near[n.ID%64]
	if o := *near; o != nil && o.node == n {
		return o
	}
	for _, o := range q.list {
		if o.node == n {
			*near = o
			return o
		}
	}
	return nil
}

// restMost is how many records of owners without a place are held. The table has room for the names of 65,535 owners, and those of
// this node and of the members must be among them.
const restMost = 8192

// crowded says whether a record of an owner that is no member must be refused, since there are too many such owners.
func (s *Shard) crowded(n flow.Node) bool {
	q := &s.sums
	return n != s.self && q.rest.n >= restMost && s.member(n) == nil && q.of(n) == nil
}

// open makes a place for an owner, maybe that of another who has nothing here any more.
func (q *sums) open(n flow.Node) *ownerSums {
	for _, o := range q.list {
		if !o.kept && o.n == 0 {
			*o = ownerSums{node: n}
			return o
		}
	}
	o := &ownerSums{node: n}
	q.list = append(q.list, o)
	return o
}

// account adds a record to the sums and counts, or takes it off. Every change of identity, version,
// owner or tombstone goes through a pair of these.
func (s *Shard) account(x *flow.Session, sign int) {
	if x.Flags&flow.Tomb != 0 || !announced(x) {
		return
	}
	h := s.hash(&x.Orig)
	leaf, v := leafOf(x, h), s.sum(x, h)
	if sign < 0 {
		v = -v
	}
	q := &s.sums
	o := q.of(x.Owner)
	switch {
	case o != nil:
	case sign < 0 || q.rest.n > 0 || len(q.list) >= maxOwners:
		o = &q.rest
	default:
		o = q.open(x.Owner)
	}
	o.leaves[leaf] += v
	o.n += uint64(sign)
	s.mapped += uint64(sign)
	q.changed[leaf] = s.now
	if !o.kept {
		q.stirred[leaf] = s.now
	}
}

// disturb notes that what this node holds of an owner's records is changed by another word than
// that of the owner, whose own sums will follow, or went before. A difference in the leaf proves
// nothing for a moment.
func (s *Shard) disturb(x *flow.Session) {
	s.sums.disturbed[leafOf(x, s.hash(&x.Orig))] = s.now
}

// relabel follows a change of the view: of the owners this node and the members are known by place,
// the rest are orphans'.
func (s *Shard) relabel() {
	q := &s.sums
	again := false
	keep := func(n flow.Node) *ownerSums {
		o := q.of(n)
		if o == nil {
			again = again || q.rest.n > 0
			o = q.open(n)
		}
		o.kept = true
		return o
	}
	before := s.orphaned()
	for _, o := range q.list {
		o.kept = false
	}
	// First those that have a place already, or another might get it.
	for _, m := range s.members {
		if m.held = q.of(m.node); m.held != nil {
			m.held.kept = true
		}
	}
	q.own = keep(s.self)
	for _, m := range s.members {
		m.held = keep(m.node)
	}
	if len(q.list) > maxOwners {
		q.crowd()
	}
	if again {
		s.recount() // some of the rest may be a member's now
	}
	q.relabeled = s.now
	if after := s.orphaned(); after != 0 && after != before {
		for _, m := range s.members {
			m.repair.doubt[orphans].fill(&s.all)
		}
	}
}

// crowd gives up the places of all who are gone.
func (q *sums) crowd() {
	kept := q.list[:0]
	for _, o := range q.list {
		if o.kept {
			kept = append(kept, o)
			continue
		}
		for i, v := range o.leaves {
			q.rest.leaves[i] += v
		}
		q.rest.n += o.n
	}
	clear(q.list[len(kept):])
	q.list, q.near = kept, [64]*ownerSums{}
}

// orphaned is the number of records whose owner is not in the view.
func (s *Shard) orphaned() uint64 {
	n := s.sums.rest.n
	for _, o := range s.sums.list {
		if !o.kept {
			n += o.n
		}
	}
	return n
}

// orphanSum is a leaf's sum of orphans.
func (s *Shard) orphanSum(leaf int) uint64 {
	v := s.sums.rest.leaves[leaf]
	for _, o := range s.sums.list {
		if !o.kept {
			v += o.leaves[leaf]
		}
	}
	return v
}

// total is a leaf's sum of all records.
func (s *Shard) total(leaf int) uint64 {
	v := s.sums.rest.leaves[leaf]
	for _, o := range s.sums.list {
		v += o.leaves[leaf]
	}
	return v
}

// SetDigestKey takes a new cluster key. If it is another one, it passes over the whole store at
// once.
func (s *Shard) SetDigestKey(key [16]byte) {
	words := [2]uint64{binary.LittleEndian.Uint64(key[:8]), binary.LittleEndian.Uint64(key[8:])}
	if words != s.key {
		s.key = words
		s.recount()
	}
}

func (s *Shard) recount() {
	q := &s.sums
	for _, o := range q.list {
		*o = ownerSums{node: o.node, kept: o.kept}
	}
	q.rest, s.mapped = ownerSums{}, 0
	for c := uint32(0); ; {
		c = s.store.Scan(c, 1<<16, func(h flow.Handle) {
			s.store.Load(h, &s.cur)
			if s.cur.Birth != 0 {
				s.account(&s.cur, +1)
			}
		})
		if c == 0 {
			return
		}
	}
}
