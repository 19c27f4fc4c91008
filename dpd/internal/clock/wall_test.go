package clock

import (
	"math/rand/v2"
	"slices"
	"testing"
)

const t0 = 1_700_000_000_000

// step is a stretch of time in which the sources say the same: ms of node time, realtime and peers
// as what they are ahead of node time.
type stretch struct {
	ms, real int64
	peers    []int64
	want     int64 // ahead at the end
	stood    int   // times that a pause was seen
}

func TestWallTimeFollowsRealtimeAndPeersTogether(t *testing.T) {
	p := func(v ...int64) []int64 { return v }
	const h = 3_600_000
	for _, row := range []struct {
		name string
		play []stretch
	}{
		{"nothing happens", []stretch{{60_000, 0, p(0, 3), 0, 0}}},
		{"realtime jumps an hour ahead of the peers, and back", []stretch{
			{1_000, 0, p(0, 0), 0, 0},
			{600_000, h, p(0, 0), 0, 1},
			{60_000, 0, p(0, 0), 0, 0},
		}},
		{"realtime falls an hour behind the peers, and returns", []stretch{
			{1_000, 0, p(0, 0), 0, 0},
			{600_000, -h, p(0, 0), 0, 0},
			{60_000, 0, p(0, 0), 0, 1},
		}},
		{"a step of 300 ms away from the peers", []stretch{
			{1_000, 0, p(2), 0, 0},
			{60_000, 300, p(2), 0, 0},
			{60_000, -300, p(-2), 0, 0},
		}},
		{"a step of 300 ms to the peers", []stretch{
			{1_000, 0, p(290), 0, 0},
			{2_000, 300, p(290), 290, 0},
		}},
		{"stopped for 6 s, then stepped", []stretch{
			{60_000, 0, p(6_000, 6_010), 0, 0},
			{1_000, 6_000, p(6_000, 6_010), 0, 1},
			{1_000, 6_000, p(6_000, 6_010), 6_000, 0},
			{60_000, 6_000, p(6_000, 6_010), 6_000, 0},
		}},
		{"they agree for a moment", []stretch{
			{1_000, 0, p(0), 0, 0},
			{900, 900, p(6_000), 0, 0},
			{120, 900, p(0), 0, 0},
			{900, 900, p(6_000), 0, 0},
		}},
		{"one of two peers is wrong", []stretch{
			{1_000, 0, p(6_000, -h), 0, 0},
			{3_000, 6_000, p(6_000, -h), 6_000, 1},
		}},
		{"the peers are farther ahead than realtime", []stretch{
			{100, 0, p(h), 0, 0},
			{3_000, 2_000, p(h), 2_000, 1},
		}},
		{"most nodes stood still, and one did not", []stretch{
			{100, 0, p(0, 0, 6_000), 0, 0},
			{3_000, 6_000, p(0, 0, 6_000), 6_000, 1},
		}},
		{"most nodes are ahead, and one is not", []stretch{
			{100, 0, p(0, 0, -6_000), 0, 0},
			{20_000, -6_000, p(0, 0, -6_000), -5_910, 0},
		}},
		{"realtime and the peers on two sides", []stretch{
			{100, 0, p(-h), 0, 0},
			{60_000, h, p(-h), 0, 1},
		}},
		{"behind both, at half the speed", []stretch{
			{100, 0, p(0), 0, 0},
			{1_000, -6_000, p(-6_000), 0, 0},
			{6_000, -6_000, p(-6_000), -3_000, 0},
			{20_000, -6_000, p(-6_000), -5_910, 0},
		}},
		{"alone, and far ahead", []stretch{
			{100, 0, nil, 0, 0},
			{60_000, h, nil, 600, 1},
			{1_200, 0, nil, 0, 0},
		}},
		{"alone, and far behind", []stretch{
			{100, 0, nil, 0, 0},
			{10_000, -h, nil, -5_000, 0},
			{500_000, 0, nil, 0, 1},
		}},
		{"alone, and a little off", []stretch{
			{100, 0, nil, 0, 0},
			{10_000, 50, nil, 50, 0},
			{10_000, -50, nil, -50, 0},
		}},
		{"alone, then not", []stretch{
			{100, 0, nil, 0, 0},
			{10_000, 6_000, nil, 100, 1},
			{2_000, 6_000, p(6_000), 6_000, 0},
		}},
		{"all are stepped, one is started anew", []stretch{
			{100, 0, p(0, 0), 0, 0},
			{60_000, h, p(0, 0), 0, 1},
			{3_000, h, p(h, 0), h, 0},
		}},
		{"a second and less is no pause", []stretch{
			{100, 0, p(0), 0, 0},
			{1_000, 1_000, p(0), 0, 0},
			{1_000, 0, p(0), 0, 0},
			{1_000, 1_001, p(0), 0, 1},
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var w Wall
			now := int64(t0)
			for i, s := range row.play {
				stood := 0
				for end := now + s.ms; now < end; {
					now += 20
					seen := make([]int64, len(s.peers))
					for k, v := range s.peers {
						seen[k] = v - w.Ahead()
					}
					if w.Step(now, now+s.real, seen) {
						stood++
					}
				}
				if w.Ahead() != s.want || stood != s.stood {
					t.Errorf("stretch %d: %d ms ahead, %d pauses; want %d, %d", i, w.Ahead(), stood, s.want, s.stood)
				}
			}
		})
	}
}

// model is a node whose clocks have troubles.
type model struct {
	wall  Wall
	guard Guard
	lag   int64 // of node time
	wrong int64 // realtime minus the truth
	stop  int64 // until then the machine stands
	seen  int64 // wall time at the last step
	node  int64
}

func (m *model) at(now int64) int64 { return now - m.lag + m.wall.Ahead() }

// TestWallTimesComeTogether lets random clocks jump, and virtual machines stop, and then lets all
// be well.
func TestWallTimesComeTogether(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		nodes := make([]model, 1+rnd.IntN(5))
		now := int64(t0)
		run := func(ms int64, trouble bool) {
			for end := now + ms; now < end; now += 20 {
				for i := range nodes {
					m := &nodes[i]
					if trouble && rnd.IntN(500) == 0 {
						switch rnd.IntN(4) {
						case 0:
							m.stop = now + rnd.Int64N(8_000)
						case 1:
							m.wrong = rnd.Int64N(20_000) - 10_000
						default:
							m.wrong = 0
						}
					}
					if now < m.stop {
						m.lag += 20
						m.wrong -= 20
						continue
					}
					var peers []int64
					for k := range nodes {
						if k != i && now >= nodes[k].stop && (!trouble || rnd.IntN(5) > 0) {
							peers = append(peers, nodes[k].at(now)-m.at(now)+rnd.Int64N(7)-3)
						}
					}
					before := m.wall.Ahead()
					m.wall.Step(now-m.lag, now+m.wrong, peers)
					m.check(t, seed, now, before, peers)
					m.guard.Step(now-m.lag, Median(peers))
				}
			}
		}
		run(120_000, true)
		for i := range nodes {
			nodes[i].wrong, nodes[i].stop = 0, 0
		}
		run(120_000, false)
		for i := range nodes {
			if d := nodes[i].at(now) - nodes[0].at(now); nodes[i].guard.Off || d > offMS || d < -offMS {
				t.Fatalf("seed %d: node %d of %d is %d ms from node 0, off: %v", seed, i, len(nodes), d, nodes[i].guard.Off)
			}
		}
	}
}

// check is what holds at every step.
func (m *model) check(t *testing.T, seed uint64, now, before int64, peers []int64) {
	t.Helper()
	wall, node := m.at(now), now-m.lag
	if m.node != 0 && wall-m.seen < (node-m.node)/slowBy {
		t.Fatalf("seed %d: wall time moved by %d ms while node time moved by %d", seed, wall-m.seen, node-m.node)
	}
	if up := m.wall.Ahead() - before; up > 0 {
		goal := m.wrong + m.lag - before
		switch {
		case up > goal:
			t.Fatalf("seed %d: %d ms up, realtime is %d ahead", seed, up, goal)
		case len(peers) > 0 && up > slices.Max(peers):
			t.Fatalf("seed %d: %d ms up, the peers are %d ahead", seed, up, slices.Max(peers))
		case len(peers) == 0 && up > 1:
			t.Fatalf("seed %d: %d ms up, with no peer", seed, up)
		}
	}
	m.seen, m.node = wall, node
}
