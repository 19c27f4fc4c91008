package syncer_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// unsealed is a datagram of which all but the seal is as its maker wants it.
func unsealed(h syncwire.Header, length int) []byte {
	d := make([]byte, max(length, syncwire.HeaderLen))
	h.Put(d)
	return d[:length]
}

// flood is what an outsider sends to both ends of a pair, rate datagrams a second to each, before anything else arrives. He knows
// node ids, incarnations, key ids, and the datagrams that he saw, but no cluster key.
type flood struct {
	rate   int
	source func(victim int) netip.AddrPort
	make   func(p *pair, r *rand.Rand, victim int) []byte
}

// under runs a pair for so long under a flood and reports the milliseconds after which both ends were linked, -1 if they never
// were, and for how many of the steps after that one was not.
func (p *pair) under(f *flood, ms int64) (linked, unlinked int64) {
	p.t.Helper()
	r := rand.New(rand.NewPCG(1, uint64(p.now)))
	linked = -1
	for at, sent := int64(0), 0; at < ms; {
		at, p.now = at+5, p.now+5
		for ; sent < f.rate*int(at)/1000; sent++ {
			for i := range p.e {
				p.e[i].Datagram(p.now, f.source(i), f.make(p, r, i))
			}
		}
		for i := range p.e {
			p.e[i].Tick(p.now)
		}
		p.pass()
		both := len(p.e[0].Status(p.now, nil)) == 1 && len(p.e[1].Status(p.now, nil)) == 1 && p.status(0).Linked && p.status(1).Linked
		switch {
		case both && linked < 0:
			linked = at
		case !both && linked >= 0:
			unlinked++
		}
	}
	return linked, unlinked
}

func freshPair(t *testing.T) *pair {
	p := &pair{t: t, now: t0}
	for i := range p.e {
		p.e[i] = newEnd(t, &p.now, nodeID(uint32(i+1)), 7, 0)
	}
	p.e[0].view(1, p.e[1].self)
	p.e[1].view(1, p.e[0].self)
	return p
}

// restart ends the life of an end and begins the next, whose view comes to both at once.
func (p *pair) restart(i int) {
	p.e[i] = newEnd(p.t, &p.now, flow.Node{ID: p.e[i].self.ID, Inc: p.e[i].self.Inc + 1}, 7+p.e[i].self.Inc, 0)
	p.e[i].view(p.e[i].self.Inc, p.e[1-i].self)
	p.e[1-i].view(p.e[i].self.Inc, p.e[i].self)
}

func stranger(int) netip.AddrPort { return netip.MustParseAddrPort("203.0.113.7:7946") }

// spoofed is the address of the one whom the victim wants to hear.
func spoofed(victim int) netip.AddrPort { return sip(uint32(2 - victim)) }

// garbage is what outsiders send, by what they know.
var garbage = map[string]func(p *pair, r *rand.Rand, victim int) []byte{
	"a node id": func(_ *pair, r *rand.Rand, victim int) []byte {
		return unsealed(syncwire.Header{Inc: r.Uint64() | 1<<60, Sender: uint32(2 - victim), Salt: r.Uint32() | 1, KeyID: 1, Counter: 1}, 67)
	},
	"a life": func(p *pair, r *rand.Rand, victim int) []byte {
		n := p.e[1-victim].self
		return unsealed(syncwire.Header{Inc: n.Inc, Sender: n.ID, Salt: r.Uint32() | 1, KeyID: 1, Counter: 1}, syncwire.HelloLen)
	},
	"a life, and repeats its salts": func(p *pair, r *rand.Rand, victim int) []byte {
		n := p.e[1-victim].self
		return unsealed(syncwire.Header{Inc: n.Inc, Sender: n.ID, Salt: 1 + r.Uint32N(40), KeyID: 1, Counter: r.Uint64N(9)}, syncwire.HelloLen)
	},
	"a former life": func(p *pair, r *rand.Rand, victim int) []byte {
		n := p.e[1-victim].self
		return unsealed(syncwire.Header{Inc: n.Inc - 1, Sender: n.ID, Salt: r.Uint32() | 1, KeyID: 1, Counter: 1}, syncwire.HelloLen)
	},
	"a later life": func(p *pair, r *rand.Rand, victim int) []byte {
		n := p.e[1-victim].self
		return unsealed(syncwire.Header{Inc: n.Inc + 1, Sender: n.ID, Salt: r.Uint32() | 1, KeyID: 1, Counter: 1}, syncwire.HelloLen)
	},
	"every lane": func(p *pair, r *rand.Rand, victim int) []byte {
		n := p.e[1-victim].self
		return unsealed(syncwire.Header{Inc: n.Inc, Sender: n.ID, Salt: r.Uint32() | 1, KeyID: 1, Counter: 1, Lane: syncwire.Lane(r.Uint32N(syncwire.NumLanes))}, 200)
	},
}

// withinMS bounds how long an outsider can hold up a handshake.
const withinMS = 1_000

func TestGarbageHoldsUpNoHandshake(t *testing.T) {
	for knows, make := range garbage {
		for from, source := range map[string]func(int) netip.AddrPort{"a stranger": stranger, "the member's own address": spoofed} {
			for _, rate := range []int{400, 1_000, 5_000, 20_000, 100_000, 300_000} {
				t.Run(fmt.Sprintf("%d a second from %s that knows %s", rate, from, knows), func(t *testing.T) {
					p := freshPair(t)
					f := &flood{rate, source, make}
					if linked, _ := p.under(f, 150); linked < 0 || linked > withinMS {
						t.Fatalf("two fresh ends: linked after %d ms", linked)
					}
					p.restart(0)
					if linked, _ := p.under(f, 150); linked < 0 || linked > withinMS {
						t.Fatalf("after a restart: linked after %d ms", linked)
					}
					for i := range p.e {
						if p.e[i].Fenced() {
							t.Errorf("end %d is fenced", i)
						}
						if from == "a stranger" && p.e[i].Count[syncer.SyncSource] == 0 {
							t.Errorf("end %d counted nothing", i)
						}
					}
				})
			}
		}
	}
}

// TestReplaysHoldUpNoHandshake plays what was seen of former lives of both ends, and of former links of one life, while one end
// restarts again and again.
func TestReplaysHoldUpNoHandshake(t *testing.T) {
	for _, rate := range []int{1_000, 100_000} {
		for _, restarting := range []int{0, 1} {
			t.Run(fmt.Sprintf("%d a second, end %d restarts", rate, restarting), func(t *testing.T) {
				p := freshPair(t)
				var tape [2][][]byte // by victim
				p.lose = func(i int, b []byte) bool {
					if len(tape[1-i]) < 4_000 {
						tape[1-i] = append(tape[1-i], append([]byte(nil), b...))
					}
					return false
				}
				f := &flood{0, spoofed, func(p *pair, r *rand.Rand, victim int) []byte {
					d := append([]byte(nil), tape[victim][r.IntN(len(tape[victim]))]...)
					if r.IntN(2) == 0 {
						d = append(d[:syncwire.HeaderLen], make([]byte, 40)...) // its header, bare
					}
					return d
				}}
				for life := range 12 {
					linked, unlinked := p.under(f, 400)
					if linked < 0 || linked > withinMS || unlinked > 0 {
						t.Fatalf("life %d: linked after %d ms, then %d steps not", life, linked, unlinked)
					}
					for i := range p.e {
						p.say(i, uint64(life+1))
					}
					p.under(f, 20)
					for i := range p.e {
						if p.e[i].Fenced() {
							t.Fatalf("end %d is fenced", i)
						}
						for _, d := range p.e[i].deliveries(syncer.DeliverMessage) {
							if d.From != p.e[1-i].self {
								t.Fatalf("a message of %v was heard", d.From)
							}
						}
					}
					f.rate = rate
					p.restart(restarting)
				}
			})
		}
	}
}

// TestOneCapturedDatagramDoesNotUnlink: of this link, of a former life, of a former link of the same life, with bare headers.
func TestOneCapturedDatagramDoesNotUnlink(t *testing.T) {
	p := freshPair(t)
	var first [][]byte
	p.lose = func(i int, b []byte) bool {
		if i == 0 {
			first = append(first, append([]byte(nil), b...))
		}
		return false
	}
	p.run(300)
	p.lose = nil
	p.restart(1) // end 0 lives on: what it said to the former life of end 1 is of a former link
	p.run(300)
	for i, d := range first {
		p.e[1].Datagram(p.now, sip(1), append([]byte(nil), d...))
		f := &flood{1_000, func(int) netip.AddrPort { return sip(1) }, func(p *pair, r *rand.Rand, victim int) []byte {
			if victim == 0 {
				return nil
			}
			b := append(append([]byte(nil), d[:syncwire.HeaderLen]...), make([]byte, 40)...)
			if r.IntN(2) == 0 {
				b[12] ^= byte(1 + r.IntN(255)) // another salt
			}
			return b
		}}
		if linked, unlinked := p.under(f, 300); linked < 0 || unlinked > 0 {
			t.Fatalf("datagram %d: linked after %d ms, then %d steps not", i, linked, unlinked)
		}
	}
}

// Both lives stay the same and one forgets the link, as under a static list: what was seen of it has salts with a good proof.
func TestReplaysOfALinkOfTheSameLivesHoldUpNoHandshake(t *testing.T) {
	p := &pair{t: t, now: t0}
	for i := range p.e {
		p.e[i] = newEnd(t, &p.now, nodeID(uint32(i+1)), 7, 0)
	}
	p.e[0].view(0, p.e[1].self)
	p.e[1].view(0, p.e[0].self)
	var tape [][]byte
	p.lose = func(i int, b []byte) bool {
		if i == 0 && lane(b) == syncwire.LaneControl {
			tape = append(tape, append([]byte(nil), b...))
		}
		return false
	}
	p.run(500)
	p.lose = nil
	p.e[0].view(0)
	p.e[1].view(0)
	p.e[0].view(0, p.e[1].self)
	p.e[1].view(0, p.e[0].self)
	f := &flood{300_000, spoofed, func(p *pair, r *rand.Rand, victim int) []byte {
		d := append([]byte(nil), tape[r.IntN(len(tape))]...)
		if victim == 0 || r.IntN(2) == 0 {
			d = append(d[:syncwire.HeaderLen], make([]byte, 40)...)
		}
		return d
	}}
	if linked, unlinked := p.under(f, 1_000); linked < 0 || linked > withinMS || unlinked > 0 {
		t.Errorf("linked after %d ms, then %d steps not", linked, unlinked)
	}
}

// Who sees HELLO on the way knows a salt with a good proof before the receiver opened anything under it. What he makes of
// it comes before the next HELLO, always, and takes no try from it.
func TestForgedUnderATrueSaltHoldsUpNoHandshake(t *testing.T) {
	for _, rate := range []int{1_000, 58_000, 300_000} {
		for _, restarting := range []int{0, 1} {
			t.Run(fmt.Sprintf("%d a second, end %d restarts", rate, restarting), func(t *testing.T) {
				p := freshPair(t)
				var tape [2][][]byte // by victim
				p.lose = func(i int, b []byte) bool {
					if lane(b) == syncwire.LaneControl && len(tape[1-i]) < 4_000 {
						tape[1-i] = append(tape[1-i], append([]byte(nil), b...))
					}
					return len(tape[1-i]) <= 3 // so forged ones under a new salt come before any true one
				}
				f := &flood{rate, spoofed, func(p *pair, r *rand.Rand, victim int) []byte {
					if len(tape[victim]) == 0 {
						return nil
					}
					last := tape[victim][max(0, len(tape[victim])-4):]
					d := append([]byte(nil), last[r.IntN(len(last))]...)
					d[syncwire.HeaderLen+r.IntN(len(d)-syncwire.HeaderLen)] ^= 1 << r.IntN(8)
					return d
				}}
				for life := range 6 {
					for i := range tape {
						tape[i] = nil
					}
					linked, _ := p.under(f, 2*withinMS)
					if linked < 0 || linked > withinMS {
						t.Fatalf("life %d: linked after %d ms", life, linked)
					}
					p.restart(restarting)
				}
			})
		}
	}
}

// A zombie is told that it is over at its own address, whoever plays what it once said, and no faster than its bucket lets.
func TestFencedGoesToTheKnownAddressAlone(t *testing.T) {
	p := newPair(t)
	old := p.e[0].self
	p.e[1].view(2, flow.Node{ID: 1, Inc: old.Inc + 1})
	s := newSealer(t, old, p.e[1].self, saltOf(t, old, p.e[1].self, 5))
	p.e[1].sent = nil
	p.e[1].Datagram(p.now, stranger(0), s.seal(0, controls["PROBE"].build))
	if len(p.e[1].sent) != 0 {
		t.Fatal("a stranger is answered")
	}
	// It left the view: its address is known all the same, until another node has it.
	for epoch, members := range [][]flow.Node{3: {}, 4: {{ID: 3, Inc: 1}}} {
		if epoch < 3 {
			continue
		}
		p.e[1].view(uint64(epoch), members...)
		p.now += 1_000
		p.e[1].sent = nil
		p.e[1].Datagram(p.now, sip(1), s.seal(0, controls["PROBE"].build))
		if len(p.e[1].sent) != 1 || p.e[1].sent[0].at != sip(1) || p.e[1].sent[0].to != old {
			t.Fatalf("in view %d it is answered by %+v", epoch, p.e[1].sent)
		}
	}
	v := &syncer.View{Epoch: 5, Self: p.e[1].self, Members: []syncer.Member{{Node: flow.Node{ID: 3, Inc: 1}, Sync: [2]netip.AddrPort{sip(1)}}}}
	p.e[1].SetView(p.now, v)
	p.e[1].sent = nil
	p.e[1].Datagram(p.now, sip(1), s.seal(0, controls["PROBE"].build))
	if len(p.e[1].sent) != 0 || p.e[1].Count[syncer.SyncSource] != 2 {
		t.Errorf("its address is another's now, and it is heard: %+v", p.e[1].sent)
	}
}

func TestAnswersOfOnePeerAreNotSpentByAnother(t *testing.T) {
	p := newPair(t)
	third := nodeID(3)
	p.e[1].view(2, flow.Node{ID: 1, Inc: 11}, third)
	old := p.e[0].self
	s := newSealer(t, old, p.e[1].self, saltOf(t, old, p.e[1].self, 5))
	for range 2_000 {
		p.e[1].Datagram(p.now, sip(1), s.seal(0, controls["PROBE"].build))
		p.e[1].Datagram(p.now, sip(1), unsealed(syncwire.Header{Inc: 11, Sender: 1, Salt: 77, KeyID: 1, Counter: 1}, 100))
	}
	p.e[1].sent = nil
	p.e[1].Datagram(p.now, sip(3), sealed(t, third, p.e[1].self, 0, controls["HELLO"].build))
	if len(p.e[1].sent) != 1 || p.e[1].sent[0].to != third {
		t.Errorf("the third node is answered by %+v", p.e[1].sent)
	}
}
