package course

import (
	"testing"
	"time"

	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
)

func newCourse(t testing.TB, sessions, room int) *Course {
	t.Helper()
	pool, err := NewPool(Packets)
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{Sessions: sessions, Order: 4 * max(sessions, 1), Room: room, Pool: pool, Port: NewLoop(pool), Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Drain()
		if n := Packets - pool.Available(); n != 0 {
			t.Errorf("%d packets were not given back", n)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// publish waits for the worker's counts to be published.
func (c *Course) publish() {
	for end := time.Now().Add(30 * time.Millisecond); time.Now().Before(end); {
		c.Worker.SetRx(0, nil)
		c.Worker.Turn()
	}
}

func TestTrafficOfKnownSessionsCircles(t *testing.T) {
	c := newCourse(t, 3000, 0)
	if err := c.Start(false); err != nil {
		t.Fatal(err)
	}
	if err := c.Warm(); err != nil {
		t.Fatal(err)
	}
	c.publish()
	if rx, hits := c.Counter(stat.RxPackets), c.Counter(stat.Hits); hits < rx-servers-20 {
		t.Errorf("%d hits of %d packets", hits, rx)
	}
	c.Lap()
	var b port.Batch
	ways := map[bool]int{}
	for c.cfg.Port.Rx(inputs, &b) > 0 {
		for i := range b.N {
			var info packet.Info
			if why := packet.Parse(b.Pkt[i].Data, &info); why != packet.OK {
				t.Fatal(why)
			}
			if info.Class != packet.ClassTCP {
				continue
			}
			ways[info.SrcPort() == 80]++
			if info.TTL != 63 || info.DstMAC != packet.MACWord(peers) {
				t.Fatalf("packet %+v", info)
			}
		}
		c.cfg.Pool.Free(&b)
	}
	if ways[true] < Lap/2-5 || ways[false] < Lap/2-5 {
		t.Errorf("to clients %d, to servers %d", ways[true], ways[false])
	}
}

func TestPacketsPassOneByOneToo(t *testing.T) {
	c := newCourse(t, 3000, 0)
	if err := c.Start(false); err != nil {
		t.Fatal(err)
	}
	for range 3 * laps {
		c.LapByOne()
		if n, err := c.Feed(); err != nil || n < Lap-port.BurstMax { // ARP may take the place of a few
			t.Fatalf("%d packets came out: %v", n, err)
		}
	}
}

func TestEachFirstSynOpensASession(t *testing.T) {
	c := newCourse(t, 0, 40_000)
	if err := c.Start(true); err != nil {
		t.Fatal(err)
	}
	sum := 0
	for range 20 {
		c.Lap()
		n, err := c.Feed()
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	if n := c.table.Len(); n != sum || sum < 20*(Lap-port.BurstMax) {
		t.Errorf("%d sessions of %d packets, sent were %d", n, sum, 20*Lap)
	}
}
