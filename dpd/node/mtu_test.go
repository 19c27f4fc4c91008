package node

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/config"
)

func TestTheSyncMTUInForceIsVisible(t *testing.T) {
	for _, row := range []struct {
		name       string
		sync, port int // IP packets
		want       uint32
	}{
		{"the least", 1280, 1500, 1280 - ipUDP},
		{"the default", config.Default().Sync.MTU, 1500, 1400 - ipUDP},
		{"all that Ethernet carries", 1500, 1500, 1500 - ipUDP},
		{"more than the port carries", 9000, 1500, 1500 - ipUDP},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newCluster(t, 1)
			c.adjust = func(_ int, cfg *config.Config) { cfg.Sync.MTU, cfg.Ports[0].MTU = row.sync, row.port }
			c.add(0, 1, 1)
			c.add(1, 1, 1)
			c.show()
			c.run(4000)
			for _, n := range c.nodes {
				c.watch(n)
				if s := n.Status(); len(s.Peers) != 1 || s.Peers[0].MTU != row.want {
					t.Errorf("%s shows %+v, want a payload of %d", n.cfg.Node.Name, s.Peers, row.want)
				}
			}
		})
	}
}

func TestJumboDatagramsFitThePort(t *testing.T) {
	for _, row := range []struct{ sync, port, want int }{{8000, 9000, 8000}, {9000, 9216, 9000}, {9000, 8500, 8500}, {1400, 1280, 1280}} {
		c := config.Config{Sync: config.Sync{MTU: row.sync}, Ports: []config.Port{{MTU: 1280}, {MTU: row.port}}}
		if got := syncPayload(&c) + ipUDP; got != row.want {
			t.Errorf("sync.mtu %d over a port of %d: packets of %d, want %d", row.sync, row.port, got, row.want)
		}
	}
}
