package syncer

import "testing"

func TestTheMTUInForceIsWhatBothSidesAndThePathLet(t *testing.T) {
	for _, row := range []struct {
		name              string
		mine, peer, path  int // IP packets over IPv6
		want              int
		narrowed, wantNow int // afterwards the path is this wide; 0: it stays
	}{
		{"the least size", 1280, 1400, 9000, 1280, 0, 0},
		{"the default", 1400, 1400, 1500, 1400, 0, 0},
		{"the size of Ethernet", 1500, 1500, 1500, 1500, 0, 0},
		{"jumbo packets", 8000, 8000, 9000, 8000, 0, 0},
		{"the largest", 9000, 9000, 9000, 9000, 0, 0},
		{"a size between the steps", 4000, 9000, 9000, 4000, 0, 0},
		{"a peer that takes less", 9000, 1400, 9000, 1400, 0, 0},
		{"a peer that takes a size between the steps", 9000, 2500, 9000, 2500, 0, 0},
		{"a path of Ethernet under jumbo packets", 9000, 9000, 1500, 1500, 0, 0},
		{"a path between the steps", 9000, 9000, 8999, 8000, 0, 0},
		{"a tunnel", 1500, 1500, 1420, 1400, 0, 0},
		{"a path that shrinks", 9000, 9000, 9000, 9000, 1480, 1400},
		{"a path that shrinks under the least size of IPv6", 1500, 1500, 1500, 1500, 1260, 1248},
	} {
		t.Run(row.name, func(t *testing.T) {
			var m pathMTU
			m.init(row.mine - mtuHeaders)
			m.limit(row.peer - mtuHeaders)
			if m.size > min(row.mine, row.peer, 1280)-mtuHeaders {
				t.Errorf("begins with %d", m.size)
			}
			seq := uint32(0)
			drive := func(path int) int {
				for range 600 {
					seq++
					size := m.probe(seq)
					if max(size, m.size) > row.mine-mtuHeaders || max(size, m.size) > row.peer-mtuHeaders {
						t.Fatalf("a datagram of %d bytes", max(size, m.size))
					}
					if max(size, m.size) <= path-mtuHeaders {
						m.echoed(seq)
					}
				}
				return m.size + mtuHeaders
			}
			if got := drive(row.path); got != row.want {
				t.Errorf("packets of %d bytes are in force, want %d", got, row.want)
			}
			if row.narrowed == 0 {
				return
			}
			if got := drive(row.narrowed); got != row.wantNow {
				t.Errorf("on the narrower path packets of %d bytes are in force, want %d", got, row.wantNow)
			}
			if got := drive(row.path); got != row.want {
				t.Errorf("on the path as it was packets of %d bytes are in force, want %d", got, row.want)
			}
		})
	}
}

func TestAnAnswerIsTheEchoOfAPROBESentLater(t *testing.T) {
	for _, row := range []struct {
		name  string
		seq   uint32 // sent, at 1000 and each 100 ms
		back  uint32
		over  bool
		since int64
		want  bool
	}{
		{"none came back", 20, 0, false, 0, false},
		{"the one before", 20, 10, false, 2000, false},
		{"in the same millisecond", 20, 10, false, 1900, false},
		{"the one after", 20, 10, false, 1899, true},
		{"from an incarnation that is over", 20, 10, true, 1000, false},
		{"of one so old that its time is forgotten", 100, 36, false, 1000, false},
		{"of the oldest whose time is known", 100, 37, false, 1000, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := &peer{over: row.over}
			for p.probe.seq < row.seq {
				p.probe.seq++
				p.probe.at[p.probe.seq%64] = 900 + 100*int64(p.probe.seq)
			}
			p.mtu.echoed(row.back)
			p.mtu.echoed(row.back / 2) // an older one, late
			if got := (&Sync{peers: []*peer{p}}).Answered(row.since); got != row.want {
				t.Errorf("answered: %v", got)
			}
		})
	}
}
