package worker

import (
	"errors"

	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/localport"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/sched"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
)

// portTries bounds how many local ports are tried for a new session: a port may be taken by a record that came by sync
// in the moment before the pool was told.
const portTries = 4

// portLooks bounds the ports looked at for one that an embryonic session may give up.
const portLooks = 16

// openTimeout, in seconds, holds until the first packet was booked and the state's own timeout applies.
const openTimeout = 30

// miss settles a packet that no record knows: a new session, a question to the peers, or a drop.
func (w *Worker) miss(i int) {
	info, k := &w.info[i], &w.key[i]
	switch {
	case info.Class == packet.ClassError:
		w.ask(i, stat.DropICMPUnknown)
	case info.Class == packet.ClassTCP && info.Flags&(conntrack.SYN|conntrack.ACK|conntrack.RST) == conntrack.SYN:
		w.open(i)
	case info.Class == packet.ClassTCP:
		w.ask(i, stat.DropNoSession)
	case w.view.Schedule.Lookup(k) != nil:
		if !w.wait4(i) {
			w.open(i)
		}
	default:
		w.ask(i, stat.DropNoSession)
	}
}

// open makes a session for the first packet of a client and forwards it.
func (w *Worker) open(i int) {
	p, k := w.pkt[i], &w.key[i]
	svc := w.view.Schedule.Lookup(k)
	if svc == nil {
		w.free(p, stat.DropNoService)
		return
	}
	if !w.view.Allocate || w.frozen() {
		w.refuse(i, stat.DropNotAllocating)
		return
	}
	srv, ok := w.sched.Pick(svc)
	if !ok {
		w.refuse(i, stat.DropNoServer)
		return
	}
	if why, ok := w.openAt(i, svc, srv); !ok {
		w.refuse(i, why)
	}
}

// openAt makes a session with a server for packet i and forwards it; if it can't, the packet is still the caller's.
func (w *Worker) openAt(i int, svc *sched.Service, srv *sched.Server) (why stat.Counter, ok bool) {
	k := &w.key[i]
	x := &w.born // on the stack it would escape through the shard's store
	*x = flow.Session{
		Orig: *k, Mode: svc.Mode, Service: svc.ID, Server: srv.ID, Bucket: w.bucket(k), Timeout: openTimeout,
		State: first(k),
	}
	if svc.Mode != flow.DR && svc.Mode != flow.Tunnel || k.Proto() == flow.ProtoTCP {
		x.Flags = flow.Embryonic // its server's answers pass here, or it is TCP
	}
	h, why := w.create(x, srv)
	if h == 0 {
		return why, false
	}
	w.count[stat.Opened]++
	if w.table.SetCounted(h) { // counted would look the server up again
		w.sched.Opened(srv)
	}
	w.eventOf(flow.EventCreated, h, "")
	w.pass(i, conntrack.MakeRef(h, flow.In))
	return 0, true
}

// create takes a local port and stores the session; 0 and the reason if it can't.
func (w *Worker) create(x *flow.Session, srv *sched.Server) (flow.Handle, stat.Counter) {
	server := localport.Endpoint{Addr: srv.Addr, Port: srv.Port, Proto: srv.Proto, Family: srv.Family}
	for range portTries {
		reply, ok := w.ports.Take(x.Bucket, server)
		if !ok && w.ports.Offer(x.Bucket, server, portLooks, w.giveUp) {
			reply, ok = w.ports.Take(x.Bucket, server)
		}
		if !ok {
			return 0, stat.DropNoPort
		}
		x.Reply = reply
		h, err := w.shard.Create(w.wall, x)
		if err == nil {
			return h, 0
		}
		if !errors.Is(err, flow.ErrReplyTaken) {
			w.ports.Release(reply)
			return 0, stat.DropTableFull
		}
		// The port is in use by a record that the pool was not told of: leave it taken, its record releases it.
	}
	return 0, stat.DropNoPort
}

// Evicted takes back what an embryonic session held that was given up for another, and has the shard count it no more. It is the
// OnEvict of this worker's table. A server that was asked to open the connection gets a RST, or it would refuse the next SYN from that
// port, which may come at once, and wait in vain for a minute.
func (w *Worker) Evicted(s *flow.Session) {
	w.count[stat.Evicted]++
	w.shard.Evicted(s)
	w.ports.Release(s.Reply)
	if s.Mode == flow.FullNAT && s.Bits&flow.SynIn != 0 && s.Seq[flow.In].Seen && s.Owner == w.shard.Self() {
		w.reset(s, flow.In)
	}
}

// usable says whether the server of record h is configured and up, so that a new life may go to it.
func (w *Worker) usable(h flow.Handle) bool {
	srv := w.view.Schedule.Server(w.table.Server(h))
	return srv != nil && srv.State == sched.Up
}

// first is the state before the first packet.
func first(k *flow.Key) flow.State {
	if k.Proto() == flow.ProtoTCP {
		return flow.TCPNone
	}
	return flow.UDPNone
}

func (w *Worker) bucket(k *flow.Key) flow.Bucket {
	return flow.Bucket(w.view.Steer.Bucket(k.Addr, k.Meta))
}

// refuse drops the first packet of a flow and tells those who watch.
func (w *Worker) refuse(i int, why stat.Counter) {
	w.emit(flow.Event{Kind: flow.EventRefused, Session: flow.Session{Orig: w.key[i]}, Reason: why.String()})
	w.free(w.pkt[i], why)
}

// ask holds packet i while the peers are asked for its session, or drops it.
func (w *Worker) ask(i int, why stat.Counter) {
	if w.wait4(i) {
		return
	}
	if w.overdue {
		why = stat.DropHoldTimeout
	}
	w.free(w.pkt[i], why)
}

// wait4 reports whether packet i now waits for the answer of peers.
func (w *Worker) wait4(i int) bool {
	k := &w.key[i]
	if w.released || !w.view.Ask || !w.ours(k) {
		return false
	}
	var b flow.Bucket
	ask := (*syncer.Shard).Miss
	if w.view.Steer.Local(k.Dst().Addr()) {
		b, ask = flow.Bucket(k.DstPort()), (*syncer.Shard).MissReply
	} else {
		b = w.bucket(k)
	}
	if ask(w.shard, w.wall, k, b) != syncer.MissWait {
		return false
	}
	if !w.wait.add(w.pkt[i], w.from[i], k, w.now) {
		w.count[stat.DropHoldFull]++
		w.discard(w.pkt[i])
		return true
	}
	w.count[stat.Held]++
	return true
}

// ours says whether a tuple can be one side of a session of this cluster at all: to a local address, or to a service.
func (w *Worker) ours(k *flow.Key) bool {
	return w.view.Steer.Local(k.Dst().Addr()) || w.view.Schedule.Lookup(k) != nil
}

// awake moves the packets that waited for a tuple out of the hold; resume lets them go on.
func (w *Worker) awake(k flow.Key) {
	if w.wait.n > 0 {
		w.wait.release(&k, &w.back, &w.backFrom)
	}
}

// resume processes what has left the hold. answered: an answer came, else the wait was over.
func (w *Worker) resume(answered bool) {
	if w.back.N == 0 {
		return
	}
	if answered {
		w.count[stat.Released] += uint64(w.back.N)
	}
	copy(w.from[:], w.backFrom[:w.back.N])
	w.released, w.overdue = true, !answered
	w.again, w.back.N = w.back, 0
	w.burst(&w.again, false)
	w.released, w.overdue = false, false
}
