package worker_test

import (
	"context"
	"net/netip"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/localport"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/sched"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
)

// floodRig is a rig of one worker whose frames are read as packets, and that counts what its peers are told of sessions.
type floodRig struct {
	*rig
	toServer []packet.Info
	toClient []packet.Info
	told     int
	next     uint32 // client
	snap     *sched.Snapshot
}

func newFloodRig(t *testing.T, room int) *floodRig {
	r := &floodRig{rig: newRig(t, 1, 0, room)}
	r.learn(0, rigGateway)
	for i := range rigServers {
		r.learn(1, rigServer(i).Addr())
	}
	r.setServers(func(int, *sched.ServerConfig) bool { return true })
	r.sent = func(dev int, frame []byte) {
		var info packet.Info
		if packet.Parse(frame, &info) != packet.OK || info.Class != packet.ClassTCP && info.Class != packet.ClassUDP {
			return
		}
		if dev == 1 {
			r.toServer = append(r.toServer, info)
		} else {
			r.toClient = append(r.toClient, info)
		}
	}
	return r
}

// run lets the time go on and the worker turn.
func (r *floodRig) run(ms uint32) {
	r.tick += ms
	r.workers[0].Turn()
	var a syncer.Action
	for r.outbox[0].Take(&a) {
		if a.Kind == syncer.ActSend && a.Msg.Kind == syncwire.KindSession {
			r.told++
		}
	}
}

// wait lets time go by, without a pause of the worker.
func (r *floodRig) wait(ms uint32) {
	for ; ms > 0; ms -= min(ms, 500) {
		r.run(min(ms, 500))
	}
}

// in is a frame that comes in by a device.
func (r *floodRig) in(dev int, f *dpdtest.Frame) {
	r.arrive(dev, 0, f.Eth(rigMAC[dev], rigNext).Bytes())
}

// client is the next one whose packets have the bucket; -1: any.
func (r *floodRig) client(proto uint8, bucket int) netip.AddrPort {
	for {
		r.next++
		n := r.next
		c := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, byte(n >> 16), byte(n >> 8), byte(n)}), 40000)
		k, err := flow.MakeKey(proto, c, rigVIP)
		if err != nil {
			r.t.Fatal(err)
		}
		if bucket < 0 || int(r.interp.Bucket(k.Addr, k.Meta)) == bucket {
			return c
		}
	}
}

// send sends a client's frame and returns what went to a server for it.
func (r *floodRig) send(f *dpdtest.Frame) (sent []packet.Info) {
	n := len(r.toServer)
	r.in(0, f)
	r.run(1)
	return r.toServer[n:]
}

func syn(c netip.AddrPort, seq uint32) *dpdtest.Frame {
	return dpdtest.TCP(c, rigVIP).Flags(packet.SYN).Seq(seq)
}

func src(i *packet.Info) netip.AddrPort { k := flow.Key{Addr: i.Addr, Meta: i.Meta}; return k.Src() }
func dst(i *packet.Info) netip.AddrPort { k := flow.Key{Addr: i.Addr, Meta: i.Meta}; return k.Dst() }

// connect does a handshake of which each step takes some milliseconds, in which between is called; it says whether it was done.
func (r *floodRig) connect(c netip.AddrPort, between func()) (local, server netip.AddrPort, ok bool) {
	sent := r.send(syn(c, 100))
	if len(sent) == 0 {
		return local, server, false
	}
	last := &sent[len(sent)-1]
	local, server = src(last), dst(last)
	between()
	n := len(r.toClient)
	r.in(1, dpdtest.TCP(server, local).Flags(packet.SYN|packet.ACK).Seq(500).Ack(101))
	r.run(1)
	if len(r.toClient) == n {
		return local, server, false
	}
	between()
	sent = r.send(dpdtest.TCP(c, rigVIP).Flags(packet.ACK).Seq(101).Ack(501))
	return local, server, len(sent) == 1 && src(&sent[0]) == local
}

// talks says whether a client's data still goes to its server.
func (r *floodRig) talks(c, local, server netip.AddrPort, seq uint32) bool {
	sent := r.send(dpdtest.TCP(c, rigVIP).Flags(packet.ACK).Seq(seq).Ack(501).Text("x"))
	return len(sent) == 1 && src(&sent[0]) == local && dst(&sent[0]) == server
}

// A flood of SYNs that is much faster than a handshake fills the table, over and over.
func TestHandshakesGetThroughAFloodOfSYNs(t *testing.T) {
	r := newFloodRig(t, 2000)
	c0 := r.client(flow.ProtoTCP, -1)
	local, server, ok := r.connect(c0, func() {})
	if !ok {
		t.Fatal("no connection without a flood")
	}
	flood := func() {
		for range 20 { // milliseconds
			for range 5 {
				r.in(0, syn(r.client(flow.ProtoTCP, -1), 7))
			}
			r.run(1)
		}
	}
	for range 100 {
		flood()
	}
	done := 0
	for range 40 {
		if _, _, ok := r.connect(r.client(flow.ProtoTCP, -1), flood); ok {
			done++
		}
	}
	if done != 40 || !r.talks(c0, local, server, 101) {
		t.Errorf("of 40 connections %d were established", done)
	}
	if n := r.counts(0)[stat.Evicted]; n == 0 {
		t.Error("the table was never full")
	}
}

// All ports of a bucket to all servers are held by half-open connections: each new one gets the port of the oldest, whose server is
// told before.
func TestHalfOpenConnectionsGiveUpTheirPorts(t *testing.T) {
	const all = rigServers * localport.PerBucket
	r := newFloodRig(t, 4*all)
	type conn struct{ client, local, server netip.AddrPort }
	var established []conn
	for i := range all {
		c := r.client(flow.ProtoTCP, 5)
		if i%10 == 0 {
			local, server, ok := r.connect(c, func() {})
			if !ok {
				t.Fatalf("connection %d was not established", i)
			}
			established = append(established, conn{c, local, server})
		} else if sent := r.send(syn(c, uint32(i))); len(sent) != 1 {
			t.Fatalf("SYN %d: %d packets", i, len(sent))
		}
	}
	for i := range 2 * all {
		sent := r.send(syn(r.client(flow.ProtoTCP, 5), 7))
		if len(sent) != 2 {
			t.Fatalf("SYN %d of a flood without free ports: %d packets", i, len(sent))
		}
		rst, s := &sent[0], &sent[1]
		if rst.Flags != packet.RST || s.Flags != packet.SYN || src(rst) != src(s) || dst(rst) != dst(s) {
			t.Fatalf("SYN %d: %+v, %+v", i, *rst, *s)
		}
	}
	if _, _, ok := r.connect(r.client(flow.ProtoTCP, 5), func() {}); !ok {
		t.Error("a connection is refused")
	}
	for i, c := range established {
		if !r.talks(c.client, c.local, c.server, 101) {
			t.Errorf("established connection %d is lost", i)
		}
	}
	if n := r.counts(0)[stat.DropNoPort]; n != 0 {
		t.Errorf("%d refused", n)
	}
}

func TestDatagramsWithoutAnswersHoldNeitherPortsNorTable(t *testing.T) {
	const all = rigServers * localport.PerBucket
	r := newFloodRig(t, 8192)
	told := r.told
	for i := range 3 * all {
		if sent := r.send(dpdtest.UDP(r.client(flow.ProtoUDP, 9), rigVIP).Text("x")); len(sent) != 1 {
			t.Fatalf("datagram %d: %d packets", i, len(sent))
		}
	}
	if r.told != told {
		t.Errorf("peers were told of %d sessions that no server answered", r.told-told)
	}
	for range 20 {
		c := r.client(flow.ProtoUDP, 9)
		sent := r.send(dpdtest.UDP(c, rigVIP).Text("q"))
		if len(sent) != 1 {
			t.Fatal("a datagram is refused")
		}
		n := len(r.toClient)
		r.in(1, dpdtest.UDP(dst(&sent[0]), src(&sent[0])).Text("a"))
		r.run(1)
		if len(r.toClient) != n+1 || dst(&r.toClient[n]) != c {
			t.Fatal("the answer does not come")
		}
	}
	if r.told != told+20 {
		t.Errorf("peers were told of %d of 20 answered sessions", r.told-told)
	}
	for range 800 {
		r.run(50)
	}
	if n := r.tables[0].Len(); n != 20 {
		t.Errorf("after 40 s %d records are left, want the 20 that were answered", n)
	}
}

// setServers changes the servers of both services. Misses are not put to the peer, which never answers.
func (r *floodRig) setServers(change func(i int, s *sched.ServerConfig) (keep bool)) {
	var cfg sched.Config
	for id, proto := range []uint8{flow.ProtoTCP, flow.ProtoUDP} {
		svc := sched.ServiceConfig{ID: uint32(id + 1), VIP: rigVIP, Proto: proto, Mode: flow.FullNAT, Algorithm: sched.RR}
		for i := range rigServers {
			s := sched.ServerConfig{ID: uint32(10*id + i + 1), Addr: rigServer(i), Weight: 1, State: sched.Up}
			if change(i, &s) {
				svc.Servers = append(svc.Servers, s)
			}
		}
		cfg.Services = append(cfg.Services, svc)
	}
	snap, err := sched.Compile(&cfg, r.snap)
	if err != nil {
		r.t.Fatal(err)
	}
	r.snap = snap
	done := make(chan error, 1)
	go func() {
		done <- r.workers[0].SetView(context.Background(), worker.View{Steer: r.interp, Schedule: snap, Allocate: true})
	}()
	for {
		select {
		case err := <-done:
			if err != nil {
				r.t.Fatal(err)
			}
			return
		default:
			r.run(0)
		}
	}
}

// what becomes of a server.
var fates = map[string]func(s *sched.ServerConfig) (keep bool){
	"down":     func(s *sched.ServerConfig) bool { s.State = sched.Down; return true },
	"removed":  func(*sched.ServerConfig) bool { return false },
	"weight 0": func(s *sched.ServerConfig) bool { s.Weight = 0; return true },
	"draining": func(s *sched.ServerConfig) bool { s.State = sched.Drain; return true },
}

func TestDatagramsAndRepeatedSYNsLeaveADeadServerAtOnce(t *testing.T) {
	for name, fate := range fates {
		for _, tcp := range []bool{false, true} {
			for _, answered := range []bool{false, true} {
				if tcp && answered {
					continue
				}
				moves := name == "down" || name == "removed"
				r := newFloodRig(t, 1000)
				proto := uint8(flow.ProtoUDP)
				frame := func(c netip.AddrPort) *dpdtest.Frame { return dpdtest.UDP(c, rigVIP).Text("x") }
				if tcp {
					proto, frame = flow.ProtoTCP, func(c netip.AddrPort) *dpdtest.Frame { return syn(c, 33) }
				}
				c := r.client(proto, -1)
				first := r.send(frame(c))
				if len(first) != 1 {
					t.Fatal("no packet")
				}
				was, local := dst(&first[0]), src(&first[0])
				if answered {
					r.in(1, dpdtest.UDP(was, local).Text("a"))
					r.run(1)
				}
				if again := r.send(frame(c)); len(again) != 1 || dst(&again[0]) != was {
					t.Fatalf("%s: it moves without a cause", name)
				}
				r.setServers(func(i int, s *sched.ServerConfig) bool { return rigServer(i) != was || fate(s) })
				again := r.send(frame(c))
				if len(again) != 1 || (dst(&again[0]) != was) != moves {
					t.Errorf("server %s, tcp %v, answered %v: moved %v", name, tcp, answered, len(again) == 1 && dst(&again[0]) != was)
					continue
				}
				now := dst(&again[0])
				if again := r.send(frame(c)); len(again) != 1 || dst(&again[0]) != now {
					t.Errorf("server %s: it moves on", name)
				}
			}
		}
	}
}

// With no other server, who has a session keeps it.
func TestDatagramsStayWithADeadServerWhereNoOtherTakesThem(t *testing.T) {
	r := newFloodRig(t, 1000)
	c := r.client(flow.ProtoUDP, -1)
	first := r.send(dpdtest.UDP(c, rigVIP).Text("x"))
	r.setServers(func(_ int, s *sched.ServerConfig) bool { s.State = sched.Down; return true })
	if again := r.send(dpdtest.UDP(c, rigVIP).Text("x")); len(again) != 1 || dst(&again[0]) != dst(&first[0]) {
		t.Errorf("%d packets", len(again))
	}
}

func TestASYNOfAnyNumberBreaksNoConnectionWhoseServerLives(t *testing.T) {
	for name, fate := range fates {
		r := newFloodRig(t, 1000)
		c := r.client(flow.ProtoTCP, -1)
		local, server, ok := r.connect(c, func() {})
		if !ok {
			t.Fatal("no connection")
		}
		r.setServers(func(i int, s *sched.ServerConfig) bool { return rigServer(i) != server || fate(s) })
		for i := range uint32(20) { // one of a stranger each 0.4 s, and a client that is silent: its server answers each
			sent := r.send(syn(c, 0x12345678*(i+1)))
			if len(sent) != 1 || dst(&sent[0]) != server {
				t.Fatalf("server %s: SYN %d went elsewhere", name, i)
			}
			r.in(1, dpdtest.TCP(server, local).Flags(packet.ACK).Seq(501).Ack(101))
			r.run(400)
		}
		if !r.talks(c, local, server, 101) {
			t.Errorf("server %s: the connection is broken", name)
		}
	}
}

func TestASYNThatItsDeadServerDoesNotAnswerGetsAnotherServer(t *testing.T) {
	r := newFloodRig(t, 1000)
	c := r.client(flow.ProtoTCP, -1)
	_, server, _ := r.connect(c, func() {})
	r.setServers(func(i int, s *sched.ServerConfig) bool { return rigServer(i) != server })
	if sent := r.send(syn(c, 9000)); len(sent) != 1 || dst(&sent[0]) != server {
		t.Fatal("the first SYN goes elsewhere")
	}
	r.wait(1000)
	if sent := r.send(syn(c, 9000)); len(sent) != 1 || dst(&sent[0]) == server {
		t.Error("the repeated SYN still goes to the dead server")
	}
}
