package syncer_test

import "testing"

// A member that is heard and hears nothing does not know it: its PROBEs show it, and who sends to it tells the control plane.
func TestWhoHearsNothingIsSeen(t *testing.T) {
	p := newPair(t)
	p.run(1_000)
	if s := p.status(0); s.Unheard > 150 {
		t.Fatalf("unheard for %d ms where all arrives", s.Unheard)
	}
	p.lose = func(i int, _ []byte) bool { return i == 0 }
	for _, ms := range []int64{1_000, 3_000, 20_000} { // the last is more PROBEs ago than are remembered
		before := p.status(0).Unheard
		p.run(ms)
		s := p.status(0)
		if !s.Linked || s.Suspected || s.Unheard < before+ms-300 || s.Unheard > before+ms+300 {
			t.Errorf("%d ms later: %+v, unheard for %d ms before", ms, s, before)
		}
		if s := p.status(1); s.Unheard != 0 || !s.Suspected {
			t.Errorf("the other end: %+v", s)
		}
	}
	p.lose = nil
	p.run(500)
	if s := p.status(0); s.Unheard > 150 {
		t.Errorf("unheard for %d ms where all arrives again", s.Unheard)
	}
	// Who was silent itself has no word on others.
	for range 2 {
		p.now += 2_000
		p.e[1].Tick(p.now)
		p.pass()
	}
	p.run(150)
	if s := p.status(0); s.Unheard > 300 {
		t.Errorf("unheard for %d ms after a stand-still of this node", s.Unheard)
	}
}

// What the status of a link counts: records by direction, datagrams that were refused, the lag of the peer's word.
func TestALinkIsMeasured(t *testing.T) {
	p := newPair(t)
	var last []byte
	p.lose = func(i int, b []byte) bool {
		if i == 0 {
			last = append(last[:0], b...)
		}
		return false
	}
	for i := range uint64(20) {
		p.say(0, i+1)
		p.run(50)
	}
	p.run(300)
	if a, b := p.status(0), p.status(1); a.RecordsSent != 20 || b.RecordsGot != 20 || a.RecordsGot != 0 || a.Lag < 1 || a.Lag > 300 || b.Lag != 0 {
		t.Errorf("the sender %+v, the receiver %+v", a, b)
	}
	refused := p.status(1).Refused
	d := append([]byte(nil), last...)
	p.e[1].Datagram(p.now, sip(1), append([]byte(nil), d...))
	d[len(d)-1] ^= 1
	p.e[1].Datagram(p.now, sip(1), d)
	if got := p.status(1).Refused - refused; got != 2 {
		t.Errorf("refused %d of a replay and a forged one", got)
	}
}
