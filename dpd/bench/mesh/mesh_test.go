package mesh

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
)

func TestLivesPassThroughTheirNodes(t *testing.T) {
	for _, workers := range []int{1, 2} {
		m, err := New(Config{Nodes: 2, Workers: workers, Room: 1 << 15, Rounds: 2})
		if err != nil {
			t.Fatal(err)
		}
		if err := m.View(Admitted, Admitted); err != nil {
			t.Fatal(err)
		}
		tr, err := m.NewTraffic(4096)
		if err != nil {
			t.Fatal(err)
		}
		for range 12_000 { // links, and the time after a view in which datagrams are asked for
			m.Step()
		}
		tr.Rate, tr.UDP, tr.Doors, tr.Apart = 1000, 100, []int{0, 1}, 500
		for range 2000 {
			m.Step()
		}
		tr.Rate = 0
		for range 1000 {
			m.Step()
		}
		t.Logf("%+v", tr.Count)
		c := tr.Count
		if c.Ended != c.Begun || c.Begun != 2000 || c.Broken+c.Again+c.LateUDP+c.Lost+c.Stray+c.Waiting != 0 {
			t.Errorf("%d workers: %+v", workers, c)
		}
		for i, n := range m.Nodes {
			if opened := n.Counter(stat.Opened); opened != 1000 {
				t.Errorf("node %d opened %d", i, opened)
			}
			if n.Counter(stat.Held) != 0 {
				t.Errorf("node %d held %d packets", i, n.Counter(stat.Held))
			}
		}
		if d := Equal(m.Nodes[0], m.Nodes[1]); d != 0 {
			t.Errorf("%d sessions differ", d)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}
