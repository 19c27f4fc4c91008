package syncer

import "github.com/holdfast-lb/holdfast/dpd/internal/flow"

// gravesBits sets how many records that ended are remembered: 8192 of a shard, about 1.4 MB, in sets of four.
const (
	gravesBits = 13
	graveWays  = 4
)

// grave is the last state of a record that is no longer in the store, so that a peer who lost the word of its end hears it when it
// asks. Without it the peer would list what it still holds, and this node would install it: a life that was over would be back.
//
// They lie in sets by birth and handle, each of which forgets its oldest; births alone are alike on all nodes that make
// sessions in the same millisecond, which end in the same one, too. For one that is forgotten, or was sent so long ago that
// its datagram is, digests are all there is; what they bring back ages in its time, since no packet uses it.
type grave struct {
	x flow.Session
	h flow.Handle
}

// graves are those of a shard.
type graves struct {
	list []grave
	next []uint8 // by set: how many it was given
}

func newGraves() graves {
	return graves{make([]grave, 1<<gravesBits), make([]uint8, 1<<gravesBits/graveWays)}
}

func (g *graves) set(b flow.Birth, h flow.Handle) int {
	return int(fold(uint64(b)^mul1, uint64(h)^mul2) % uint64(len(g.next)))
}

// find is the youngest of a record; nil if it is forgotten.
func (g *graves) find(ref Ref) *grave {
	set := g.set(ref.Birth, ref.Handle)
	for i := range graveWays {
		v := &g.list[set*graveWays+int(g.next[set]-1-uint8(i))%graveWays]
		if v.h == ref.Handle && v.x.Birth == ref.Birth {
			return v
		}
	}
	return nil
}

// remember keeps x, which was at h and leaves the store because its life is over everywhere: a collected tombstone, or one that a
// later life displaced. Copies that only this node forgets are not for it, since their owners may go on.
func (s *Shard) remember(h flow.Handle, x *flow.Session) {
	g := &s.graves
	set := g.set(x.Birth, h)
	v := &g.list[set*graveWays+int(g.next[set])%graveWays]
	g.next[set]++
	v.h, v.x = h, *x
}

// remembered loads into s.cur what is to be said of a record that ref no longer finds, and says where it lies: who has its tuples
// now, or else its tombstone. An aged one stays an AGE: a CLOSE would beat a revival that this node has not heard of.
func (s *Shard) remembered(ref Ref) (h flow.Handle, ok bool) {
	g := s.graves.find(ref)
	if g == nil {
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
