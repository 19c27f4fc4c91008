package node

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/holdfast-lb/holdfast/dpd/internal/config"
	"github.com/holdfast-lb/holdfast/dpd/internal/control"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
)

// proving is how a joining node finds out that the routers have its routes: once it has everything else, it announces its
// local addresses and asks the gateways for echoes to its own ones. The replies come back by these routes alone: others
// announce the same addresses as backup only. n.mu guards it.
type proving struct {
	on    bool   // nothing else is missing, so the local addresses are announced
	of    uint64 // number of the proof that was asked for last
	asked []netip.Addr
}

// start says whether everything but the proof is there. What was proved before counts no more once it isn't: the routes
// were withdrawn meanwhile.
func (p *proving) start(rest bool) {
	if p.on = rest; !rest {
		p.asked = nil
	}
}

// ownLaddrs are the local addresses of this life that are announced plainly, of families that have a next hop.
func (n *Node) ownLaddrs() (out []netip.Addr) {
	if n.cfg.Announce != config.AnnounceNone {
		for _, r := range routes(control.StateReady, &n.view, nil, n.cfg.BGP.Prepend, [2]bool{n.hops[0].IsValid(), n.hops[1].IsValid()}) {
			if r.purpose == purposeLaddr {
				out = append(out, r.Prefix.Addr())
			}
		}
	}
	return out
}

// prove asks the host part for the proof of what is to be proved now, unless it was asked for.
func (n *Node) prove() {
	want := n.ownLaddrs()
	if !n.proving.on || n.state != control.StateJoining || len(want) == 0 || slices.Equal(want, n.proving.asked) {
		return
	}
	of := n.proving.of + 1
	if n.workers[0].Post(func(w *worker.Worker) { n.host.Prove(w.Tick(), of, want) }) { // else the next look tries again
		n.proving.of, n.proving.asked = of, want
	}
}

// unproved is what keeps the routes from being proved; "" when they are, or when there is nothing to prove: nothing is announced,
// no gateway of the family is configured, bgp.guard is off, or this node holds no local address.
func (n *Node) unproved() string {
	if hold := n.holding(); hold != "" {
		return "the routes are held back: " + hold
	}
	want := n.ownLaddrs()
	if len(want) == 0 || n.state != control.StateJoining && n.state != control.StateReady {
		return ""
	}
	p := n.routes.Proof()
	switch {
	case n.proving.on && !n.cfg.BGP.Guard:
		return "" // a gateway that answers no echoes is what bgp.guard is switched off for
	case !n.proving.on || !slices.Equal(want, n.proving.asked):
		return "the local addresses are not announced yet"
	case p == nil || p.Of != n.proving.of:
		return "the gateway is being asked for an echo"
	case len(p.Left) > 0:
		return fmt.Sprintf("no echo of the gateway has come back to %v: no router sends here what is for it (%d of %d local addresses)", p.Left[0], len(p.Left), len(want))
	}
	return ""
}
