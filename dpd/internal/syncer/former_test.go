package syncer_test

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// tap is a pair on a wire that an outsider reads and writes, and from which he can take nothing away.
type tap struct {
	t    *testing.T
	now  int64
	e    [2]*end
	seen [2][][]byte                // what each end sent
	each func(i int, b []byte) bool // false: it gets lost by itself
	turn func()                     // the outsider's, each millisecond
}

func (w *tap) start(i int, inc uint64) {
	w.e[i] = newEnd(w.t, &w.now, flow.Node{ID: uint32(i + 1), Inc: inc}, inc*77+uint64(i), 0)
}

func (w *tap) meet(epoch uint64) {
	w.e[0].view(epoch, w.e[1].self)
	w.e[1].view(epoch, w.e[0].self)
}

// inject sends a copy of b to end i, from the other one's address.
func (w *tap) inject(i int, b []byte) {
	w.e[i].Datagram(w.now, sip(uint32(2-i)), append([]byte(nil), b...))
	w.e[i].Flush(w.now)
}

func (w *tap) run(ms int64) {
	for end := w.now + ms; w.now < end; {
		w.now++
		if w.turn != nil {
			w.turn()
		}
		for i := range w.e {
			if w.e[i] != nil && w.now%5 == 0 {
				w.e[i].Tick(w.now)
			}
		}
		for again := true; again; {
			again = false
			for i := range w.e {
				if w.e[i] == nil {
					continue
				}
				for _, d := range w.e[i].take() {
					again = true
					w.seen[i] = append(w.seen[i], d.b)
					if w.e[1-i] == nil || w.each != nil && !w.each(i, d.b) {
						continue
					}
					w.e[1-i].Datagram(w.now, sip(uint32(i+1)), append([]byte(nil), d.b...))
					w.e[1-i].Flush(w.now)
				}
				w.e[i].got, w.e[i].at = nil, make([][]syncer.Delivery, 2)
			}
		}
	}
}

func (w *tap) linked() bool {
	return w.e[0].Status(w.now, nil)[0].Linked && w.e[1].Status(w.now, nil)[0].Linked
}

// until is how long, in milliseconds, it takes until both ends are linked.
func (w *tap) until(most int64) int64 {
	began := w.now
	for w.now-began < most && !w.linked() {
		w.run(1)
	}
	return w.now - began
}

func controlOf(list [][]byte, greetings bool) (out [][]byte) {
	for _, b := range list {
		if lane(b) == syncwire.LaneControl && (len(b) == syncwire.HelloLen) == greetings {
			out = append(out, b)
		}
	}
	return out
}

// harvest makes life 10 of node 1 say HELLO to life 5 of node 2 as often as wanted, by old PROBEs that life 5 said to life 9. It
// returns the HELLOs, and a datagram of each of the lives 1 to 9 of node 1.
func harvest(t *testing.T, minutes int64) (w *tap, hellos, olds [][]byte) {
	w = &tap{t: t, now: t0}
	w.start(1, 5)
	for inc := range uint64(9) {
		w.seen = [2][][]byte{}
		w.start(0, inc+1)
		w.meet(inc + 1)
		w.run(2_000)
		olds = append(olds, controlOf(w.seen[0], false)[:1]...)
	}
	w.run(60_000 * minutes)
	probes := controlOf(w.seen[1], false)
	w.start(0, 10)
	w.seen = [2][][]byte{}
	w.meet(10)
	w.run(1_000)
	if !w.linked() {
		t.Fatal("not linked")
	}
	n := 0
	w.turn = func() {
		if w.now%100 == 0 && n < len(probes) {
			w.inject(0, probes[n])
			n++
		}
	}
	w.run(int64(len(probes)) * 100)
	w.turn = nil
	hellos = controlOf(w.seen[0], true)
	return w, hellos, olds
}

// Old PROBEs make a member say HELLO to a node that is linked. Played to the next life of that node they open, since a key does not
// name the receiver's incarnation, and each took an answer from the true HELLO: 12 to 31 s without a link.
func TestWhatAFormerLifeWasToldHoldsUpNoHandshake(t *testing.T) {
	w, hellos, olds := harvest(t, 8)
	for i, rate := range []int{0, 1, 3, 10} { // a millisecond, once node 2 was heard; 60 before
		w.start(1, 6+uint64(i))
		w.seen[1] = nil
		next, n, made := 0, 0, uint32(1)
		w.turn = func() {
			if rate == 0 {
				return
			}
			many := rate
			if len(w.seen[1]) == 0 {
				many = 60
			}
			for range many {
				w.inject(1, hellos[next%len(hellos)])
				next++
			}
			w.inject(1, olds[n%len(olds)])
			n++
			made += 0x9e3779b1
			h := syncwire.Header{Inc: 10, Sender: 1, KeyID: 1, Salt: made, Counter: 1, Minor: syncwire.Minor}
			d := make([]byte, 80)
			h.Put(d)
			w.inject(1, d)
		}
		w.meet(11 + uint64(i))
		began := w.now
		w.until(11_000)
		ready, _ := w.e[1].Ready()
		if ready && !w.linked() {
			t.Error("ready to be admitted without a link to a living member, and without its stock")
		}
		w.until(120_000)
		took := w.now - began
		if took > 1_000 {
			t.Errorf("%d replays a ms: linked after %d ms", rate, took)
		}
	}
}

// A zombie must hear FENCED. The outsider replays what still earlier lives said, and sends made-up salts.
func TestReplaysOfFormerLivesKeepNoZombieFromItsEnd(t *testing.T) {
	for _, c := range []struct {
		name          string
		replays, made int // a millisecond: at the member, at the zombie
	}{
		{"nothing", 0, 0},
		{"replays alone", 1, 0},
		{"made-up salts alone", 0, 3},
		{"few replays alone", -10, 0},
		{"few replays, made-up salts", -10, 3},
		{"5 replays a second alone", -200, 0},
		{"5 replays a second, made-up salts", -200, 3},
		{"both", 1, 3},
		{"both, faster", 5, 10},
	} {
		w := &tap{t: t, now: t0}
		w.start(0, 8)
		w.start(1, 5)
		w.meet(1)
		w.run(60_000 * 10)
		old := controlOf(w.seen[0], false)
		w.start(0, 9)
		w.start(1, 6) // or no window of node 2 is new
		w.meet(2)
		w.run(5_000)
		if !w.linked() {
			t.Fatal("not linked")
		}
		// Node 1 is cut off; meanwhile the view got a life 10 of it. Then the way is open again.
		w.each = func(int, []byte) bool { return false }
		w.run(3_000)
		w.e[1].view(3, flow.Node{ID: 1, Inc: 10})
		n, made := 0, uint32(1)
		w.turn = func() {
			k := c.replays
			if k < 0 {
				if k = 0; w.now%int64(-c.replays) == 0 {
					k = 1
				}
			}
			for range k {
				if n < len(old) {
					w.inject(1, old[n])
					n++
				}
			}
			for range c.made {
				made += 0x9e3779b1
				h := syncwire.Header{Inc: 6, Sender: 2, KeyID: 1, Salt: made, Counter: 1, Minor: syncwire.Minor}
				d := make([]byte, 80)
				h.Put(d)
				w.inject(0, d)
			}
		}
		w.run(1_000) // the outsider begins before
		w.each = nil
		began := w.now
		for w.now-began < 60_000 && !w.e[0].Fenced() {
			w.run(1)
		}
		if w.now-began > 1_000 {
			t.Errorf("%s: the zombie lives on, %d ms", c.name, w.now-began)
		}
	}
}

// A zombie whose members all began anew while it was cut off: only later lives than those of its view speak to it.
func TestAZombieIsToldByMembersThatBeganAnew(t *testing.T) {
	w := &tap{t: t, now: t0}
	w.start(0, 9)
	w.start(1, 5)
	w.meet(1)
	w.run(5_000)
	w.start(1, 6) // node 2 began anew while node 1 was cut off
	w.e[1].view(3, flow.Node{ID: 1, Inc: 10})
	w.run(60_000)
	if !w.e[0].Fenced() {
		t.Error("the zombie is not told by a member that began anew")
	}
}
