package node

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

func TestConnectionsAreForwardedWhateverTheWorkersAndQueues(t *testing.T) {
	for _, row := range []struct{ workers, rx int }{{1, 1}, {1, 2}, {2, 1}, {2, 3}, {3, 1}, {3, 4}} {
		t.Run(fmt.Sprintf("%d workers %d queues", row.workers, row.rx), func(t *testing.T) {
			c := newCluster(t, row.rx, row.workers)
			c.echo()
			c.show()
			c.warm()
			var conns []*dpdtest.Conn
			for i := range 24 {
				conns = append(conns, c.client.Dial(clientAddr(i%2 == 1, uint16(4000+i)), vipOf(i%2 == 1)))
			}
			c.run(50)
			want := bytes.Repeat([]byte("holdfast"), 500)
			for _, k := range conns {
				k.Write(want)
			}
			c.run(2000)
			for i, k := range conns {
				if k.Err() != nil || !bytes.Equal(k.Received(), want) {
					t.Fatalf("connection %d: %v, %d of %d bytes came back, %d repeats", i, k.Err(), len(k.Received()), len(want), k.Repeats())
				}
				if k.Repeats() > 0 {
					t.Errorf("connection %d repeated %d times", i, k.Repeats())
				}
				k.Close()
			}
			c.run(500)
			if n := c.server.BadChecksums + c.client.BadChecksums; n > 0 {
				t.Errorf("%d bad checksums", n)
			}
			if handed := c.sum(c.nodes[0], "handed_over"); row.workers > 1 && handed == 0 {
				t.Error("no packet was handed to another worker")
			}
		})
	}
}

// warm lets every node learn its neighbours, which costs the first packets of a burst.
func (c *cluster) warm() {
	to := c.to
	for i := range c.nodes {
		c.to = func(bool, *packet.Info) int { return i }
		for _, v6 := range []bool{false, true} {
			k := c.client.Dial(clientAddr(v6, uint16(3000+i)), vipOf(v6))
			c.run(400)
			k.Abort()
			c.run(20)
		}
	}
	c.to = to
}

func TestDatagramsComeBackInBothFamilies(t *testing.T) {
	c := newCluster(t, 1, 2)
	c.echo()
	c.show()
	got := map[string]int{}
	c.client.OnUDP = func(_, dst netip.AddrPort, p []byte) []byte { got[dst.String()+" "+string(p)]++; return nil }
	for i := range 20 {
		a := clientAddr(i%2 == 1, uint16(5000+i))
		c.client.SendUDP(a, vipOf(i%2 == 1), []byte("one"))
		c.run(20)
		c.client.SendUDP(a, vipOf(i%2 == 1), []byte("two"))
	}
	c.run(50)
	if len(got) != 40 {
		t.Errorf("%d different answers, want 40", len(got))
	}
	for k, n := range got {
		if n != 1 {
			t.Errorf("%s came %d times", k, n)
		}
	}
	if n := len(c.sessions(c.nodes[0])); n != 20 {
		t.Errorf("%d sessions for 20 flows", n)
	}
}

func TestWhatCanNotBeForwardedIsCountedUnderItsReason(t *testing.T) {
	me := dpdtest.AP("10.0.0.2:7000")
	for _, row := range []struct {
		name, counter string
		frame         *dpdtest.Frame
	}{
		{"a SYN to a port without service", "drop_no_service", dpdtest.TCP(me, dpdtest.AP("192.0.2.1:81")).Flags(packet.SYN)},
		{"data without session", "drop_no_session", dpdtest.TCP(me, dpdtest.AP(vip4)).Text("x")},
		{"a reset without session", "drop_no_session", dpdtest.TCP(me, dpdtest.AP(vip4)).Flags(packet.RST)},
		{"a datagram to a port without service", "drop_no_session", dpdtest.UDP(me, dpdtest.AP("192.0.2.1:81"))},
		{"an answer to a local port that nobody has", "drop_no_session", dpdtest.UDP(dpdtest.AP("10.0.0.3:8080"), dpdtest.AP("10.8.0.1:5000"))},
		{"a fragment", "drop_fragment", dpdtest.UDP(me, dpdtest.AP(vip4)).Frag(0x2000)},
		{"a lie about the TCP header", "drop_bad_tcp_offset", dpdtest.TCP(me, dpdtest.AP(vip4)).Flags(packet.SYN)},
		{"an ICMP error about nothing", "drop_icmp_unknown", dpdtest.ICMPError(dpdtest.Addr("10.0.0.2"), 3, 4, 1300,
			dpdtest.TCP(dpdtest.AP(vip4), me).Bytes(), 64)},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newCluster(t, 1, 1)
			c.show()
			before := c.sum(c.nodes[0], row.counter)
			b := row.frame.Eth(nodeMAC(0), c.client.MAC).Bytes()
			if row.counter == "drop_bad_tcp_offset" {
				b[14+20+12] = 15 << 4
			}
			c.client.SendFrame(b)
			c.run(20)
			if got := c.sum(c.nodes[0], row.counter) - before; got != 1 {
				t.Errorf("%s rose by %d", row.counter, got)
			}
			if n := len(c.sessions(c.nodes[0])); n != 0 {
				t.Errorf("%d sessions", n)
			}
			if c.server.Strays > 0 || c.client.Strays > 0 {
				t.Error("something was answered or forwarded")
			}
		})
	}
}

func TestAPacketAtTheEndOfItsHopsIsAnsweredByTimeExceeded(t *testing.T) {
	c := newCluster(t, 1, 1)
	c.echo()
	c.show()
	errors := 0
	c.client.OnError = func(i *packet.Info, _ []byte) {
		if i.Class == packet.ClassError && i.Type == 11 {
			errors++
		}
	}
	c.client.Send(dpdtest.TCP(dpdtest.AP("10.0.0.2:7000"), dpdtest.AP(vip4)).Flags(packet.SYN).TTL(1))
	c.run(20)
	if errors != 1 {
		t.Errorf("%d time exceeded", errors)
	}
}

func TestASecondSynOfTheSameBurstFindsTheSessionOfTheFirst(t *testing.T) {
	c := newCluster(t, 1, 1)
	c.echo()
	c.show()
	syn := func() *dpdtest.Frame {
		return dpdtest.TCP(dpdtest.AP("10.0.0.2:7000"), dpdtest.AP(vip4)).Flags(packet.SYN).Seq(100)
	}
	c.client.Silent = true
	c.client.Send(syn())
	c.client.Send(syn())
	c.run(5)
	if s := c.sessions(c.nodes[0]); len(s) != 1 || s[0].State != flow.TCPSynRecv {
		t.Errorf("sessions: %+v", s)
	}
	if got := c.sum(c.nodes[0], "opened"); got != 1 {
		t.Errorf("opened %d", got)
	}
}
