package membership

import (
	"errors"
	"fmt"
	"testing"
)

// looper is a node that joins, ends and joins again for ever.
type looper struct {
	b      *bed
	name   string
	joins  int
	inc    uint64
	id     uint32
	begun  int64
	ends   func() // how its life ends
	useful bool   // it gets everything, and is admitted before it ends
	at     int64  // when it asks next
}

// step is what happens in one round of 100 ms: a life of a second, then a pause of a second.
func (l *looper) step() {
	b := l.b
	switch {
	case l.inc != 0 && b.now-l.begun >= 1000:
		b.dp[l.id].gone = true
		l.ends()
		l.inc, l.at = 0, b.now+1000
	case l.inc == 0 && b.now >= l.at:
		r := ask(l.name)
		r.ProcessID = fmt.Sprint("p", b.now)
		n, err := b.m.Join(b.now, r)
		b.take()
		if err != nil {
			if !errors.Is(err, ErrBackOff) {
				b.t.Fatal(err)
			}
			l.at = b.now + 2000 // as a data plane asks
			return
		}
		l.joins++
		l.id, l.inc, l.begun = n.ID, n.Inc, b.now
		b.dp[n.ID] = &plane{Report: Report{Node: n.ID, Inc: n.Inc}}
		b.m.Control(b.now, n.ID, n.Inc, true)
		b.take()
		for _, id := range b.ids() {
			b.hear(n.ID, id)
		}
		if l.useful {
			b.whole(n.ID)
		}
	}
}

// A node that joined and died without end made one or two views a second, each of which costs every member.
func TestANodeThatJoinsAndDiesWithoutEndMakesFewViews(t *testing.T) {
	for _, c := range []struct {
		name   string
		useful bool
		ends   func(l *looper)
	}{
		{"it dies while it joins", false, func(l *looper) { l.b.kill(l.id) }},
		{"it dies and begins anew before anyone notices", false, func(*looper) {}},
		{"it leaves on its own word", false, func(l *looper) {
			_ = l.b.m.Leave(l.b.now, l.id, l.inc)
			l.b.take()
		}},
		{"it dies a moment after it was admitted", true, func(l *looper) { l.b.kill(l.id) }},
		{"it begins anew a moment after it was admitted", true, func(*looper) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, 8)
			b.admit(2)
			views, others := b.stored.View, b.stored.Clone()
			l := &looper{b: b, name: "lb-x", useful: c.useful}
			l.ends = func() { c.ends(l) }
			for end := b.now + 3_600_000; b.now < end; {
				l.step()
				b.round()
			}
			// 6 lives until the first pause, then one after 10, 20 ... 320 s, then one each 10 minutes.
			if l.joins < 12 || l.joins > 18 {
				t.Errorf("%d joins in an hour", l.joins)
			}
			if got := b.stored.View - views; got > 5*18 {
				t.Errorf("%d views in an hour", got)
			}
			if len(b.stored.Nodes) != 3 || b.stored.LastBlock != 8 {
				t.Errorf("%d node ids, %d block ids", len(b.stored.Nodes), b.stored.LastBlock)
			}
			held := 0
			for _, x := range b.stored.Blocks {
				if x.Holder == l.id {
					held++
				}
			}
			if held > MaxFormerBlocks+1 {
				t.Errorf("it keeps %d blocks", held)
			}
			for id := uint32(1); id <= 2; id++ {
				now, was := b.stored.Node(id), others.Node(id)
				if now.Phase != Admitted || now.Degraded != CauseNone || now.Inc != was.Inc || now.Sip4 != was.Sip4 {
					t.Errorf("node %d changed: %+v", id, now)
				}
			}
		})
	}
}

// A member that never says that it holds nothing of a block kept every block that a node took in each of its lives.
func TestANodeThatDiesWithoutEndTakesNoMoreThanItsShareOfBlocks(t *testing.T) {
	b := newBed(t, 20)
	b.m.cfg.JoinBackOff = 0
	b.admit(2)
	for range 30 {
		n := b.join("lb-x")
		b.whole(n.ID)
		b.pass(300)
		b.want(n.ID, Admitted)
		b.kill(n.ID)
		b.pass(7_000) // every plane of the bed reports a record of each block
		b.want(n.ID, Removed)
	}
	n := b.join("lb-x")
	if x := b.stored.Holds(n.ID, n.Inc, false); x == nil || x.Clean {
		t.Errorf("it may use a former life's block without the whole stock: %+v", x)
	}
	free := 0
	for _, x := range b.stored.Blocks {
		if x.Holder == 0 {
			free++
		}
	}
	if free < 20-2-MaxFormerBlocks {
		t.Errorf("%d of 20 blocks are free", free)
	}
}

func TestANodeThatIsRestartedAFewTimesIsLetInAtOnce(t *testing.T) {
	b := newBed(t, 12)
	b.admit(2)
	for i := range 5 {
		n, err := b.m.Join(b.now, ask("lb-b"))
		if err != nil {
			t.Fatalf("restart %d: %v", i+1, err)
		}
		b.take()
		b.dp[n.ID] = &plane{Report: Report{Node: n.ID, Inc: n.Inc}}
		b.m.Control(b.now, n.ID, n.Inc, true)
		b.whole(n.ID)
		b.pass(500)
	}
	if _, err := b.m.Join(b.now, ask("lb-b")); !errors.Is(err, ErrBackOff) {
		t.Fatalf("the next one: %v", err)
	}
	// The process that asks is the word that the one before is over.
	b.take()
	if n := b.node(2); n.Phase != Removed || n.Cause != CauseRestarted {
		t.Fatalf("%+v", n)
	}
	b.pass(11_000)
	if n := b.join("lb-b"); n.Phase != Joining {
		t.Fatalf("%+v", n)
	}
}

func TestWithoutAPauseANodeIsNeverHeldBack(t *testing.T) {
	b := newBed(t, 8)
	b.m.cfg.JoinBackOff = 0
	b.admit(1)
	for range 50 {
		b.join("lb-x")
		b.round()
	}
}
