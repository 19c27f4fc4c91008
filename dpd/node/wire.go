package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/holdfast-lb/holdfast/dpd/internal/announce"
	"github.com/holdfast-lb/holdfast/dpd/internal/config"
	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/contain"
	"github.com/holdfast-lb/holdfast/dpd/internal/event"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/localport"
	"github.com/holdfast-lb/holdfast/dpd/internal/neigh"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/ring"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncloop"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
)

// Sizes of the rings between threads.
const (
	handRing   = 1024
	syncRing   = 1024
	outboxRing = 8192 // actions of a worker; a bulk fills it, and goes on when there is room
	inboxRing  = 8192
	eventRing  = 4096
	hostRing   = 512
	mailbox    = 256
	echoMS     = 500 // between echoes to each gateway
)

// wire makes every thread's state and the rings between them.
func (n *Node) wire() error {
	count := n.cfg.Workers
	devices := n.dev.Ports()
	if len(devices) != len(n.cfg.Ports) {
		return fmt.Errorf("%d devices for %d configured ports", len(devices), len(n.cfg.Ports))
	}
	n.ports = append(n.ports, devices...)
	n.hwSync = make([]bool, len(n.ports))
	n.owed = make([]atomic.Bool, count)
	n.routes = &neigh.Publisher{}

	hand := make([][]*ring.SPSC[worker.Handed], count) // [from][to]
	for i := range hand {
		hand[i] = make([]*ring.SPSC[worker.Handed], count)
		for j := range hand[i] {
			if i != j {
				hand[i][j] = ring.New[worker.Handed](handRing)
			}
		}
	}
	host := make([]*ring.SPSC[worker.Handed], count+1) // the last one is the sync thread's
	for i := range host {
		host[i] = ring.New[worker.Handed](hostRing)
	}
	lc := syncloop.Config{
		Queues: n.queues(count), Pool: n.dev.Pool(), Routes: n.routes, Host: host[count], Poll: n.poll(), Clock: n.clock,
		Loss: n.cfg.Sync.FaultLossPercent / 100, Random: rand.Float64, Panicked: n.panicked("sync"),
	}
	for i := range count {
		soft, outbox, inbox := ring.New[port.Packet](syncRing), ring.New[syncer.Action](outboxRing), ring.New[syncer.Delivery](inboxRing)
		lc.Soft, lc.Outbox, lc.Inbox = append(lc.Soft, soft), append(lc.Outbox, outbox), append(lc.Inbox, inbox)
		events := ring.New[flow.Event](eventRing)
		n.events = append(n.events, events)
		links := worker.Links{Sync: soft, Inbox: inbox, Outbox: outbox, HandTo: hand[i]}
		if n.bus != nil {
			links.Events = events
		}
		for j := range count {
			links.HandFrom = append(links.HandFrom, hand[j][i])
		}
		w, err := n.worker(i, links, host)
		if err != nil {
			return err
		}
		n.workers = append(n.workers, w)
	}
	n.loop = syncloop.New(lc)
	if n.bus != nil {
		n.pub = event.NewPublisher(n.bus, n.cfg.Node.Name, n.lifeNow, n.events, n.eventsLost)
	}
	return nil
}

func (n *Node) worker(i int, links worker.Links, host []*ring.SPSC[worker.Handed]) (*worker.Worker, error) {
	count := n.cfg.Workers
	timeouts := timeoutsOf(&n.cfg.Timeouts)
	ports := localport.New(0)
	var w *worker.Worker
	table, err := conntrack.New(conntrack.Config{
		CapacityV4: max(n.cfg.Table.SessionsV4/count, 1024), CapacityV6: max(n.cfg.Table.SessionsV6/count, 1024), Timeouts: &timeouts,
		OnFull:  func(six bool) bool { return w.Shard().GiveUpTombstone(six) },
		OnEvict: func(_ flow.Handle, s *flow.Session) { w.Evicted(s) }, OnUncount: func(id uint32) { w.Uncounted(id) },
	})
	if err != nil {
		return nil, fmt.Errorf("session table of worker %d: %w", i, err)
	}
	c := worker.Config{
		Index: i, Map: &n.buckets, Queues: n.queues(i), Pool: n.dev.Pool(), Table: table, Ports: ports, Routes: n.routes, Links: links,
		Poll: n.poll(), Clock: n.clock, MailboxSize: mailbox, Panicked: n.panicked(fmt.Sprintf("worker %d", i)),
		Shard: syncer.New(syncer.Config{
			Owns:  func(b flow.Bucket) bool { return n.buckets.Worker(uint8(b)) == i },
			Ended: max(n.cfg.Table.Ended/count, 1024),
		}, table, ports),
	}
	for q, p := range n.ports {
		if have := p.Info().RxQueues; i < have {
			c.Queues[q].Rx = []int{i}
		}
		if i == 0 {
			// Until the device is known to steer, its sync queue gets what every other queue gets.
			for extra := count; extra < p.Info().RxQueues; extra++ {
				c.Queues[q].Rx = append(c.Queues[q].Rx, extra)
			}
		}
	}
	if i > 0 {
		c.Links.Host = host[i]
		w = worker.New(c)
		return w, nil
	}
	if n.host, err = n.hostPart(func(dev int, p port.Packet) { w.SendFromHost(dev, p) }); err != nil {
		return nil, err
	}
	c.Host = n.host
	c.Links.HostFrom = host[1:]
	w = worker.New(c)
	return w, nil
}

// panicked logs what a packet thread has contained, on another thread than that: a log may wait.
func (n *Node) panicked(thread string) func(contain.Panic) {
	return func(p contain.Panic) {
		go n.log.Error("a packet thread panicked and goes on; this is a fault of the program", "thread", thread, "place", p.Place,
			"panic", fmt.Sprint(p.Value), "times", p.Times, "stack", string(p.Stack))
	}
}

// queues are the devices as thread number send uses them for sending; nothing is received.
func (n *Node) queues(send int) []worker.Queue {
	out := make([]worker.Queue, len(n.ports))
	for i, p := range n.ports {
		out[i] = worker.Queue{Port: p, Depth: n.cfg.Ports[i].RxDesc, Tx: send, MAC: packet.MACWord(p.Info().MAC), VLAN: uint16(n.cfg.Ports[i].VLAN)}
		for _, a := range n.cfg.Ports[i].Addresses {
			b := a.Addr().As16()
			switch {
			case a.Addr().Is4() && out[i].Speak4 == 0:
				out[i].Speak4 = uint64(binary.BigEndian.Uint32(b[12:]))
			case a.Addr().Is6() && out[i].Speak6 == [2]uint64{}:
				out[i].Speak6 = [2]uint64{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
			}
		}
	}
	return out
}

func (n *Node) hostPart(send func(int, port.Packet)) (*neigh.Machine, error) {
	c := neigh.Config{Pool: n.dev.Pool(), Send: send, ProbeMS: echoMS, Publisher: n.routes}
	for i, p := range n.cfg.Ports {
		h := neigh.Port{MAC: n.ports[i].Info().MAC, MTU: p.MTU, VLAN: uint16(p.VLAN), Addresses: p.Addresses}
		for _, r := range p.Routes {
			h.Routes = append(h.Routes, neigh.Route{To: r.To, Via: r.Via})
		}
		c.Ports = append(c.Ports, h)
	}
	now, _ := n.clock()
	return neigh.New(now, c)
}

func (n *Node) poll() worker.Poll {
	if n.cfg.Poll == config.PollAdaptive {
		return worker.Adaptive
	}
	return worker.Busy
}

// announcer makes the BGP speaker, or none.
func (n *Node) announcer() error {
	b := &n.cfg.BGP
	n.hops[0], n.hops[1] = n.cfg.NextHops()
	if n.cfg.Announce == config.AnnounceNone {
		n.ann = announce.New(nil, n.hops[0].IsValid(), n.hops[1].IsValid(), n.log)
		return nil
	}
	c := announce.BGPConfig{ASN: b.ASN, RouterID: n.cfg.RouterID(), NextHopV4: n.hops[0], NextHopV6: n.hops[1], HoldSeconds: b.HoldTime}
	for _, p := range b.Peers {
		c.Peers = append(c.Peers, announce.BGPPeer{Address: p.Address, ASN: p.ASN})
	}
	s, err := announce.NewBGP(c, n.log)
	if err != nil {
		return err
	}
	n.ann = announce.New(s, n.hops[0].IsValid(), n.hops[1].IsValid(), n.log)
	return nil
}

func timeoutsOf(t *config.Timeouts) conntrack.Timeouts {
	out := conntrack.DefaultTimeouts()
	for s, v := range map[flow.State]int{
		flow.TCPNone: t.TCPNone, flow.TCPEstablished: t.TCPEstablished, flow.TCPSynSent: t.TCPSynSent, flow.TCPSynRecv: t.TCPSynRecv,
		flow.TCPFinWait: t.TCPFinWait, flow.TCPTimeWait: t.TCPTimeWait, flow.TCPClose: t.TCPClose, flow.TCPCloseWait: t.TCPCloseWait,
		flow.TCPLastAck: t.TCPLastAck, flow.TCPSynAck: t.TCPSynAck, flow.UDPNone: t.UDP, flow.UDPOneWay: t.UDP, flow.UDPNormal: t.UDP,
		flow.ICMPNormal: t.ICMP,
	} {
		if v > 0 {
			out[s] = uint32(v)
		}
	}
	return out
}

// pin binds the calling thread to one processor.
func pin(core int) error {
	var set unix.CPUSet
	set.Set(core)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return errors.Join(fmt.Errorf("processor %d", core), err)
	}
	return nil
}
