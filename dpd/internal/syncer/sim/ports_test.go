package sim

import (
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/localport"
)

// portsPerBucket is how many ports of a bucket are free at first. The pool has 252, of which the rest are marked, so that the few
// come back soon.
const portsPerBucket = 3

func laddr(block int) netip.Addr { return netip.AddrFrom4([4]byte{10, 9, byte(block), 1}) }

func endpoint(proto uint8, server netip.Addr) localport.Endpoint {
	return localport.EndpointOf(proto, netip.AddrPortFrom(server, 80))
}

// setBlock leases the node's block to a worker's pool.
func (s *shard) setBlock() {
	if s.n.block == 0 {
		s.ports.SetBlocks(nil)
		return
	}
	s.ports.SetBlocks([]netip.Addr{laddr(s.n.block)})
	if s.marked > 0 {
		return
	}
	for i := range s.n.w.opt.clients {
		orig, b := clientKey(i)
		if s.n.shardOf(b) != s.i {
			continue
		}
		for _, server := range servers {
			for k := portsPerBucket; k < localport.PerBucket; k++ {
				s.ports.Mark(portKey(orig.Proto(), server, s.n.block, k, b))
			}
		}
	}
	s.marked = s.ports.Stats().InUse
}

// evicted is told by a full table of an embryonic session that makes room.
func (s *shard) evicted(_ flow.Handle, x *flow.Session) {
	s.n.w.total.evicted++
	s.Evicted(x)
	s.ports.Release(x.Reply)
}

func portKey(proto uint8, server netip.Addr, block, i int, b flow.Bucket) flow.Key {
	k, err := flow.MakeKey(proto, netip.AddrPortFrom(server, 80), netip.AddrPortFrom(laddr(block), uint16(1024+256*i)+uint16(b)))
	if err != nil {
		panic(err)
	}
	return k
}

// full is asked by a full table to forget an aged session.
func (s *shard) full(six bool) bool { return s.GiveUpTombstone(six) }
