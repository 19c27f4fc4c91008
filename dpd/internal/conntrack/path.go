package conntrack

import "github.com/holdfast-lb/holdfast/dpd/internal/flow"

// path is what the sessions of many clients have in common when one of their sides is IPv6: 64 bytes instead of 64 in each
// record. There are as many as pairs of real server and laddr for each service, which the cache mostly holds. Sessions
// that a server's side starts (SNAT) may have one each; there is room for that.
type path struct {
	pathKey
	refs uint32
	next uint32 // of a free path: the next free one
}

// pathKey identifies a path. What a session doesn't have (a reply tuple, a laddr other than its client) is zero.
type pathKey struct {
	addr  [3][2]uint64 // VIP, server, laddr; IPv4 in the low half of the first word
	ports uint32       // server's<<16 | VIP's
	kind  uint8        // kindPath bits of the records
}

// Places in pathKey.addr.
const (
	pathVIP = iota
	pathServer
	pathLaddr
)

// paths interns them; index 0 is never used.
type paths struct {
	all   []path // mapped for the worst case, but not touched before use
	byKey map[pathKey]uint32
	fresh uint32
	free  uint32
}

// take returns the index of k with one more reference. There is room for one path per session.
func (p *paths) take(k *pathKey) uint32 {
	i, ok := p.byKey[*k]
	if !ok {
		if i = p.free; i != 0 {
			p.free = p.all[i].next
		} else {
			p.fresh++
			i = p.fresh
		}
		p.all[i] = path{pathKey: *k}
		p.byKey[*k] = i
	}
	p.all[i].refs++
	return i
}

// drop gives one reference back.
func (p *paths) drop(i uint32) {
	e := &p.all[i]
	if e.refs--; e.refs == 0 {
		delete(p.byKey, e.pathKey)
		e.next = p.free
		p.free = i
	}
}

// endpoints splits a key's addresses into source and destination, IPv4 in the low half of the first word.
func endpoints(k *flow.Key) (src, dst [2]uint64) {
	if k.Family() == flow.IPv4 {
		return [2]uint64{k.Addr[0] >> 32}, [2]uint64{k.Addr[0] & 0xffffffff}
	}
	return [2]uint64{k.Addr[0], k.Addr[1]}, [2]uint64{k.Addr[2], k.Addr[3]}
}

// join is the reverse of endpoints.
func join(k *flow.Key, src, dst [2]uint64) {
	if k.Family() == flow.IPv4 {
		k.Addr = [4]uint64{src[0]<<32 | dst[0]}
		return
	}
	k.Addr = [4]uint64{src[0], src[1], dst[0], dst[1]}
}

// setWide writes the tuples of a session of which a side is IPv6.
func (t *Table) setWide(r *record, s *flow.Session) {
	var k pathKey
	r.addr, k.addr[pathVIP] = endpoints(&s.Orig)
	k.addr[pathServer], k.addr[pathLaddr] = endpoints(&s.Reply)
	if r.kind&kindNoReply == 0 && r.kind>>1&1 == r.kind&1 && k.addr[pathLaddr] == r.addr {
		r.kind |= kindToClient
		k.addr[pathLaddr] = [2]uint64{}
	}
	r.kind |= kindWide
	k.ports = uint32(s.Reply.SrcPort())<<16 | uint32(s.Orig.DstPort())
	k.kind = r.kind & kindPath
	r.ports = [2]uint32{t.paths.take(&k), uint32(s.Orig.SrcPort())<<16 | uint32(s.Reply.DstPort())}
}

// wide rebuilds tuple d of a record of which a side is IPv6; k.Meta has protocol and family already.
func (t *Table) wide(r *record, d flow.Direction, k *flow.Key) {
	p := &t.paths.all[r.ports[0]]
	if d == flow.In {
		k.Meta |= uint64(r.ports[1]>>16)<<48 | uint64(p.ports&0xffff)<<32
		join(k, r.addr, p.addr[pathVIP])
		return
	}
	k.Meta |= uint64(p.ports>>16)<<48 | uint64(r.ports[1]&0xffff)<<32
	dst := p.addr[pathLaddr]
	if r.kind&kindToClient != 0 {
		dst = r.addr
	}
	join(k, p.addr[pathServer], dst)
}
