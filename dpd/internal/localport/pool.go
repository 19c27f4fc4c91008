// Package localport gives FullNAT and SNAT sessions of one worker their local address and port.
//
// The same port of a local address (laddr) serves many real servers: what must be unique is (laddr, port, server endpoint,
// protocol). The low 8 bits of the port are the flow's steering bucket, so a bucket has 252 ports of 1024-65535 per laddr and
// server. A port comes back oldest first: those never used, then in the order of their release.
//
// A node is the state of one (laddr, server, bucket): it is made when its first port is taken and reclaimed when none is in
// use and room is wanted. The pool belongs to one goroutine.
package localport

import (
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// Ports of a bucket: those of 1024-65535 with its low 8 bits.
const (
	firstHigh = 1024 >> 8
	// PerBucket is how many ports a laddr has for one bucket, server and protocol.
	PerBucket = 256 - firstHigh
)

// DefaultNodes is the bound on nodes if the configuration names none: about 160 MB when all are in use.
const DefaultNodes = 1 << 20

// Endpoint is a real server as a flow.Key has its source: protocol, address (IPv4 in the low half of Addr[0]) and port.
type Endpoint struct {
	Addr   [2]uint64
	Port   uint16
	Proto  uint8
	Family uint8
}

// EndpointOf makes an Endpoint; a 4-in-6 address counts as IPv4.
func EndpointOf(proto uint8, a netip.AddrPort) Endpoint {
	k, err := flow.MakeKey(proto, a, a)
	if err != nil {
		return Endpoint{}
	}
	e := Endpoint{Port: a.Port(), Proto: proto, Family: k.Family()}
	if e.Addr[0], e.Addr[1] = k.Addr[0], k.Addr[1]; e.Family == flow.IPv4 {
		e.Addr[0] &= 0xffffffff
	}
	return e
}

// Stats are present numbers and counters since New.
type Stats struct {
	InUse, Nodes int
	Taken        uint64
	Exhausted    uint64 // no port left for the bucket and server on any laddr
	NoAddress    uint64 // no laddr of the family is leased
	NoNode       uint64 // the bound on nodes is reached
	NotTaken     uint64 // released although not in use
}

// Pool hands out local ports.
type Pool struct {
	addrs  []laddr
	byAddr map[[2]uint64]uint32 // index into addrs; IPv4 as {address, 0} with familyBit in the second word
	leased [2][]uint32          // IPv4, IPv6: indexes into addrs
	nodes  slab
	turn   uint32
	stats  Stats
	// offered is what Offer passes on: on its stack it would escape.
	offered flow.Key
}

type laddr struct {
	addr   [2]uint64
	leased bool
}

// New makes a pool without addresses. maxNodes bounds its memory (about 160 bytes each); 0 = DefaultNodes.
func New(maxNodes int) *Pool { return NewRandom(maxNodes, nil) }

// NewRandom is New with a source of the secret of its hash, so that a simulation can be replayed.
func NewRandom(maxNodes int, random func([]byte)) *Pool {
	if maxNodes <= 0 {
		maxNodes = DefaultNodes
	}
	return &Pool{byAddr: make(map[[2]uint64]uint32), nodes: newSlab(maxNodes, random)}
}

// only IPv4 addresses have this second word: no IPv6 laddr looks like it.
const familyBit = 1<<63 | 4

func addrKey(a [2]uint64, family uint8) [2]uint64 {
	if family == flow.IPv4 {
		return [2]uint64{a[0] & 0xffffffff, familyBit}
	}
	return a
}

// SetBlocks replaces the local addresses leased to this node. Ports of others aren't taken any more; those in use are
// remembered, should the address come back. What records hold of an address that is new here must be told by Mark.
func (p *Pool) SetBlocks(addrs []netip.Addr) {
	for i := range p.addrs {
		p.addrs[i].leased = false
	}
	p.leased = [2][]uint32{}
	for _, a := range addrs {
		e := EndpointOf(flow.ProtoTCP, netip.AddrPortFrom(a, 1))
		if e.Family == 0 {
			continue
		}
		k := addrKey(e.Addr, e.Family)
		i, ok := p.byAddr[k]
		if !ok {
			i = uint32(len(p.addrs))
			p.addrs = append(p.addrs, laddr{addr: e.Addr})
			p.byAddr[k] = i
		}
		if !p.addrs[i].leased {
			p.addrs[i].leased = true
			part := familyPart(e.Family)
			p.leased[part] = append(p.leased[part], i)
		}
	}
}

func familyPart(family uint8) int {
	if family == flow.IPv6 {
		return 1
	}
	return 0
}

// Take takes a port for a new flow of bucket b to the server and returns the reply tuple, server to laddr. It tries the
// leased addresses in turn.
func (p *Pool) Take(b flow.Bucket, server Endpoint) (reply flow.Key, ok bool) {
	leased := p.leased[familyPart(server.Family)]
	if len(leased) == 0 {
		p.stats.NoAddress++
		return reply, false
	}
	p.turn++
	for i := range leased {
		a := leased[(p.turn+uint32(i))%uint32(len(leased))]
		n, _ := p.node(keyOf(server, a, b), true)
		if n == nil {
			p.stats.NoNode++
			return reply, false
		}
		if high, ok := n.take(&p.nodes.chunk); ok {
			p.stats.Taken++
			p.stats.InUse++
			return replyKey(server, &p.addrs[a], uint16(high)<<8|uint16(b)), true
		}
	}
	p.stats.Exhausted++
	return reply, false
}

// Offer is for when Take found no port: it passes reply tuples in use, of bucket b to the server, to give until that has given one
// back, by Release, and reports it by true. At most looks ports are looked at. They come in the order in which a pool without free
// ports gave them, each once a round, the next call going on where the last one ended.
func (p *Pool) Offer(b flow.Bucket, server Endpoint, looks int, give func(reply *flow.Key) bool) bool {
	leased := p.leased[familyPart(server.Family)]
	for i := range leased {
		a := leased[(p.turn+uint32(i))%uint32(len(leased))]
		n, _ := p.node(keyOf(server, a, b), false)
		if n == nil {
			continue
		}
		share := (looks + len(leased) - i - 1) / (len(leased) - i)
		looks -= share
		for {
			high, ok := n.offer(&share)
			if !ok {
				break
			}
			p.offered = replyKey(server, &p.addrs[a], uint16(high)<<8|uint16(b))
			if give(&p.offered) {
				return true
			}
		}
	}
	return false
}

func replyKey(s Endpoint, l *laddr, port uint16) flow.Key {
	k := flow.Key{Meta: uint64(s.Port)<<48 | uint64(port)<<32 | uint64(s.Proto)<<8 | uint64(s.Family)}
	if s.Family == flow.IPv4 {
		k.Addr[0] = s.Addr[0]<<32 | l.addr[0]
	} else {
		k.Addr = [4]uint64{s.Addr[0], s.Addr[1], l.addr[0], l.addr[1]}
	}
	return k
}

// split takes a reply tuple apart: the server, and the index of the laddr if it is or was one of ours.
func (p *Pool) split(reply *flow.Key) (server Endpoint, addr uint32, ok bool) {
	server = Endpoint{Port: reply.SrcPort(), Proto: reply.Proto(), Family: reply.Family()}
	local := [2]uint64{reply.Addr[2], reply.Addr[3]}
	server.Addr[0], server.Addr[1] = reply.Addr[0], reply.Addr[1]
	if server.Family == flow.IPv4 {
		server.Addr[0], server.Addr[1] = reply.Addr[0]>>32, 0
		local = [2]uint64{reply.Addr[0] & 0xffffffff}
	}
	addr, ok = p.byAddr[addrKey(local, server.Family)]
	return server, addr, ok && reply.DstPort() >= firstHigh<<8
}

// Mark takes a certain port out of the pool because a session that came from elsewhere has it. Addresses that were
// never ours are ignored; marking twice does nothing.
func (p *Pool) Mark(reply flow.Key) {
	server, a, ok := p.split(&reply)
	if !ok {
		return
	}
	n, _ := p.node(keyOf(server, a, flow.Bucket(reply.DstPort())), true)
	if n == nil {
		p.stats.NoNode++
		return
	}
	if n.mark(uint8(reply.DstPort() >> 8)) {
		p.stats.InUse++
	}
}

// Quarantine keeps the port of a session that ended in use until Free, and names the node that it is of: 0 if there is nothing
// to keep. own says that the session had the port; else it is kept only if it is free.
func (p *Pool) Quarantine(reply *flow.Key, own bool) (ref uint32) {
	server, a, ok := p.split(reply)
	if !ok {
		return 0
	}
	n, i := p.node(keyOf(server, a, flow.Bucket(reply.DstPort())), !own)
	switch {
	case n == nil:
		return 0
	case n.mark(uint8(reply.DstPort() >> 8)):
		p.stats.InUse++
	case !own:
		return 0
	}
	return i + 1
}

// Free ends what Quarantine began; port is that of the reply tuple.
func (p *Pool) Free(ref uint32, port uint16) {
	if ref == 0 {
		return
	}
	if !p.nodes.at(ref-1).release(&p.nodes.chunk, uint8(port>>8)) {
		p.stats.NotTaken++
		return
	}
	p.stats.InUse--
}

// Release gives a port back. Ports of addresses that were never ours are ignored, and one that is not in use where the
// address is not ours now: what came by sync meanwhile was not marked.
func (p *Pool) Release(reply flow.Key) {
	server, a, ok := p.split(&reply)
	if !ok {
		return
	}
	n, _ := p.node(keyOf(server, a, flow.Bucket(reply.DstPort())), false)
	if n == nil || !n.release(&p.nodes.chunk, uint8(reply.DstPort()>>8)) {
		if p.addrs[a].leased {
			p.stats.NotTaken++
		}
		return
	}
	p.stats.InUse--
}

// Holds says whether the laddr of a reply tuple is leased to this node.
func (p *Pool) Holds(reply *flow.Key) bool {
	_, a, ok := p.split(reply)
	return ok && p.addrs[a].leased
}

// Stats reads the counters.
func (p *Pool) Stats() Stats {
	s := p.stats
	s.Nodes = p.nodes.used
	return s
}

// reclaimStep is how many nodes are looked at for one to reclaim when the bound is reached.
const reclaimStep = 64

// node finds the node of k, or makes it.
func (p *Pool) node(k nodeKey, make bool) (*node, uint32) {
	if n, i := p.nodes.find(&k); n != nil || !make {
		return n, i
	}
	n, i := p.nodes.add(&k)
	if n == nil && p.nodes.reclaim(reclaimStep) {
		n, i = p.nodes.add(&k)
	}
	if n != nil {
		n.start = uint8(p.nodes.index.hash(&k) % PerBucket)
	}
	return n, i
}
