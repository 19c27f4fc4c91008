package conntrack

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// ends sweeps tick by tick from 'from' and returns when h is first reported.
func endOf(tab *Table, h flow.Handle, from, to expiry.Tick) (expiry.Tick, bool) {
	var due [8]flow.Handle
	for now := from; now.Before(to); now += 100 {
		for _, d := range due[:tab.Sweep(now, 100, len(due), due[:])] {
			if d == h {
				return now, true
			}
		}
	}
	return 0, false
}

func TestSessionsEndAfterTheTimeoutOfTheirState(t *testing.T) {
	data := c(ACK, 1, 1, 10)
	for name, c := range map[string]struct {
		prepare func(*Table, flow.Handle)
		idle    uint32 // seconds
		from    expiry.Tick
	}{
		"never touched": {func(*Table, flow.Handle) {}, 2, 0},
		"half open":     {func(tab *Table, h flow.Handle) { run(t, tab, h, handshake[:2]) }, 30, 2000},
		"established":   {func(tab *Table, h flow.Handle) { run(t, tab, h, handshake) }, 3600, 3000},
		"by the service's own": {func(tab *Table, h flow.Handle) {
			tab.SetServiceTimeouts(3, &Timeouts{flow.TCPEstablished: 50})
			run(t, tab, h, handshake)
		}, 50, 3000},
		"an override withdrawn": {func(tab *Table, h flow.Handle) {
			tab.SetServiceTimeouts(3, &Timeouts{flow.TCPEstablished: 50})
			tab.SetServiceTimeouts(3, nil)
			run(t, tab, h, handshake)
		}, 3600, 3000},
		"in doubt": {func(tab *Table, h flow.Handle) {
			run(t, tab, h, handshake)
			tab.Touch(h, in, &Segment{Flags: RST}, 4000)
		}, 30, 4000},
		"in doubt, then data": {func(tab *Table, h flow.Handle) {
			run(t, tab, h, handshake)
			tab.Touch(h, in, &Segment{Flags: RST}, 4000)
			tab.Touch(h, in, &data, 5000)
		}, 3600, 5000},
		"touched all the time": {func(tab *Table, h flow.Handle) {
			run(t, tab, h, handshake)
			for i := range expiry.Tick(100) {
				tab.Touch(h, in, &data, i*30000)
			}
		}, 3600, 99 * 30000},
		"armed anew": {func(tab *Table, h flow.Handle) { tab.Rearm(h, 77000) }, 77, 0},
		"over the wrap of ticks": {func(tab *Table, h flow.Handle) {
			tab.Advance(0xfffffff0)
			tab.Touch(h, in, &handshake[0].seg, 0xfffffff0)
		}, 30, 0xfffffff0},
	} {
		t.Run(name, func(t *testing.T) {
			tab := newTable(t, Config{CapacityV4: 8})
			h, err := tab.Insert(tcp4(t))
			if err != nil {
				t.Fatal(err)
			}
			c.prepare(tab, h)
			ms := c.idle * 1000
			got, ok := endOf(tab, h, c.from, c.from.Add(ms+ms/8+1000))
			if !ok || got.Since(c.from) < ms || got.Since(c.from) > ms+ms/16+200 {
				t.Errorf("ended after %d ms (%v), want %d and up to a sixteenth more", got.Since(c.from), ok, ms)
			}
		})
	}
}

func TestTombstonesAreReportedAfterAMinute(t *testing.T) {
	tab := newTable(t, Config{CapacityV4: 8})
	x := tcp4(t)
	x.State, x.Flags = flow.TCPEstablished, 0
	h, _ := tab.Insert(x)
	tab.Advance(10_000)
	x.Flags = flow.SoftTomb
	x.Idle = 3_600_000
	if err := tab.Update(h, x); err != nil {
		t.Fatal(err)
	}
	tab.Advance(40_000)
	x.Ver++
	if err := tab.Update(h, x); err != nil {
		t.Fatal(err)
	}
	if at, ok := endOf(tab, h, 40_000, 100_000); !ok || at != 70_000 {
		t.Errorf("reported at %d (%v)", at, ok)
	}
	tab.Rearm(h, 90_000)
	if at, ok := endOf(tab, h, 70_000, 100_000); !ok || at != 90_000 {
		t.Errorf("armed anew, reported at %d (%v)", at, ok)
	}
}

func TestReplyOnlyEndsAfterAMinute(t *testing.T) {
	tab := newTable(t, Config{CapacityV4: 8})
	x := tcp4(t)
	x.State, x.Flags = flow.TCPEstablished, flow.ReplyOnly
	h, _ := tab.Insert(x)
	if at, ok := endOf(tab, h, 0, 70_000); !ok || at < 60_000 {
		t.Errorf("reported at %d (%v)", at, ok)
	}
}

func TestSweepIsBounded(t *testing.T) {
	const n = 1000
	tab := newTable(t, Config{CapacityV4: n})
	for i := range uint64(n) {
		x := tcp4(t)
		x.Orig.Meta += i << 48
		x.Reply.Meta += i << 48
		if _, err := tab.Insert(x); err != nil {
			t.Fatal(err)
		}
	}
	due := make([]flow.Handle, n)
	if got := tab.Sweep(60_000, 100, n, due); got != 99 { // index 0 is no handle
		t.Errorf("100 entries gave %d", got)
	}
	if got := tab.Sweep(60_000, n, 10, due); got != 10 {
		t.Errorf("at most 10 gave %d", got)
	}
	if got := tab.Sweep(60_000, n, n, due[:7]); got != 7 {
		t.Errorf("a vector of 7 took %d", got)
	}
	if got := tab.Sweep(60_000, n, 0, due); got != 0 {
		t.Errorf("at most 0 gave %d", got)
	}
	seen := map[flow.Handle]bool{}
	for range 20 {
		for _, h := range due[:tab.Sweep(60_000, 100, n, due)] {
			seen[h] = true
			tab.Remove(h)
		}
	}
	if len(seen) != n || tab.Len() != 0 {
		t.Errorf("%d of %d reported, %d left", len(seen), n, tab.Len())
	}
	if st := tab.Stats(); st.SweepMaxLagMS < 50_000 || st.SweepRounds == 0 || st.Expired < n {
		t.Errorf("%+v", st)
	}
}

func TestIdleSinceBeforeTheWrapStaysIdle(t *testing.T) {
	tab := newTable(t, Config{CapacityV4: 2})
	x := tcp4(t)
	x.State = flow.TCPEstablished
	h, _ := tab.Insert(x)
	var due [1]flow.Handle
	for day := range expiry.Tick(60) {
		now := (day + 1) * 86_400_000
		tab.Sweep(now, 10, 1, due[:])
		if tab.Load(h, x); x.Idle == 0 {
			t.Fatalf("after %d days it looks fresh", day)
		}
	}
}
