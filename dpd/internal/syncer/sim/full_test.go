package sim

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// announced counts the living records of a node that peers were told of.
func (n *node) announced() (count uint64) {
	n.each(func(x *flow.Session) {
		if x.Ver > 1 && x.Flags&flow.Tomb == 0 {
			count++
		}
	})
	return count
}

// A SYN began a closing session anew, so peers know an embryonic session, which a full table gives up for another. It counts no
// more then: digests are of what is there, or they never agree again.
func TestASessionThatAFullTableGaveUpCountsNoMore(t *testing.T) {
	w := newWorld(1, options{nodes: 1, clients: 24, est: 120, capacity: 6, net: net{delay: 1}})
	defer w.close()
	w.run(1500)
	n := w.nodes[0]
	c := w.client(0, n, n).quietly()
	c.finish(flow.In)
	n.packet(packet{c: c, key: c.orig, dir: flow.In, seg: conntrack.Segment{Seq: c.next[flow.In] - 50_000, Window: 1000, Flags: conntrack.SYN}})
	x, _, ok := n.find(c.bucket, &c.reply)
	if !ok || x.Flags&flow.Embryonic == 0 || x.Ver < 2 {
		t.Fatalf("the SYN left %s", version(x.Birth, x.Term, x.Owner, x.Ver, x.Flags))
	}
	for _, i := range []int{1, 2, 5, 6, 8, 10, 12} { // TCP over IPv4
		if w.dial(i, n, n); w.total.evicted == 0 {
			w.run(100)
		}
	}
	if _, _, ok := n.find(c.bucket, &c.reply); ok || w.total.evicted == 0 {
		t.Fatalf("%d sessions were given up, this one is there: %v", w.total.evicted, ok)
	}
	if all, owned := n.shards[0].Mapped(); all != n.announced() || owned != all {
		t.Errorf("%d sessions count, %d of them as own; %d are there", all, owned, n.announced())
	}
}
