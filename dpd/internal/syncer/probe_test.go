package syncer_test

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// Both ends measure the way there and back without the time that a PROBE was held, and from it how far the other's clock is ahead.
func TestRoundTripAndOffset(t *testing.T) {
	for _, c := range []struct {
		name       string
		way        [2]int64 // milliseconds from each end to the other
		skew       int64    // of the second end's clock
		rtt        int64
		offset     int64 // as the first end sees the second
		offsetBack int64
	}{
		{"one clock, ways alike", [2]int64{20, 20}, 0, 40, 0, 0},
		{"one clock, ways that differ", [2]int64{60, 20}, 0, 80, 20, -20},
		{"a clock that is ahead", [2]int64{10, 10}, 700, 20, 700, -700},
		{"a clock that is behind, ways that differ", [2]int64{10, 40}, -300, 50, -315, 315},
	} {
		t.Run(c.name, func(t *testing.T) {
			clocks := [2]int64{t0, t0 + c.skew}
			var e [2]*end
			for i := range e {
				e[i] = newEnd(t, &clocks[i], nodeID(uint32(i+1)), 7, 0)
				e[i].view(1, nodeID(uint32(2-i)))
			}
			type flying struct {
				at int64
				to int
				b  []byte
			}
			var net []flying
			for ms := range int64(3_000) {
				for i := range e {
					clocks[i] = t0 + ms
					if i == 1 {
						clocks[i] += c.skew
					}
				}
				keep := net[:0]
				for _, f := range net {
					if f.at > ms {
						keep = append(keep, f)
						continue
					}
					e[f.to].Datagram(clocks[f.to], sip(uint32(2-f.to)), f.b)
					e[f.to].Flush(clocks[f.to])
				}
				net = keep
				for i := range e {
					if (ms+int64(2*i))%5 == 0 { // not at the same moments
						e[i].Tick(clocks[i])
					}
					for _, d := range e[i].take() {
						net = append(net, flying{ms + c.way[i], 1 - i, d.b})
					}
				}
			}
			for i, offset := range []int64{c.offset, c.offsetBack} {
				s := e[i].Status(clocks[i], nil)[0]
				if !s.Linked || s.RTT != c.rtt || s.Offset != offset {
					t.Errorf("end %d: linked %v, round trip %d, offset %d; want %d and %d", i, s.Linked, s.RTT, s.Offset, c.rtt, offset)
				}
			}
		})
	}
}

// A PROBE that was overtaken tells what was, not what is.
func TestAPROBEThatWasOvertakenTellsNothing(t *testing.T) {
	p := newPair(t)
	p.e[0].SetState(syncwire.ProbeReady)
	p.run(200)
	if p.status(1).State&syncwire.ProbeReady == 0 {
		t.Fatal("the state did not come")
	}
	var late [][]byte
	p.lose = func(i int, b []byte) bool {
		if i == 0 {
			late = append(late, append([]byte(nil), b...))
		}
		return i == 0
	}
	p.run(105)
	p.lose = nil
	p.e[0].SetState(syncwire.ProbeDegraded)
	p.run(105)
	if s := p.status(1).State; s != syncwire.ProbeDegraded || len(late) == 0 {
		t.Fatalf("state %x, %d datagrams late", s, len(late))
	}
	received := p.e[1].Count[syncer.SyncReceived]
	for _, b := range late {
		p.e[1].Datagram(p.now, sip(1), b)
	}
	if n := p.e[1].Count[syncer.SyncReceived] - received; int(n) != len(late) {
		t.Fatalf("%d of %d were opened", n, len(late))
	}
	if s := p.status(1).State; s != syncwire.ProbeDegraded {
		t.Errorf("state %x", s)
	}
}
