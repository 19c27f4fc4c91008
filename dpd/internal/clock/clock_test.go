package clock

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// machine is the kernel's clocks.
type machine struct {
	mono, boot int64
	monos      int // calls
	boots      int
	between    func() // comes between a reading of the one and of the other
	noBoot     bool
}

func (m *machine) pass(ms int64)    { m.mono += ms; m.boot += ms }
func (m *machine) suspend(ms int64) { m.boot += ms }

func (m *machine) clock() *Clock {
	return New(1_700_000_000_000, func() int64 { m.monos++; return m.mono }, func() int64 {
		m.boots++
		if m.noBoot {
			return 0
		}
		b := m.boot + 77_000
		if m.between != nil {
			m.between()
		}
		return b
	})
}

func TestNodeTimeGoesOnWhileTheMachineIsSuspended(t *testing.T) {
	for _, row := range []struct {
		name string
		play func(m *machine, read func())
		want int64
	}{
		{"no suspension", func(m *machine, _ func()) { m.pass(5_000) }, 5_000},
		{"six seconds", func(m *machine, _ func()) { m.pass(1_000); m.suspend(6_000); m.pass(20) }, 7_020},
		{"twice", func(m *machine, read func()) {
			m.suspend(6_000)
			m.pass(20)
			read()
			m.suspend(2_000)
			m.pass(20)
		}, 8_040},
		{"none seen within 20 ms of a look", func(m *machine, read func()) {
			m.pass(20)
			read()
			m.suspend(6_000)
			m.pass(19)
		}, 39},
		{"a moment is the reader's", func(m *machine, _ func()) { m.suspend(9); m.pass(100) }, 100},
		{"no clock that goes on", func(m *machine, _ func()) { m.noBoot = true; m.suspend(6_000); m.pass(100) }, 100},
		{"the reader is held up between two clocks", func(m *machine, read func()) {
			m.between = func() { m.pass(300) }
			m.pass(100)
			read()
			m.pass(100)
			read()
			m.between = nil
			m.pass(100)
		}, 900},
	} {
		t.Run(row.name, func(t *testing.T) {
			m := &machine{}
			c := m.clock()
			read := func() { c.Read() }
			read()
			row.play(m, read)
			tick, now := c.Read()
			if got := now - 1_700_000_000_000; got != row.want || tick != FirstTick+uint32(row.want) {
				t.Errorf("%d ms, tick %d; want %d", got, tick-FirstTick, row.want)
			}
		})
	}
}

func TestNodeTimeNeverGoesBackNorBeyondRealTime(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		m := &machine{mono: rnd.Int64N(1000), boot: rnd.Int64N(1_000_000)}
		if rnd.IntN(2) == 0 { // held up at the start
			m.between = func() { m.pass(rnd.Int64N(100)) }
		}
		from := m.boot - m.mono
		c := m.clock()
		last := int64(0)
		for range 500 {
			m.between = nil
			switch rnd.IntN(10) {
			case 0:
				m.suspend(rnd.Int64N(10_000))
			case 1:
				m.between = func() { m.pass(rnd.Int64N(3_000)) }
			default:
				m.pass(rnd.Int64N(40))
			}
			_, now := c.Read()
			now -= 1_700_000_000_000
			if now < last || now > m.boot-from {
				t.Fatalf("%d after %d at %d", now, last, m.boot-from)
			}
			last = now
		}
		m.between = nil
		m.pass(20)
		if _, now := c.Read(); m.boot-from-(now-1_700_000_000_000) > 100+leastSkip {
			t.Fatalf("%d ms behind", m.boot-from-(now-1_700_000_000_000))
		}
	}
}

func TestReadingTheTimeCostsOneClock(t *testing.T) {
	m := &machine{}
	c := m.clock()
	c.Read()
	m.monos, m.boots = 0, 0
	if n := testing.AllocsPerRun(1000, func() { c.Read() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if m.boots != 0 || m.monos != 1001 {
		t.Errorf("%d readings of the monotonic clock, %d of boottime", m.monos, m.boots)
	}
	m.pass(20)
	c.Read()
	c.Read()
	if m.boots != 1 {
		t.Errorf("%d readings of boottime", m.boots)
	}
}

func TestNoThreadSeesNodeTimeGoBack(t *testing.T) {
	var mono, boot, seen atomic.Int64
	c := New(t0, mono.Load, boot.Load)
	var threads sync.WaitGroup
	for range 4 {
		threads.Go(func() {
			for i := range 5_000 {
				boot.Add(1)
				mono.Add(1)
				if i%500 == 0 {
					boot.Add(2_000)
				}
				before := seen.Load() // another thread saw this before this one reads
				_, now := c.Read()
				if now < before {
					t.Errorf("%d after %d", now, before)
					return
				}
				for v := seen.Load(); v < now && !seen.CompareAndSwap(v, now); v = seen.Load() {
				}
			}
		})
	}
	threads.Wait()
	mono.Add(lookEvery)
	boot.Add(lookEvery)
	if _, now := c.Read(); now-t0 != boot.Load() {
		t.Errorf("%d ms, want %d", now-t0, boot.Load())
	}
}
