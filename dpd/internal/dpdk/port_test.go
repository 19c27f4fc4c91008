//go:build dpdk

package dpdk

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/steer"
)

func TestPacketsComeBackAsSent(t *testing.T) {
	packetThread(t)
	p := open(t, PortConfig{Device: "net_ring0", Workers: 1})
	rng := rand.New(rand.NewPCG(1, 2))
	var b port.Batch
	for round := range 200 {
		var sent [][]byte
		for range 1 + rng.IntN(port.BatchMax) {
			f := frame(14+rng.IntN(1500), byte(round))
			pkt := packet(t, f)
			// A header pushed in front and a tail cut off arrive as they are.
			head, tail := rng.IntN(headroom+1), rng.IntN(len(f)-13)
			if !rt.Pool().Resize(&pkt, head, -tail) || len(pkt.Data) != head+len(f)-tail {
				t.Fatalf("%d bytes in front of a fresh packet of %d, %d less behind: %d bytes", head, len(f), tail, len(pkt.Data))
			}
			for i := range head {
				pkt.Data[i] = byte(i)
			}
			sent = append(sent, append([]byte(nil), pkt.Data...))
			b.Push(pkt)
		}
		if n := p.Tx(0, &b); n != len(sent) || b.N != 0 {
			t.Fatalf("sent %d of %d, %d left in the batch", n, len(sent), b.N)
		}
		for i, got := range receive(t, p, 0, len(sent), nil) {
			if !bytes.Equal(got, sent[i]) {
				t.Fatalf("round %d packet %d:\ngot  %x\nsent %x", round, i, got, sent[i])
			}
		}
	}
}

func TestQueuesAreApart(t *testing.T) {
	p := open(t, PortConfig{Device: "net_ring0", Workers: 2, SyncQueue: true})
	if i := p.Info(); i.RxQueues != 3 || i.TxQueues != 3 || i.Driver != "net_ring" {
		t.Fatalf("info %+v", i)
	}
	var b port.Batch
	for q := range 3 {
		b.Push(packet(t, frame(60, byte(q))))
		p.Tx(q, &b)
	}
	for q := range 3 {
		if got := receive(t, p, q, 1, nil); !bytes.Equal(got[0], frame(60, byte(q))) {
			t.Errorf("queue %d got %x", q, got[0])
		}
		if p.Rx(q, &b) != 0 {
			t.Errorf("queue %d got more", q)
		}
	}
	b.N = 5
	if p.Rx(3, &b) != 0 || b.N != 5 {
		t.Error("a queue that is not there gave packets")
	}
	if p.Rx(-1, &b) != 0 {
		t.Error("queue -1 gave packets")
	}
}

func TestLongQueueIsHandedOutInOrderAndGivenBackAtClose(t *testing.T) {
	p := open(t, PortConfig{Device: "net_ring0", Workers: 1})
	const long = 2*port.BatchMax + port.BurstMax + 16
	var b port.Batch
	for i := range long {
		b.Push(packet(t, frame(60, byte(i))))
		p.Tx(0, &b)
	}
	next := 0
	for _, bursts := range []int{4, 4, 1} { // bursts of one call, and of others; four fill the batch
		for range bursts {
			if n := p.Rx(0, &b); n != port.BurstMax {
				t.Fatalf("burst of %d behind %d packets", n, b.N)
			}
		}
		if b.N == port.BatchMax && p.Rx(0, &b) != 0 {
			t.Fatal("a full batch took more")
		}
		for i := range b.N {
			if got := b.Pkt[i].Data; !bytes.Equal(got, frame(60, byte(next))) {
				t.Fatalf("packet %d: got %x", next, got)
			}
			next++
		}
		if next != 9*port.BurstMax {
			rt.Pool().Free(&b)
		}
	}
	for b.N <= port.BatchMax-port.BurstMax {
		b.Push(packet(t, frame(60, 0)))
	}
	if n := p.Rx(0, &b); n != 0 {
		t.Fatalf("%d packets in a batch that had no room for a burst", n)
	}
	rt.Pool().Free(&b)
	drainRing(t, p) // what the port holds is left to Close; the test's end looks for it in the pool
}

// drainRing empties a ring device but for what the port itself holds: the device does not give its packets back at Close.
func drainRing(t *testing.T, p *Port) {
	t.Helper()
	held := p.rx[0].n - p.rx[0].at
	if held == 0 {
		t.Fatal("the port holds nothing")
	}
	vs, release, err := vectors(1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := release(); err != nil {
			t.Error(err)
		}
	}()
	for {
		n := int(p.id.RxBurst(0, vs[0]))
		if n == 0 {
			return
		}
		for _, m := range vs[0][:n] {
			m.PktMbufFree()
		}
	}
}

func TestFullDeviceFreesWhatItDoesNotTake(t *testing.T) {
	p := open(t, PortConfig{Device: "net_ring0", Workers: 1})
	var b port.Batch
	taken, offered := 0, 0
	for range 32 {
		for range port.BurstMax {
			b.Push(packet(t, frame(60, 0)))
		}
		taken += p.Tx(0, &b)
		offered += port.BurstMax
	}
	s := p.Stats()
	if taken >= offered || s.TxPackets != uint64(taken) || s.TxDropped < uint64(offered-taken) {
		t.Errorf("%d offered, %d taken, stats %+v", offered, taken, s)
	}
	for p.Rx(0, &b) > 0 {
		rt.Pool().Free(&b)
	}
}

func TestDeviceHashSparesTheSyncQueue(t *testing.T) {
	m, err := steer.NewMap(3)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		cfg  PortConfig
		want Hash
	}{
		"key and several workers": {PortConfig{Device: "net_null0", Workers: 3, SyncQueue: true, RSSKey: &steer.Key{1}, Buckets: &m}, HashBoth},
		"spread evenly":           {PortConfig{Device: "net_null0", Workers: 2, SyncQueue: true, RSSKey: &steer.Key{1}}, HashBoth},
		"one worker":              {PortConfig{Device: "net_null0", Workers: 1, SyncQueue: true, RSSKey: &steer.Key{1}}, HashNone},
		"no key":                  {PortConfig{Device: "net_null0", Workers: 3}, HashNone},
		"device that cannot hash": {PortConfig{Device: "net_ring0", Workers: 3, RSSKey: &steer.Key{1}}, HashNone},
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, c.cfg)
			if p.Hash() != c.want {
				t.Errorf("hash %v, want %v", p.Hash(), c.want)
			}
			if p.hash == HashNone {
				return
			}
			table, err := reta(p.id, p.lim.reta)
			if err != nil || len(table) == 0 {
				t.Fatalf("table of %d entries: %v", len(table), err)
			}
			for i, q := range table {
				want := i % c.cfg.Workers
				if c.cfg.Buckets != nil {
					want = m.Worker(uint8(i))
				}
				if int(q) != want {
					t.Fatalf("entry %d is queue %d, want %d", i, q, want)
				}
			}
		})
	}
}

func TestPoolRunsDryAndRecovers(t *testing.T) {
	pool := rt.Pool()
	free := pool.Available()
	var held []port.Packet
	for {
		p, ok := pool.Alloc(100)
		if !ok {
			break
		}
		held = append(held, p)
	}
	// What is left lies in the caches of other threads.
	if rest := pool.Available(); len(held)+rest != free || rest > 2048 {
		t.Errorf("%d packets of %d, %d available", len(held), free, rest)
	}
	var b port.Batch
	for _, p := range held {
		if !b.Push(p) {
			pool.Free(&b)
			b.Push(p)
		}
	}
	pool.Free(&b)
	if b.N != 0 || pool.Available() != free {
		t.Errorf("%d of %d available again, %d in the batch", pool.Available(), free, b.N)
	}
	pool.Free(&b) // nothing
}

func TestAllocBounds(t *testing.T) {
	for n, want := range map[int]bool{-1: false, 0: true, 1: true, defaultDataRoom - headroom: true, defaultDataRoom - headroom + 1: false, 1 << 40: false} {
		p, ok := rt.Pool().Alloc(n)
		if ok != want || ok && len(p.Data) != n {
			t.Errorf("Alloc(%d): %v, %d bytes", n, ok, len(p.Data))
		}
		if ok {
			b := port.Batch{N: 1}
			b.Pkt[0] = p
			rt.Pool().Free(&b)
		}
	}
}

func TestResizeKeepsWithinTheBuffer(t *testing.T) {
	const room = defaultDataRoom - headroom
	type step struct {
		head, tail int
		ok         bool
		len        int
	}
	for name, steps := range map[string][]step{
		"all of the headroom":         {{headroom, 0, true, 100 + headroom}, {1, 0, false, 100 + headroom}},
		"one byte too many in front":  {{headroom + 1, 0, false, 100}},
		"all of the tail":             {{0, room - 100, true, room}, {0, 1, false, room}},
		"one byte too many behind":    {{0, room - 99, false, 100}},
		"cut to nothing in front":     {{-100, 0, true, 0}, {-1, 0, false, 0}},
		"cut to nothing behind":       {{0, -100, true, 0}, {0, -1, false, 0}},
		"cut more than there is":      {{-60, -60, false, 100}},
		"front cut, behind grown":     {{-50, 50, true, 100}},
		"cut and put back":            {{-20, 0, true, 80}, {20, 0, true, 100}},
		"start beyond the buffer end": {{-room - 1, room, false, 100}},
	} {
		t.Run(name, func(t *testing.T) {
			p := packet(t, frame(100, 7))
			defer func() {
				b := port.Batch{N: 1}
				b.Pkt[0] = p
				rt.Pool().Free(&b)
			}()
			for _, s := range steps {
				if ok := rt.Pool().Resize(&p, s.head, s.tail); ok != s.ok || len(p.Data) != s.len {
					t.Fatalf("Resize(%d, %d): %v, %d bytes; want %v, %d", s.head, s.tail, ok, len(p.Data), s.ok, s.len)
				}
			}
		})
	}
}

func TestThreadsShareTransmitQueuesThatAreTooFew(t *testing.T) {
	// net_pcap has as many queues as files were named.
	p := open(t, PortConfig{Device: "net_pcap0,rx_pcap=" + pcapFile(t, frame(60, 0)) + ",tx_pcap=" + t.TempDir() + "/out.pcap", Workers: 3})
	if i := p.Info(); i.RxQueues != 1 || i.TxQueues != 1 {
		t.Fatalf("info %+v", i)
	}
	var wg sync.WaitGroup
	const each = 50
	for q := range 3 {
		wg.Go(func() {
			var b port.Batch
			for range each {
				b.Push(packet(t, frame(60, byte(q))))
				p.Tx(q, &b)
			}
		})
	}
	wg.Wait()
	if s := p.Stats(); s.TxPackets != 3*each || s.TxDropped != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestPacketPathDoesNotAllocate(t *testing.T) {
	packetThread(t)
	p := open(t, PortConfig{Device: "net_null0,size=64", Workers: 1})
	var b port.Batch
	if n := testing.AllocsPerRun(100, func() {
		if p.Rx(0, &b) != port.BurstMax {
			t.Fatal("no full burst")
		}
		for i := range b.N {
			rt.Pool().Resize(&b.Pkt[i], 8, 0)
		}
		p.Tx(0, &b)
		p.Rx(0, &b)
		rt.Pool().Free(&b)
		pkt, _ := rt.Pool().Alloc(64)
		b.Push(pkt)
		rt.Pool().Free(&b)
	}); n != 0 {
		t.Errorf("%v allocations a burst", n)
	}
}

func TestPacketsOfOneThreadMayBeFreedByAnother(t *testing.T) {
	p := open(t, PortConfig{Device: "net_null0,size=64", Workers: 1})
	batches := make(chan port.Batch, 4)
	go func() {
		defer close(batches)
		for range 500 {
			var b port.Batch
			p.Rx(0, &b)
			batches <- b
		}
	}()
	for b := range batches {
		rt.Pool().Free(&b)
	}
}

func TestDevicesThatCannotBeOpened(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  PortConfig
		want string
	}{
		"unknown driver":            {PortConfig{Device: "net_nosuch0"}, "probe net_nosuch0"},
		"missing interface":         {PortConfig{Device: "net_af_packet0,iface=tnosuch0"}, "probe net_af_packet0,iface=tnosuch0"},
		"no interface named":        {PortConfig{Device: "net_af_packet0"}, "probe net_af_packet0"},
		"unknown argument":          {PortConfig{Device: "net_null0,colour=red"}, "probe net_null0"},
		"not a network device":      {PortConfig{Device: "eth0"}, "neither"},
		"missing capture file":      {PortConfig{Device: "net_pcap0,rx_pcap=/nonexistent/a,tx_pcap=/nonexistent/b"}, "probe net_pcap0"},
		"MTU that the device lacks": {PortConfig{Device: "net_af_packet0,iface=lo,framesz=1024", MTU: 1900}, "MTU 1900"},
		// The kernel's hash decides which socket of a fan-out group gets a flow: of two, one that nobody reads loses half.
		"queue pairs nobody reads": {
			PortConfig{Device: "net_af_packet0,iface=lo,qpairs=2", Workers: 1},
			"over 2 queue pairs and 1 are wanted",
		},
		"MTU that the pool lacks": {PortConfig{Device: "net_null0", MTU: 9000}, "MTU is 9000"},
	} {
		t.Run(name, func(t *testing.T) {
			free := rt.Pool().Available()
			p, err := rt.OpenPort(c.cfg)
			if p != nil || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("port %v, error %v; want %q in it", p, err, c.want)
			}
			if got := rt.Pool().Available(); got != free {
				t.Errorf("%d packets available, before %d", got, free)
			}
		})
	}
	// What failed leaves nothing behind: the same names open with right arguments.
	open(t, PortConfig{Device: "net_null0,size=64"})
	if _, err := rt.OpenPort(PortConfig{Device: "net_null0,size=64"}); err == nil || !strings.Contains(err.Error(), "open already") {
		t.Errorf("the same device opened twice: %v", err)
	}
}

func TestSecondStartIsRefused(t *testing.T) {
	if _, err := Start(Config{}); !errors.Is(err, ErrStarted) {
		t.Errorf("got %v", err)
	}
	if _, err := Start(Config{Mbufs: 1}); err == nil || errors.Is(err, ErrStarted) {
		t.Errorf("a bad configuration is told first, got %v", err)
	}
}

func TestRefusedRulesCarryTheReason(t *testing.T) {
	p := open(t, PortConfig{Device: "net_null0", Workers: 1, SyncQueue: true})
	if p.Info().HasFilter {
		t.Fatal("net_null claims rte_flow")
	}
	res := p.Filter().Create([]steer.Rule{{Purpose: steer.CatchAll}, {Purpose: steer.Sync}})
	if len(res) != 2 || res[0].Hardware || res[1].Rule.Purpose != steer.Sync || !strings.Contains(res[0].Reason, "net_null has no rte_flow") {
		t.Errorf("got %+v", res)
	}
	if err := p.Filter().DestroyAll(); err != nil {
		t.Error(err)
	}
}

func TestClosedPortIsQuiet(t *testing.T) {
	p, err := rt.OpenPort(PortConfig{Device: "net_null7"})
	if err != nil {
		t.Fatal(err)
	}
	if !p.LinkUp() {
		t.Error("link of net_null is down")
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if p.LinkUp() {
		t.Error("link is up after Close")
	}
	if s := p.Stats(); s.RxPackets != 0 {
		t.Errorf("stats after Close: %+v", s)
	}
	if res := p.Filter().Create([]steer.Rule{{}}); res[0].Hardware || res[0].Reason != ErrClosed.Error() {
		t.Errorf("rule after Close: %+v", res)
	}
}
