package control

import (
	"bytes"
	"fmt"
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
)

// Bounds of a view. Full replication does not go further than a few dozen nodes.
const (
	maxMembers    = 64
	maxBlocks     = 256
	maxBlockAddrs = 512 // 256 of each family
	maxFenced     = 4096
)

// membership checks a view and converts it.
func membership(p *dpdv1.Membership) (Membership, error) {
	var v violations
	var m Membership
	m.View = p.GetView()
	if m.View == 0 {
		v.add("membership.view", "must be 1 or more")
	}
	self := p.GetSelf()
	m.Self = Member{
		Life: v.life("membership.self.life", self.GetLife()),
		SIP: [2]netip.Addr{
			v.addr("membership.self.sip_v4", self.GetSipV4(), flow.IPv4, true),
			v.addr("membership.self.sip_v6", self.GetSipV6(), flow.IPv6, true),
		},
		SyncPort: v.port("membership.self.sync_port", self.GetSyncPort()),
		State:    v.memberState("membership.self.state", self.GetState()),
	}
	if len(p.GetMembers()) > maxMembers {
		v.add("membership.members", "%d members, at most %d", len(p.GetMembers()), maxMembers)
		return Membership{}, v.err()
	}
	ids := map[uint32]int{}
	sips := map[netip.Addr]int{}
	for i, q := range p.GetMembers() {
		at := fmt.Sprintf("membership.members[%d]", i)
		n := Member{
			Life: v.life(at+".life", q.GetLife()),
			Name: q.GetName(),
			SIP: [2]netip.Addr{
				v.addr(at+".sip_v4", q.GetSipV4(), flow.IPv4, true),
				v.addr(at+".sip_v6", q.GetSipV6(), flow.IPv6, true),
			},
			SyncPort: v.port(at+".sync_port", q.GetSyncPort()),
			State:    v.memberState(at+".state", q.GetState()),
		}
		if j, ok := ids[n.Life.ID]; ok {
			v.add(at+".life.id", "%d is the id of members[%d] too", n.Life.ID, j)
		}
		ids[n.Life.ID] = i
		for f, a := range n.SIP {
			if !a.IsValid() {
				continue
			}
			if j, ok := sips[a]; ok {
				v.add(at+[2]string{".sip_v4", ".sip_v6"}[f], "%v is the address of members[%d] too", a, j)
			}
			sips[a] = i
		}
		if !n.SIP[0].IsValid() && !n.SIP[1].IsValid() {
			v.add(at, "has no sync address")
		}
		if n.Life == m.Self.Life {
			m.Self.Name = n.Name
		}
		m.Members = append(m.Members, n)
	}
	if len(p.GetFenced()) > maxFenced {
		v.add("membership.fenced", "%d lives, at most %d", len(p.GetFenced()), maxFenced)
	} else {
		for i, l := range p.GetFenced() {
			m.Fenced = append(m.Fenced, v.life(fmt.Sprintf("membership.fenced[%d]", i), l))
		}
	}
	if j, ok := ids[m.Self.Life.ID]; !ok && !m.Over() {
		v.add("membership.members", "this node (id %d) is not among them", m.Self.Life.ID)
	} else if ok && m.Members[j].Life != m.Self.Life {
		v.add(fmt.Sprintf("membership.members[%d].life", j), "is another life than membership.self.life")
	}
	m.Blocks = v.blocks(p.GetLaddrBlocks())
	m.StockAccepted = self.GetStockAccepted()
	return m, v.err()
}

func (v *violations) blocks(in []*dpdv1.LaddrBlock) (out []Block) {
	if len(in) > maxBlocks {
		v.add("membership.laddr_blocks", "%d blocks, at most %d", len(in), maxBlocks)
		return nil
	}
	ids := map[uint32]bool{}
	addrs := map[netip.Addr]int{}
	for i, p := range in {
		at := fmt.Sprintf("membership.laddr_blocks[%d]", i)
		b := Block{ID: p.GetId(), Epoch: p.GetEpoch(), Allocatable: p.GetAllocatable()}
		if b.ID == 0 || ids[b.ID] {
			v.add(at+".id", "%d is 0 or an id of another block", b.ID)
		}
		ids[b.ID] = true
		if h := p.GetHolder(); h != nil {
			b.Holder = v.life(at+".holder", h)
		}
		if h := p.GetFormerHolder(); h != nil {
			b.Former = v.life(at+".former_holder", h)
		}
		if n := len(p.GetAddresses()); n == 0 || n > maxBlockAddrs {
			v.add(at+".addresses", "%d addresses, want 1 to %d", n, maxBlockAddrs)
			continue
		}
		for j, text := range p.GetAddresses() {
			f := fmt.Sprintf("%s.addresses[%d]", at, j)
			a := v.addr(f, text, 0, false)
			if k, ok := addrs[a]; ok && a.IsValid() {
				v.add(f, "%v is in laddr_blocks[%d] too", a, k)
			}
			addrs[a] = i
			b.Addrs = append(b.Addrs, a)
		}
		out = append(out, b)
	}
	return out
}

func (v *violations) memberState(field string, s dpdv1.MemberState) MemberState {
	switch s {
	case dpdv1.MemberState_MEMBER_STATE_JOINING:
		return Joining
	case dpdv1.MemberState_MEMBER_STATE_ADMITTED:
		return Admitted
	case dpdv1.MemberState_MEMBER_STATE_DRAINING:
		return Draining
	case dpdv1.MemberState_MEMBER_STATE_DEGRADED:
		return Degraded
	}
	v.add(field, "%v is no state of a member", s)
	return 0
}

// keys checks a key set and converts it.
func keys(p *dpdv1.KeySet) (Keys, error) {
	var v violations
	k := Keys{Generation: p.GetGeneration(), RSS: p.GetRssKey(), Digest: p.GetDigestKey()}
	if k.Generation == 0 {
		v.add("keys.generation", "must be 1 or more")
	}
	if n := len(p.GetKeys()); n < 1 || n > 2 {
		v.add("keys.keys", "%d keys, want 1 or 2", n)
	}
	active := false
	seen := map[uint32]bool{}
	for i, q := range p.GetKeys() {
		at := fmt.Sprintf("keys.keys[%d]", i)
		if q.GetId() < 1 || q.GetId() > 65535 || seen[q.GetId()] {
			v.add(at+".id", "%d is outside 1..65535 or twice in the set", q.GetId())
		}
		seen[q.GetId()] = true
		if len(q.GetSecret()) != 32 {
			v.add(at+".secret", "has %d bytes, want 32", len(q.GetSecret())) // never the secret itself
		}
		if len(bytes.Trim(q.GetSecret(), "\x00")) == 0 {
			v.add(at+".secret", "is all zeros")
		}
		active = active || q.GetId() == p.GetActiveKeyId()
		k.Keys = append(k.Keys, Key{ID: uint16(q.GetId()), Secret: q.GetSecret()})
	}
	if !active {
		v.add("keys.active_key_id", "%d is no key of the set", p.GetActiveKeyId())
	}
	k.Active = uint16(p.GetActiveKeyId())
	if len(k.RSS) != 40 {
		v.add("keys.rss_key", "has %d bytes, want 40", len(k.RSS))
	}
	if len(k.Digest) != 16 {
		v.add("keys.digest_key", "has %d bytes, want 16", len(k.Digest))
	}
	return k, v.err()
}

// ParseMembership checks a view that came in an answer of the coordinator.
func ParseMembership(p *dpdv1.Membership) (Membership, error) { return membership(p) }

// ParseKeys checks a key set that came in an answer of the coordinator.
func ParseKeys(p *dpdv1.KeySet) (Keys, error) { return keys(p) }
