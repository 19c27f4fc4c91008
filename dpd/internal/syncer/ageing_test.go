package syncer_test

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
)

// tunnel is two linked ends with a clock each and a network that takes its time.
type tunnel struct {
	*pair
	real  int64
	lag   [2]int64 // what the clock of an end is behind
	still [2]bool  // the end does not run, nor does its clock
	cut   [2]bool  // what an end sends is lost
	delay [2]int64 // milliseconds that what an end sends takes
	way   [2][]flight
}

type flight struct {
	at int64
	b  []byte
}

func newTunnel(t *testing.T) *tunnel {
	w := &tunnel{pair: &pair{t: t, now: t0}, real: t0, delay: [2]int64{1, 1}}
	for i := range w.e {
		w.e[i] = newEnd(t, &w.now, nodeID(uint32(i+1)), 7, 0)
	}
	w.e[0].view(1, w.e[1].self)
	w.e[1].view(1, w.e[0].self)
	return w
}

func (w *tunnel) clock(i int) int64 { return w.real - w.lag[i] }

func (w *tunnel) run(ms int64) {
	for end := w.real + ms; w.real < end; {
		w.real++
		for i, e := range w.e {
			if w.still[i] {
				w.lag[i]++
			} else if w.real%5 == 0 {
				e.Tick(w.clock(i))
			}
		}
		for i := range w.e {
			w.send(i)
			for len(w.way[i]) > 0 && w.way[i][0].at <= w.real {
				if f := w.way[i][0]; !w.still[1-i] { // else it is lost at the door
					w.e[1-i].Datagram(w.clock(1-i), sip(w.e[i].self.ID), f.b)
					w.e[1-i].Flush(w.clock(1 - i))
				}
				w.way[i] = w.way[i][1:]
			}
		}
	}
}

func (w *tunnel) send(i int) {
	for _, d := range w.e[i].take() {
		if !w.cut[i] {
			w.way[i] = append(w.way[i], flight{w.real + w.delay[i], d.b})
		}
	}
}

// tell sends a message from one end, and says whether the other one took it.
func (w *tunnel) tell(i int, seq uint64) bool {
	w.now = w.clock(i)
	w.say(i, seq)
	w.e[1-i].got = nil
	w.run(20 + w.delay[i])
	return len(w.e[1-i].deliveries(syncer.DeliverMessage)) > 0
}

func (w *tunnel) standStill(i int, ms int64) {
	w.still[i] = true
	w.run(ms)
	w.still[i] = false
}

func TestALinkHealsAfterAClockStoodStill(t *testing.T) {
	for _, row := range []struct {
		name string
		play func(w *tunnel)
	}{
		{"the sender's", func(w *tunnel) { w.standStill(0, 6_000) }},
		{"the receiver's", func(w *tunnel) { w.standStill(1, 6_000) }},
		{"for an hour", func(w *tunnel) { w.standStill(0, 3_600_000) }},
		{"one after the other", func(w *tunnel) {
			w.standStill(0, 6_000)
			w.run(50)
			w.standStill(1, 12_000)
		}},
		{"one a step ahead of its own", func(w *tunnel) { w.lag[0] -= 3_600_000 }},
		// Each side has heard the other at its most advanced and nothing since: both refuse all.
		{"in turn, while one direction is cut and then the other", func(w *tunnel) {
			w.lag[0] -= 6_000
			w.cut[1] = true
			w.run(500)
			w.cut = [2]bool{true, false}
			w.lag[1] -= 12_000
			w.run(500)
			w.cut[1] = true
			w.lag[0] -= 6_000
			w.run(8_000) // until no PROBE is known any more that the other may have heard
			w.cut = [2]bool{}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newTunnel(t)
			w.run(1_000)
			row.play(w)
			w.run(300)
			before := w.e[0].Count[syncer.SyncStale] + w.e[1].Count[syncer.SyncStale]
			for seq := uint64(1); seq < 100; seq++ {
				for i := range w.e {
					if !w.tell(i, seq) {
						t.Fatalf("message %d of end %d was not heard", seq, i)
					}
				}
				w.run(1_000)
			}
			if n := w.e[0].Count[syncer.SyncStale] + w.e[1].Count[syncer.SyncStale] - before; n != 0 {
				t.Errorf("%d datagrams are stale", n)
			}
			for i := range w.e {
				if s := w.e[i].Status(w.clock(i), nil)[0]; !s.Linked || s.Suspected || s.Desync {
					t.Errorf("end %d: %+v", i, s)
				}
			}
		})
	}
}

func TestWhoeverDelaysDatagramsMovesNoClockBase(t *testing.T) {
	for _, row := range []struct {
		name  string
		delay [2]int64
		still int64 // of the sender before that
	}{
		{"from one end", [2]int64{6_000, 1}, 0},
		{"from both ends", [2]int64{6_000, 6_000}, 0},
		{"the answers less", [2]int64{5_500, 3_000}, 0},
		{"after the sender's clock stood still", [2]int64{6_000, 1}, 6_000},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newTunnel(t)
			w.run(1_000)
			if row.still > 0 {
				w.standStill(0, row.still)
				w.run(500)
			}
			w.delay = row.delay
			for seq := uint64(1); seq < 60; seq++ {
				if w.tell(0, seq) {
					t.Fatalf("message %d was believed after %d ms on the way, at %d ms", seq, row.delay[0], w.real-t0)
				}
			}
			w.delay = [2]int64{1, 1}
			w.way = [2][]flight{}
			w.run(300)
			if !w.tell(0, 1000) {
				t.Error("not heard when nothing delays it")
			}
		})
	}
}

// The sender's clock is the same before its stand-still and after it.
func TestADatagramHeldBackOverAStandStillIsRefused(t *testing.T) {
	for _, row := range []struct {
		name   string
		stills []int64
		take   bool
	}{
		{"of 6 s", []int64{6_000}, false},
		{"of 6 s and of 2 s", []int64{6_000, 2_000}, false},
		{"of 3 s", []int64{3_000}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newTunnel(t)
			w.run(1_000)
			w.now = w.clock(0)
			w.e[0].take()
			w.say(0, 1)
			held := w.e[0].take()
			for _, ms := range row.stills {
				w.standStill(0, ms)
				w.run(300)
			}
			w.e[1].got = nil
			for _, d := range held {
				w.e[1].Datagram(w.clock(1), from, d.b)
			}
			if got := len(w.e[1].deliveries(syncer.DeliverMessage)) > 0; got != row.take {
				t.Errorf("believed: %v", got)
			}
		})
	}
}

func TestAHandshakeThatIsDelayedProvesNoFreshness(t *testing.T) {
	w := newTunnel(t)
	w.delay = [2]int64{6_000, 6_000}
	for seq := uint64(1); seq < 30; seq++ {
		if w.tell(0, seq) {
			t.Fatalf("message %d was believed", seq)
		}
	}
	w.delay = [2]int64{1, 1}
	w.way = [2][]flight{}
	w.run(2_500)
	if !w.tell(0, 1000) {
		t.Error("not linked when nothing delays it")
	}
}

func TestClocksThatDriftApartRefuseNothing(t *testing.T) {
	for _, ppm := range []int64{500, -500, 0} {
		w := newTunnel(t)
		w.run(1_000)
		for s := range int64(3_600) {
			w.lag[0] = s * ppm / 1_000
			w.run(1_000)
		}
		for i, e := range w.e {
			if e.Count[syncer.SyncStale] != 0 || e.Count[syncer.SyncRebased] != 0 || e.Count[syncer.SyncSuspicions] != 0 {
				t.Errorf("%d ppm, end %d: %d stale, %d rebased, %d suspicions", ppm, i,
					e.Count[syncer.SyncStale], e.Count[syncer.SyncRebased], e.Count[syncer.SyncSuspicions])
			}
		}
	}
}

// What a peer says of its tombstones it says by its own clock. None of them may pass for younger
// than it was.
func TestWordsOfAPeerReachBackOverItsStandStill(t *testing.T) {
	w := newTunnel(t)
	w.run(1_000)
	before := w.real
	w.standStill(0, 6_000)
	for range 40 {
		for i := range 2 {
			w.e[0].Queue(w.clock(0), i, &syncer.Action{
				Kind: syncer.ActTombs, ClosedAt: w.clock(0) - 50, AgedAt: before, FloorAt: before - 2_000,
			})
		}
		w.e[1].got = nil
		w.run(1_000)
		d := w.e[1].deliveries(syncer.DeliverWatermarks)
		if len(d) == 0 {
			t.Fatal("no words")
		}
		words := d[len(d)-1].Words
		if words.Aged > before || words.Aged < before-2_000 {
			t.Fatalf("aged before %d ms after the stand-still began", words.Aged-before)
		}
		if words.Floor > before-2_000 || words.Floor < before-4_000 {
			t.Fatalf("floor %d ms after the stand-still began, want 2 s before it", words.Floor-before)
		}
		if late := w.real - words.Closed; w.real-before > 8_000 && late > 3_000 {
			t.Fatalf("closed before %d ms ago", late)
		}
	}
}
