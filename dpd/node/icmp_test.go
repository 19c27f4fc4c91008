package node

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

// tooBig is a router's word, at addr, that frame was larger than 1300 bytes.
func tooBig(v6 bool, frame []byte) *dpdtest.Frame {
	if v6 {
		return dpdtest.ICMPError(dpdtest.Addr("fd00::99"), 2, 0, 1300, frame, 1232)
	}
	return dpdtest.ICMPError(dpdtest.Addr("10.0.0.99"), 3, 4, 1300, frame, 548)
}

func TestTooBigFromEitherSideReachesTheOther(t *testing.T) {
	for _, row := range []struct {
		name    string
		workers []int
		at      int  // node that the error arrives at
		forget  bool // and that knows nothing of the session
	}{
		{"one worker", []int{1}, 0, false},
		{"the session is another worker's", []int{4}, 0, false},
		{"the session is another node's", []int{2, 3}, 1, false},
		{"the node must ask for the session", []int{2, 3}, 1, true},
	} {
		for _, v6 := range []bool{false, true} {
			t.Run(fmt.Sprint(row.name, " v6=", v6), func(t *testing.T) {
				c := newCluster(t, 1, row.workers...)
				c.echo()
				c.show()
				c.warm()
				var conns []*dpdtest.Conn
				for i := range 8 {
					conns = append(conns, c.client.Dial(clientAddr(v6, uint16(4000+i)), vipOf(v6)))
				}
				c.run(60)
				c.talk(conns, 100)
				sessions := make([]flow.Session, len(conns))
				for i := range conns {
					sessions[i] = c.only(c.nodes[0], uint16(4000+i))
				}
				if row.forget {
					c.forget(c.nodes[row.at])
				}
				c.to = func(bool, *packet.Info) int { return row.at }
				type told struct {
					quoted flow.Key
					mtu    uint32
				}
				gather := func(into *[]told) func(*packet.Info, []byte) {
					return func(i *packet.Info, b []byte) {
						addr, meta := i.Against()
						k := flow.Key{Addr: addr, Meta: meta}
						*into = append(*into, told{k.Reverse(), binary.BigEndian.Uint32(b[i.L4+4:]) & 0xffff})
					}
				}
				var client, server []told
				c.client.OnError, c.server.OnError = gather(&client), gather(&server)
				for i, k := range conns {
					s := &sessions[i]
					// About a packet on its way to the server, and about one on its way to the client.
					c.server.Send(tooBig(v6, dpdtest.TCP(s.Reply.Dst(), s.Reply.Src()).Seq(77).Payload(make([]byte, 1400)).Bytes()))
					c.run(30)
					c.client.Send(tooBig(v6, dpdtest.TCP(k.Remote, k.Local).Seq(77).Payload(make([]byte, 1400)).Bytes()))
					c.run(30)
				}
				if len(client) != len(conns) || len(server) != len(conns) {
					t.Fatalf("%d errors reached the client and %d the server, of %d each", len(client), len(server), len(conns))
				}
				for i, k := range conns {
					if q := client[i]; q.quoted.Src() != k.Local || q.quoted.Dst() != k.Remote || q.mtu != 1300 {
						t.Errorf("the client was told of %v and %d, want %v to %v", q.quoted, q.mtu, k.Local, k.Remote)
					}
					if q := server[i]; q.quoted != sessions[i].Reply || q.mtu != 1300 {
						t.Errorf("the server was told of %v and %d, want %v", q.quoted, q.mtu, sessions[i].Reply)
					}
				}
				if n := c.client.BadChecksums + c.server.BadChecksums; n > 0 {
					t.Errorf("%d bad checksums", n)
				}
				c.talk(conns, 500)
			})
		}
	}
}

func TestErrorsNeitherKeepASessionAliveNorEndIt(t *testing.T) {
	c := newCluster(t, 1, 1)
	c.echo()
	c.show()
	c.warm()
	conns := c.dial(2)
	c.talk(conns, 100)
	for range 50 {
		for i := range conns {
			s := c.only(c.nodes[0], uint16(4000+i))
			q := dpdtest.TCP(s.Reply.Dst(), s.Reply.Src()).Seq(1).Bytes()
			if s.Orig.Family() == flow.IPv4 {
				c.server.Send(dpdtest.ICMPError(dpdtest.Addr("10.0.0.99"), 3, 3, 0, q, 548))
			} else {
				c.server.Send(dpdtest.ICMPError(dpdtest.Addr("fd00::99"), 1, 4, 0, q, 1232))
			}
		}
		c.run(10)
	}
	for i := range conns {
		if s := c.only(c.nodes[0], uint16(4000+i)); s.Idle < 500 || s.State != flow.TCPEstablished {
			t.Errorf("errors moved %s: idle %d ms, state %d", s.Orig, s.Idle, s.State)
		}
	}
	c.talk(conns, 100)
}
