package neigh

import (
	"net/netip"
	"slices"
)

const (
	// proofID tells the replies that prove a route from those to probes, which any node may get.
	proofID = 0x4847
	proofMS = 100 // between requests from the same address
	// proofBatch bounds the addresses that requests go out from at a time.
	proofBatch = 16
)

// Proof says which routes to addresses of ours are not proved yet. Immutable.
type Proof struct {
	Of   uint64 // the number that Prove was given
	Left []netip.Addr
}

// proof is the work that is left: an echo request from each address to every gateway of its family, until one answers.
// What answers can only come back by the route to the address, so the routers know it, and it leads here.
type proof struct {
	of    uint64
	left  []netip.Addr
	first uint16 // sequence number of the first request; what answers an earlier one may have come by an earlier route
	seq   uint16
	next  uint32
}

// Prove begins to ask the gateways for echoes to addresses of ours; the Publisher's Proof with the same number tells how
// far it is. It replaces what was to be proved before. Nothing is left to prove for a family without gateway.
func (m *Machine) Prove(now uint32, of uint64, list []netip.Addr) {
	m.proof = proof{of: of, first: m.proof.seq + 1, seq: m.proof.seq, next: now}
	for _, a := range list {
		if slices.ContainsFunc(m.gateways, func(g gateway) bool { return g.addr.Is4() == a.Is4() }) {
			m.proof.left = append(m.proof.left, a)
		}
	}
	m.publishProof()
}

func (m *Machine) publishProof() {
	m.pub.proof.Store(&Proof{Of: m.proof.of, Left: slices.Clone(m.proof.left)})
}

// Proof is how far Prove has come; nil before it was called. Any thread.
func (p *Publisher) Proof() *Proof { return p.proof.Load() }

// proveSome sends requests when it is time. A gateway whose neighbour isn't known yet is being asked for anyway.
func (m *Machine) proveSome(now uint32) {
	if len(m.proof.left) == 0 || !due(now, m.proof.next) {
		return
	}
	m.proof.next = now + proofMS
	m.proof.seq++
	for _, a := range m.proof.left[:min(proofBatch, len(m.proof.left))] {
		for i := range m.gateways {
			g := &m.gateways[i]
			if g.addr.Is4() != a.Is4() || g.entry == nil || g.entry.hop == nil {
				continue
			}
			m.count(ProofAsked)
			m.sendEcho(g.entry.hop, a, uint32(proofID)<<16|uint32(m.proof.seq))
		}
	}
}

// proved takes a reply from src to dst.
func (m *Machine) proved(seq uint16, src, dst netip.Addr) {
	i := slices.Index(m.proof.left, dst)
	if i < 0 || seq-m.proof.first > m.proof.seq-m.proof.first ||
		!slices.ContainsFunc(m.gateways, func(g gateway) bool { return g.addr == src }) {
		m.count(Unasked)
		return
	}
	m.count(ProofHeard)
	m.proof.left = slices.Delete(m.proof.left, i, i+1)
	m.publishProof()
}
