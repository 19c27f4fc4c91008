package syncer_test

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

func TestBirthsFollowWallTimeAndNeverGoBack(t *testing.T) {
	b := newBench(t, 0)
	port := uint16(0)
	create := func() flow.Birth {
		t.Helper()
		port++
		x := session(int(port), 1, port, 0, 1, 0, 0)
		h, err := b.Create(b.now, &x)
		if err != nil {
			t.Fatal(err)
		}
		b.store.Load(h, &x)
		return x.Birth
	}
	for _, row := range []struct {
		name          string
		ahead, passed int64
		want          int64 // milliseconds ahead of node time
	}{
		{"with node time", 0, 0, 0},
		{"six seconds ahead", 6_000, 1_000, 6_000},
		{"slowing down", 5_500, 1_000, 5_500},
		{"gone back, before it has caught up", 3_000, 1_000, 4_500},
		{"and after", 3_000, 2_000, 3_000},
		{"behind node time", -500, 5_000, -500},
	} {
		b.now += row.passed
		b.SetWall(row.ahead)
		if got := int64(create()>>16) - b.now; got != row.want {
			t.Errorf("%s: born %d ms ahead of node time, want %d", row.name, got, row.want)
		}
	}
	// A foreign birth moves the clock by half a second from wall time.
	far := session(100, 2, 100, flow.Birth(b.now+3_600_000)<<16, 2, 1, 2)
	b.hear(2, syncwire.KindSession, far)
	if got := int64(create()>>16) - b.now; got != 0 {
		t.Errorf("born %d ms ahead of node time after a foreign birth, want 0", got)
	}
}

func TestPeersAreToldWallTime(t *testing.T) {
	p := newPair(t)
	p.run(300)
	p.e[0].SetWall(6_000)
	p.run(300)
	for i, want := range []int64{-6_000, 6_000} {
		if s := p.status(i); !s.Timed || s.Offset != want {
			t.Errorf("end %d: the peer is %d ms ahead, want %d", i, s.Offset, want)
		}
	}
	// What was measured before a step holds after it.
	p.e[1].SetWall(6_000)
	if s := p.status(1); s.Offset != 0 {
		t.Errorf("the peer is %d ms ahead after the step", s.Offset)
	}
	p.run(300)
	if s := p.status(0); s.Offset != 0 || s.Suspected {
		t.Errorf("%+v", s)
	}
}

func TestAPauseThatNoClockShowedFreezesUntilAnAnswer(t *testing.T) {
	p := newPair(t)
	p.e[0].Stall(p.now)
	since := p.now
	if !p.e[0].Frozen() || p.e[0].Answered(since) {
		t.Fatal("not frozen")
	}
	p.run(210)
	if p.e[0].Frozen() || !p.e[0].Answered(since) {
		t.Error("frozen although answered")
	}
	p.lose = func(int, []byte) bool { return true }
	p.e[0].Stall(p.now)
	p.run(900)
	if !p.e[0].Frozen() {
		t.Error("thawed before a second without any answer")
	}
	p.run(200)
	if p.e[0].Frozen() {
		t.Error("frozen for ever")
	}
}

// A PROBE on its way while this node stands still comes back seconds later, and says nothing of the
// peer's clock.
func TestAPauseDoesNotShiftThePeersClock(t *testing.T) {
	p := newPair(t)
	p.run(300)
	hold := true
	var held []sentDatagram
	p.lose = func(i int, b []byte) bool {
		if i == 1 && hold && lane(b) == syncwire.LaneControl {
			held = append(held, sentDatagram{b: append([]byte(nil), b...)})
			return true
		}
		return false
	}
	p.run(200)
	p.now += 4_000
	for _, d := range held {
		p.e[0].Datagram(p.now, sip(2), d.b)
	}
	if s := p.status(0); s.Offset != 0 || s.RTT != 0 {
		t.Errorf("the peer is %d ms ahead, RTT %d ms", s.Offset, s.RTT)
	}
	hold = false
	p.run(300)
	if s := p.status(0); s.Offset != 0 || s.RTT != 0 || !s.Timed {
		t.Errorf("%+v", s)
	}
}
