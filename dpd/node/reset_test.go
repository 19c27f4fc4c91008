package node

import (
	"context"
	"errors"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

// resetting makes two nodes whose established sessions end after four idle seconds, with a RST if reset.
func resetting(t *testing.T, reset bool) (*cluster, *[]*dpdtest.Conn) {
	c := newCluster(t, 1, 2, 1)
	c.show()
	cfg := services()
	cfg.Revision = 2
	for i := range cfg.Services {
		s := &cfg.Services[i]
		s.Reset = reset && s.Proto == flow.ProtoTCP
		s.Timeouts[flow.TCPEstablished] = 4
	}
	for _, n := range c.nodes {
		c.configure(n, cfg)
	}
	c.echo()
	c.warm()
	var served []*dpdtest.Conn
	c.server.Listen(8080, func(s *dpdtest.Conn) {
		served = append(served, s)
		s.OnData = func(s *dpdtest.Conn, b []byte) { s.Write(b) }
	})
	return c, &served
}

func TestBothSidesOfASessionThatEndsForIdlenessAreResetIfItsServiceAsks(t *testing.T) {
	for _, row := range []struct {
		name   string
		reset  bool
		before func(c *cluster, conns []*dpdtest.Conn)
		by     int // the node that resets; -1: none
		client bool
	}{
		{"by its owner", true, func(*cluster, []*dpdtest.Conn) {}, 0, true},
		{"not if the service is silent", false, func(*cluster, []*dpdtest.Conn) {}, -1, false},
		{"by who took it over", true, func(c *cluster, conns []*dpdtest.Conn) {
			c.kill(0)
			c.onlyVia(1)
			c.talk(conns, 1500)
			c.view++
			m := c.membership(1)
			c.apply(func(ctx context.Context) error { _, err := c.nodes[1].ApplyMembership(ctx, m); return err })
			c.run(300)
		}, 1, true},
		// The owner does not see what the client receives, but what it acknowledges.
		{"also a client whose data comes by another node", true, func(c *cluster, conns []*dpdtest.Conn) {
			c.to = func(in bool, _ *packet.Info) int {
				if in {
					return 0
				}
				return 1
			}
			c.talk(conns, 1500)
		}, 0, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, served := resetting(t, row.reset)
			c.onlyVia(0)
			conns := c.dial(8)
			c.talk(conns, 200)
			row.before(c, conns)
			c.rest(1500)
			for i, k := range conns {
				if k.Err() != nil {
					t.Fatalf("connection %d: %v before its time", i, k.Err())
				}
			}
			c.rest(5500)
			for i, k := range append(conns, *served...) {
				want := row.by >= 0 && (i >= len(conns) || row.client)
				if gone := errors.Is(k.Err(), dpdtest.ErrReset); gone != want {
					t.Errorf("side %d: %v", i, k.Err())
				}
			}
			for i, n := range c.nodes {
				if c.dead[n] {
					continue
				}
				want := uint64(0)
				if i == row.by {
					want = uint64(2 * len(conns))
				}
				if r, lost := c.sum(n, "resets"), c.sum(n, "resets_lost"); r != want || lost != 0 {
					t.Errorf("%s sent %d resets, want %d; %d lost", n.cfg.Node.Name, r, want, lost)
				}
			}
			if bad := c.client.BadChecksums + c.server.BadChecksums; bad > 0 {
				t.Errorf("%d bad checksums", bad)
			}
		})
	}
}

// The owner heard nothing of the packets that its peer carries; the peer refutes the AGE, and nobody may have been reset.
func TestASessionThatAPeerServesIsNotReset(t *testing.T) {
	c, _ := resetting(t, true)
	c.onlyVia(0)
	conns := c.dial(8)
	c.talk(conns, 200)
	c.onlyVia(1)
	c.nodes[1].loop.SetLoss(1, newRand())
	owner := c.nodes[0]
	for aged := uint64(0); aged == 0; {
		if c.now > 20_000 {
			t.Fatal("nothing aged")
		}
		c.talk(conns, 300)
		aged = c.sum(owner, "shard_aged")
	}
	c.nodes[1].loop.SetLoss(0, newRand())
	c.talk(conns, 300)
	c.talk(conns, 3000)
	if r := c.sum(owner, "resets") + c.sum(c.nodes[1], "resets"); r != 0 {
		t.Errorf("%d resets", r)
	}
}

func TestSessionsInOtherStatesEndSilently(t *testing.T) {
	c, served := resetting(t, true)
	c.onlyVia(0)
	conns := c.dial(4)
	c.talk(conns, 200)
	for _, s := range *served {
		s.Close() // the client's half stays open: CLOSE_WAIT and FIN_WAIT have timeouts of their own
	}
	c.client.Send(dpdtest.TCP(clientAddr(false, 8000), vipOf(false)).Flags(packet.SYN)) // never becomes a connection
	c.rest(150_000)
	if r := c.sum(c.nodes[0], "resets"); r != 0 {
		t.Errorf("%d resets", r)
	}
}
