package worker_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
)

// drive sends a mix through the workers of a rig, in bursts that each worker gets of each device at once, whosever the packets are, or
// one by one. It returns what left by each device, and what the host part said: that overtakes the packets of its burst.
func drive(r *rig, seed uint64, rounds int, oneByOne, refuse bool) (out [4][][]byte) {
	m := &mix{rnd: rand.New(rand.NewPCG(seed, 7)), tag: r.tag}
	r.sent = func(dev int, frame []byte) {
		m.see(dev, frame)
		if fromHost(frame) {
			dev += 2
		}
		out[dev] = append(out[dev], unported(frame))
	}
	for i := range 10 {
		c := &m.clients[i]
		*c = mixClient{open: true, answered: true, seq: uint32(i) << mixShift, peer: m.rnd.Uint32(), server: rigServer(0)}
		c.local = r.adopt(mixAddr(i), c.server)
	}
	r.learn(0, rigGateway)
	for round := range rounds {
		r.turn(1 + uint32(m.rnd.IntN(8))) // the chores, which one by one would come between the packets
		if n := round/2 - 1; round%2 == 0 && n >= 0 && n < rigServers {
			r.learn(1, rigServer(n).Addr()) // until now packets to it waited
		}
		if n, dev := m.rnd.IntN(300), m.rnd.IntN(2); refuse && n < 70 {
			r.dev[dev].Refuse(n)
		}
		for w := range r.workers {
			m.burst()
			var in [2][][]byte
			limit := 2 * port.BatchMax
			if m.rnd.IntN(2) == 0 {
				limit = 1 + m.rnd.IntN(port.BatchMax)
			}
			for range limit {
				dev, frame := m.next()
				in[dev] = append(in[dev], frame)
			}
			for dev := range in {
				for _, frame := range in[dev] {
					if r.arrive(dev, w, frame); oneByOne {
						r.turn(0)
					}
				}
			}
		}
		r.turn(0)
	}
	for range 3 { // what waits for an answer of the peer, or for another worker, waits no longer
		r.turn(100)
	}
	return out
}

// same fails the test unless two rigs have sent the same, counted the same and hold the same sessions.
func same(t *testing.T, rigs [2]*rig, out [2][4][][]byte) {
	t.Helper()
	for dev := range out[0] {
		a, b := out[0][dev], out[1][dev]
		for i := range min(len(a), len(b)) {
			if !bytes.Equal(a[i], b[i]) {
				t.Fatalf("frame %d by device %d:\n%x\n%x", i, dev, a[i], b[i])
			}
		}
		if len(a) != len(b) {
			t.Fatalf("%d and %d frames left by device %d", len(a), len(b), dev)
		}
	}
	var takeovers uint64
	for w := range rigs[0].workers {
		a, b := rigs[0].counts(w), rigs[1].counts(w)
		if !slices.Equal(a, b) {
			t.Errorf("worker %d counts\n%v\n%v", w, a, b)
		}
		if a[stat.Hits] < 500 || a[stat.Opened] < 10 || a[stat.Held] == 0 {
			t.Errorf("worker %d: %d hits, %d opened, %d held", w, a[stat.Hits], a[stat.Opened], a[stat.Held])
		}
		takeovers += a[stat.Takeovers]
		if a, b := rigs[0].sessions(w), rigs[1].sessions(w); !slices.Equal(a, b) {
			t.Errorf("worker %d holds\n%v\n%v", w, a, b)
		}
	}
	if takeovers == 0 {
		t.Error("no session was taken over")
	}
	for _, r := range rigs {
		dpdtest.CheckLeaks(t, r.pool)
	}
}

// TestMixedBurstsGoTheShortWayAsTheLongOne: in bursts of packets of all kinds, many of them another worker's, over devices that are
// full at times, the short way and the long one send the same packets in the same order, count the same, and leave the same sessions.
func TestMixedBurstsGoTheShortWayAsTheLongOne(t *testing.T) {
	for _, row := range []struct {
		workers, rounds int
		tag             uint16
	}{{1, 36, 0}, {2, 16, 7}, {3, 12, 0}} {
		t.Run(fmt.Sprintf("workers=%d,tag=%d", row.workers, row.tag), func(t *testing.T) {
			var rigs [2]*rig
			var out [2][4][][]byte
			for way := range rigs {
				r := newRig(t, row.workers, row.tag, 300)
				for _, w := range r.workers {
					if way == 1 {
						w.LongWay()
					}
				}
				rigs[way], out[way] = r, drive(r, uint64(row.workers), row.rounds, false, true)
			}
			same(t, rigs, out)
		})
	}
}

// TestBurstsGoAsTheirPacketsWouldOneByOne: sessions begin, end, are taken over, displaced and, in the small table, evicted while other
// packets of the same bursts were looked up already. These must find what they would find if they came alone.
func TestBurstsGoAsTheirPacketsWouldOneByOne(t *testing.T) {
	for _, room := range []int{80, 400} {
		t.Run(fmt.Sprintf("room=%d", room), func(t *testing.T) {
			var rigs [2]*rig
			var out [2][4][][]byte
			for way := range rigs {
				rigs[way] = newRig(t, 1, 0, room)
				out[way] = drive(rigs[way], 1, 48, way == 1, false)
			}
			same(t, rigs, out)
		})
	}
}
