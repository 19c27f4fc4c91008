package syncer

import "github.com/holdfast-lb/holdfast/dpd/internal/flow"

// gravesBits sets how many records that ended are remembered: 8192 of a shard, about 1.4 MB.
const gravesBits = 13

// grave is the last state of a record that is no longer in the store, so that a peer who lost the word of its end hears it when it
// asks. Without it the peer would list what it still holds, and this node would install it: a life that was over would be back.
//
// They lie in a direct-mapped array by birth, whose collisions forget the older one. For one that is forgotten, or was sent so
// long ago that its datagram is, digests are all there is; what they bring back ages in its time, since no packet uses it.
type grave struct {
	x flow.Session
	h flow.Handle
}

func (s *Shard) grave(b flow.Birth) *grave { return &s.graves[uint64(b)*mul1>>(64-gravesBits)] }

// remember keeps x, which was at h and leaves the store because its life is over everywhere: a collected tombstone, or one that a
// later life displaced. Copies that only this node forgets are not for it, since their owners may go on.
func (s *Shard) remember(h flow.Handle, x *flow.Session) {
	g := s.grave(x.Birth)
	g.h, g.x = h, *x
}

// remembered loads into s.cur what is to be said of a record that ref no longer finds, and says where it lies: who has its tuples
// now, or else its tombstone. An aged one stays an AGE: a CLOSE would beat a revival that this node has not heard of.
func (s *Shard) remembered(ref Ref) (h flow.Handle, ok bool) {
	g := s.grave(ref.Birth)
	if g.h != ref.Handle || g.x.Birth != ref.Birth {
		return 0, false
	}
	if h, _, ok := s.store.Find(&g.x.Reply); ok {
		if s.store.Load(h, &s.cur); s.cur.SameLife(&g.x) || s.cur.CompareLife(&g.x) > 0 {
			return h, true
		}
	}
	s.cur = g.x
	if live(&s.cur) {
		s.cur.Flags |= flow.HardTomb
	}
	return ref.Handle, true
}
