package node

import (
	"context"
	"net/netip"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/control"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
)

// oneBucket lists n client endpoints of 10.0.0.2 and 10.0.0.22 that share a bucket.
func (c *cluster) oneBucket(n int) (out []netip.AddrPort) {
	c.t.Helper()
	for _, a := range []string{"10.0.0.2", "10.0.0.22"} {
		for p := 1024; p < 65536 && len(out) < n; p++ {
			from := netip.AddrPortFrom(dpdtest.Addr(a), uint16(p))
			k, err := flow.MakeKey(flow.ProtoUDP, from, vipOf(false))
			if err != nil {
				c.t.Fatal(err)
			}
			if c.nodes[0].interp.Bucket(k.Addr, k.Meta) == 77 {
				out = append(out, from)
			}
		}
	}
	if len(out) < n {
		c.t.Fatalf("only %d of %d clients share the bucket", len(out), n)
	}
	return out
}

// inUse is the number of local ports taken, over all workers.
func (c *cluster) inUse(n *Node) (sum int) {
	c.t.Helper()
	c.apply(func(ctx context.Context) error {
		return n.each(ctx, func(w *worker.Worker) { sum += w.Ports().Stats().InUse })
	})
	return sum
}

// ended is how many closed sessions a node remembers.
func (c *cluster) ended(n *Node) (sum int) {
	c.t.Helper()
	c.apply(func(ctx context.Context) error {
		return n.each(ctx, func(w *worker.Worker) {
			closed, _ := w.Shard().Tombs()
			sum += closed
		})
	})
	return sum
}

func (c *cluster) deleteAll(n *Node) (closed uint64) {
	c.t.Helper()
	c.apply(func(ctx context.Context) (err error) {
		closed, err = n.Close(ctx, func(*flow.Session) bool { return true })
		return err
	})
	return closed
}

func TestWithoutLocalPortsNewFlowsAreRefusedAndOldOnesLive(t *testing.T) {
	c := newCluster(t, 1, 1)
	c.client.Addrs = append(c.client.Addrs, dpdtest.Addr("10.0.0.22"))
	c.echo()
	c.show()
	c.warm()
	c.rest(10_000)
	n := c.nodes[0]
	answers := map[netip.AddrPort]int{}
	c.client.OnUDP = func(_, dst netip.AddrPort, _ []byte) []byte { answers[dst]++; return nil }
	from := c.oneBucket(262)
	for _, a := range from {
		c.client.SendUDP(a, vipOf(false), []byte("x"))
		c.run(1)
	}
	c.run(30)
	if len(answers) != 252 {
		t.Errorf("%d flows were served by 252 ports", len(answers))
	}
	if d := c.sum(n, "drop_no_local_port"); d != 10 {
		t.Errorf("%d refusals counted, want 10", d)
	}
	for _, a := range from[:252] {
		c.client.SendUDP(a, vipOf(false), []byte("y"))
		c.run(1)
	}
	c.run(30)
	for _, a := range from[:252] {
		if answers[a] != 2 {
			t.Fatalf("%v got %d answers of 2", a, answers[a])
		}
	}
	// Another bucket has its own ports.
	c.client.SendUDP(clientAddr(false, 1), vipOf(false), []byte("z"))
	c.run(20)
	if answers[clientAddr(false, 1)] != 1 {
		t.Error("a flow of another bucket was refused")
	}
	c.deleteAll(n)
	c.rest(12_000) // tombstones
	if got, left := c.inUse(n), len(c.sessions(n)); got != 0 || left != 0 {
		t.Errorf("%d ports and %d records are left of closed sessions", got, left)
	}
	for _, a := range from[252:] {
		c.client.SendUDP(a, vipOf(false), []byte("x"))
		c.run(3)
	}
	c.run(30)
	for _, a := range from[252:] {
		if answers[a] != 1 {
			t.Errorf("%v is still refused", a)
		}
	}
}

func TestAFullTableRefusesNewFlowsAndKeepsOldOnes(t *testing.T) {
	c := newCluster(t, 1, 4) // four workers of 1024 IPv4 sessions each
	c.echo()
	c.show()
	c.warm()
	c.rest(10_000)
	n := c.nodes[0]
	old := []*dpdtest.Conn{}
	for i := range 8 {
		old = append(old, c.client.Dial(clientAddr(false, uint16(4000+i)), vipOf(false)))
	}
	c.run(60)
	c.talk(old, 100)
	answers := map[netip.AddrPort]int{}
	c.client.OnUDP = func(_, dst netip.AddrPort, _ []byte) []byte { answers[dst]++; return nil }
	for i := range 6000 {
		c.client.SendUDP(clientAddr(false, uint16(10000+i)), vipOf(false), []byte("x"))
		if i%16 == 15 {
			c.run(1)
		}
	}
	c.run(50)
	full := c.sum(n, "drop_table_full")
	if full == 0 || len(answers)+int(full) != 6000 {
		t.Errorf("%d flows served and %d refused for want of room, of 6000", len(answers), full)
	}
	if held := len(c.sessions(n)) + c.ended(n); c.inUse(n) != held {
		t.Errorf("%d ports are in use by %d sessions, those that ended included", c.inUse(n), held)
	}
	// Half-open connections neither get in nor push anybody out.
	for i := range 500 {
		c.client.Send(dpdtest.TCP(clientAddr(false, uint16(30000+i)), vipOf(false)).Flags(packet.SYN))
	}
	c.run(50)
	c.talk(old, 100)
	served := len(answers)
	for a := range answers {
		c.client.SendUDP(a, vipOf(false), []byte("y"))
		if served--; served%16 == 0 {
			c.run(1)
		}
	}
	c.run(50)
	for a, k := range answers {
		if k != 2 {
			t.Fatalf("%v got %d answers of 2", a, k)
		}
	}
	c.deleteAll(n)
	c.rest(12_000)
	if got, left := c.inUse(n), len(c.sessions(n)); got != 0 || left != 0 {
		t.Errorf("%d ports and %d records are left", got, left)
	}
}

func TestHalfOpenConnectionsMakeRoomForOthers(t *testing.T) {
	c := newCluster(t, 1, 4)
	c.echo()
	c.show()
	c.warm()
	c.rest(10_000)
	n := c.nodes[0]
	c.server.Listen(8080, nil)
	c.server.Silent, c.client.Silent = true, true
	for i := range 6000 {
		c.client.Send(dpdtest.TCP(clientAddr(false, uint16(10000+i)), vipOf(false)).Flags(packet.SYN))
		if i%32 == 31 {
			c.run(1)
		}
	}
	c.run(20)
	if c.sum(n, "evicted") == 0 {
		t.Fatal("6000 half-open connections fit into 4096 records")
	}
	held := len(c.sessions(n)) + c.ended(n)
	if use := c.inUse(n); use != held {
		t.Errorf("%d ports in use by %d records", use, held)
	}
	c.echo()
	conns := c.dial(16)
	c.talk(conns, 200)
	c.rest(45_000)
	if left := len(c.sessions(n)); left != len(conns) {
		t.Errorf("%d records for %d connections", left, len(conns))
	}
	if use := c.inUse(n); use != len(conns) {
		t.Errorf("%d ports in use by %d connections", use, len(conns))
	}
}

func TestASynThatAFullTableRefusesLeavesTheConnectionThatItFound(t *testing.T) {
	c := newCluster(t, 1, 4)
	c.echo()
	c.show()
	c.warm()
	c.rest(10_000)
	n := c.nodes[0]
	var conns []*dpdtest.Conn
	for i := range 8 {
		conns = append(conns, c.client.Dial(clientAddr(false, uint16(4000+i)), vipOf(false)))
	}
	c.run(60)
	c.talk(conns, 100)
	cfg := services()
	cfg.Revision = 2
	cfg.Services[0].Servers[0].State = control.Down // a SYN would go to the other one, by a new mapping
	cfg.Services[0].Servers = append(cfg.Services[0].Servers, control.Server{ID: 50, Name: "b", Addr: dpdtest.AP(rs4 + ":8081"), Weight: 1, State: control.Up})
	c.configure(n, cfg)
	for i := range 6000 {
		c.client.SendUDP(clientAddr(false, uint16(10000+i)), vipOf(false), []byte("x"))
		if i%16 == 15 {
			c.run(1)
		}
	}
	c.run(20)
	full := c.sum(n, "drop_table_full")
	c.sw.Impair(1, dpdtest.Impair{Loss: 1}) // the server hears none of the SYNs, so it seems to be gone
	for range 2 {
		for i := range conns {
			c.client.Send(dpdtest.TCP(clientAddr(false, uint16(4000+i)), vipOf(false)).Flags(packet.SYN).Seq(0x66666666))
		}
		c.run(600)
	}
	c.sw.Impair(1, dpdtest.Impair{})
	if got := c.sum(n, "drop_table_full") - full; got != uint64(len(conns)) {
		t.Errorf("%d SYNs refused for want of room", got)
	}
	c.talk(conns, 200)
}
