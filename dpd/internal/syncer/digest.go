package syncer

import (
	"encoding/binary"
	"math/bits"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// leaves is the number of digest leaves of a cluster: 256 buckets, and two bits of the cluster hash in each.
const leaves = 256 * 4

type leafSet [leaves / 64]uint64

func (l *leafSet) has(i int) bool { return l[i/64]>>(i%64)&1 != 0 }
func (l *leafSet) add(i int)      { l[i/64] |= 1 << (i % 64) }

const (
	digestEvery = 5_000 // milliseconds
	repairEvery = 500
	// unsettled is how long after a change of this node's own an unequal sum proves nothing: the peer may not have had it.
	unsettled = 200
	// unsureMax is how many such rounds are let pass before a difference counts all the same.
	unsureMax = 4
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

// sum is a record's part of its leaf's sum: its identity and version, nothing that may differ between equal copies.
func (s *Shard) sum(x *flow.Session, h uint64) uint64 {
	v := fold(uint64(x.Birth)^s.key[1], h|1)
	v = fold(v^s.hash(&x.Reply), uint64(x.Term)<<32^uint64(x.Ver)^mul1)
	return fold(v^x.Owner.Inc, uint64(x.Owner.ID)^mul2)
}

// bulkKey is no secret; zeros would be no key, since they take the addresses of IPv4 out of the hash.
var bulkKey = [2]uint64{mul2, mul3}

// bulkSum is a record's part of a bulk's digest: of what sum is of, but under a key that everyone knows, since the sync threads
// that count what comes don't have the cluster's. Who may seal a datagram may lie anyway.
func bulkSum(r *syncwire.Record) uint64 {
	orig, reply := flow.Key(r.Orig), flow.Key(r.Reply)
	v := fold(r.Birth, clusterHash(&bulkKey, &orig)|1)
	v = fold(v^clusterHash(&bulkKey, &reply), uint64(r.Term)<<32^uint64(r.Ver)^mul1)
	return fold(v^r.OwnerInc, uint64(r.OwnerID)^mul2)
}

func leafOf(x *flow.Session, h uint64) int { return int(x.Bucket)<<2 | int(h>>62) }

// account adds a record to the sums and counts, or takes it off. Every change of identity, version, owner or tombstone
// goes through a pair of these.
func (s *Shard) account(x *flow.Session, sign int) {
	if x.Flags&flow.Tomb != 0 || !announced(x) {
		return
	}
	mine := x.Owner == s.self
	h := s.hash(&x.Orig)
	leaf := leafOf(x, h)
	if !s.off(DigestOwnOnly) || mine {
		if sign > 0 {
			s.sums[leaf] += s.sum(x, h)
		} else {
			s.sums[leaf] -= s.sum(x, h)
		}
	}
	n := uint64(sign)
	s.mapped += n
	if mine {
		s.owned += n
		s.changed[leaf] = s.now
	}
}

// SetDigestKey takes a new cluster key. If it is another one, it passes over the whole store at once.
func (s *Shard) SetDigestKey(key [16]byte) {
	words := [2]uint64{binary.LittleEndian.Uint64(key[:8]), binary.LittleEndian.Uint64(key[8:])}
	if words != s.key {
		s.key = words
		s.recount()
	}
}

func (s *Shard) recount() {
	s.sums, s.mapped, s.owned = [leaves]uint64{}, 0, 0
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

// digestRounds sends the sums that are due: to all each 5 s, to members under repair each 500 ms.
func (s *Shard) digestRounds() {
	if s.off(NoDigest) || len(s.members) == 0 {
		return
	}
	if s.now >= s.nextSum {
		s.nextSum = s.now + digestEvery
		for _, m := range s.members {
			m.nextFix = s.now + m.fixEvery
		}
		s.sendSums(AllNodes)
		return
	}
	for _, m := range s.members {
		if m.repair && s.now >= m.nextFix {
			m.fixed, m.nextFix = s.now, s.now+m.fixEvery
			s.sendSums(m.node.ID)
		}
	}
}

func (s *Shard) sendSums(to uint32) {
	s.round++
	for _, b := range s.buckets {
		a := s.emit(ActDigest)
		a.To, a.Lane = to, syncwire.LaneControl
		a.Digest = syncwire.DigestSums{Round: s.round, Bucket: uint8(b)}
		copy(a.Digest.Sums[:], s.sums[int(b)<<2:])
	}
}

// Digest compares a peer's sums of one bucket with this node's.
func (s *Shard) Digest(now int64, from flow.Node, d *syncwire.DigestSums) {
	s.time(now)
	m := s.member(from)
	if m == nil {
		s.Count[NotMember]++
		return
	}
	all := true
	for i, sum := range d.Sums {
		leaf := int(d.Bucket)<<2 | i
		switch {
		case s.sums[leaf] == sum:
			s.Count[DigestEqual]++
			m.equalAt[leaf] = s.now
			m.unequal[leaf], m.unsure[leaf] = 0, 0
			continue
		case s.now-s.changed[leaf] < unsettled && m.unsure[leaf] < unsureMax:
			s.Count[DigestUnsure]++
			m.unsure[leaf]++
		default:
			s.Count[DigestUnequal]++
			if m.unequal[leaf]++; m.unequal[leaf] >= 2 {
				m.unequal[leaf] = 0
				m.want.add(leaf)
			}
		}
		all = false
	}
	if !all {
		m.repair, m.settled = true, 0
		return
	}
	if m.settled++; m.settled >= len(s.buckets) {
		m.repair, m.fixEvery = false, repairEvery
		m.heal(m.lost)
	}
}

// confirmedLately says whether a digest of the record's owner, or of any member if the owner is gone, was equal lately.
func (s *Shard) confirmedLately(x *flow.Session) bool {
	leaf := leafOf(x, s.hash(&x.Orig))
	for _, m := range s.members {
		if m.equalAt[leaf] != 0 && s.now-m.equalAt[leaf] < confirmedFor {
			return true
		}
	}
	return false
}

// list sends a member, over several ticks, every record of the leaves that differ.
func (s *Shard) list(m *member, n int) {
	if !m.list.running {
		if m.want == (leafSet{}) {
			return
		}
		m.listing, m.want = m.want, leafSet{}
		m.list.start()
		// What a list does not mend, as when a node is full, the next one at once won't either.
		m.fixEvery = min(m.fixEvery*2, digestEvery)
	}
	m.list.step(s.store, n, func(h flow.Handle) {
		x := &s.cur
		s.store.Load(h, x)
		if !live(x) || !announced(x) || s.off(DigestOwnOnly) && x.Owner != s.self {
			return
		}
		if leaf := leafOf(x, s.hash(&x.Orig)); m.listing.has(leaf) {
			s.Count[Listed]++
			s.send(m.node.ID, syncwire.LaneBulk, syncwire.KindDigestList, h, x).Msg.Round = s.round
		}
	})
}
