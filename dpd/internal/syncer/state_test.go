package syncer_test

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// viewOf gives an end a view of members as they are.
func (p *pair) viewOf(i int, epoch uint64, members ...syncer.Member) {
	v := &syncer.View{Epoch: epoch, Self: p.e[i].self, Members: append(members, syncer.Member{Node: p.e[i].self, Sync: [2]netip.AddrPort{sip(p.e[i].self.ID)}})}
	for k := range v.Members {
		v.Members[k].Sync = [2]netip.AddrPort{sip(v.Members[k].Node.ID)}
	}
	p.e[i].SetView(p.now, v)
}

// hears passes to end 1 so many of the datagrams that end 0 says now.
func (p *pair) hears(n int) {
	p.e[0].Tick(p.now)
	for k, d := range p.e[0].take() {
		if k < n {
			p.e[1].Datagram(p.now, sip(1), d.b)
		}
	}
	p.e[1].sent = nil
}

// linkStates are all states that a link of end 1 to node 1 can be in.
var linkStates = map[string]func(t *testing.T) *pair{
	"fresh": freshPair,
	"without keys": func(t *testing.T) *pair {
		p := &pair{t: t, now: t0}
		p.e[0] = newEnd(t, &p.now, nodeID(1), 7, 0)
		self := nodeID(2)
		e := &end{t: t, self: self, clock: &p.now, at: make([][]syncer.Delivery, 2), stuck: map[int]bool{}}
		y, err := syncer.NewSync(p.now, syncer.SyncConfig{Self: self, Shards: 2, ShardOf: func(b flow.Bucket) int { return int(b) % 2 }, Random: func(b []byte) {
			for i := range b {
				b[i] = byte(i + 1)
			}
		}}, e)
		if err != nil {
			t.Fatal(err)
		}
		e.Sync, p.e[1] = y, e
		p.e[1].view(1, p.e[0].self)
		p.e[0].view(1, self)
		return p
	},
	"half-open": func(t *testing.T) *pair { p := freshPair(t); p.hears(1); return p },
	"believed on this side alone": func(t *testing.T) *pair {
		p := freshPair(t)
		p.lose = func(i int, b []byte) bool { return i == 0 && lane(b) == 0 && len(b) != syncwire.HelloLen }
		p.run(100)
		p.lose = nil
		return p
	},
	"believed": newPair,
	"with a gap": func(t *testing.T) *pair {
		p := newPair(t)
		p.loseNext(0, syncwire.LaneLive)
		p.say(0, 1)
		p.pass()
		p.lose = func(int, []byte) bool { return true }
		p.say(0, 2)
		p.lose = nil
		p.say(0, 3)
		p.pass()
		return p
	},
	"the peer begins anew": func(t *testing.T) *pair {
		p := newPair(t)
		p.e[0] = newEnd(t, &p.now, p.e[0].self, 8, 0)
		p.e[0].view(1, p.e[1].self)
		p.hears(1)
		return p
	},
	"under another salt": func(t *testing.T) *pair {
		p := newPair(t)
		p.e[1].EndSalts(5)
		p.say(1, 1)
		p.e[1].Tick(p.now)
		p.e[1].EndSalts(1 << 40)
		return p
	},
	"fenced": func(t *testing.T) *pair {
		p := newPair(t)
		n := newEnd(t, &p.now, flow.Node{ID: 1, Inc: 11}, 55, 0)
		n.view(2, p.e[1].self)
		n.Tick(p.now)
		for _, d := range n.take() {
			p.e[1].Datagram(p.now, sip(1), d.b)
		}
		return p
	},
	"removed":      func(t *testing.T) *pair { p := newPair(t); p.viewOf(1, 2); return p },
	"a later life": func(t *testing.T) *pair { p := newPair(t); p.e[1].view(2, flow.Node{ID: 1, Inc: 11}); return p },
	"degraded": func(t *testing.T) *pair {
		p := newPair(t)
		p.viewOf(1, 2, syncer.Member{Node: p.e[0].self, Admitted: true, Degraded: true})
		return p
	},
	"draining": func(t *testing.T) *pair {
		p := newPair(t)
		p.viewOf(1, 2, syncer.Member{Node: p.e[0].self, Draining: true})
		return p
	},
	"joining": func(t *testing.T) *pair { p := newPair(t); p.viewOf(1, 2, syncer.Member{Node: p.e[0].self}); return p },
	"suspected": func(t *testing.T) *pair {
		p := newPair(t)
		p.lose = func(i int, _ []byte) bool { return i == 0 }
		p.run(500)
		p.lose = nil
		return p
	},
	"frozen": func(t *testing.T) *pair { p := newPair(t); p.now += 1_500; p.e[1].Tick(p.now); return p },
	"with a full ring": func(t *testing.T) *pair {
		p := newPair(t)
		p.e[1].full = true
		p.say(0, 1)
		p.pass()
		return p
	},
}

// outsider sends to end 1 and checks that nothing came of it but a count.
type outsider struct {
	p      *pair
	before uint64
	shots  int
}

func (o *outsider) counts() (n uint64) {
	for _, c := range o.p.e[1].Count {
		n += c
	}
	return n
}

func (o *outsider) shoot(from netip.AddrPort, d []byte, what func() string) {
	e := o.p.e[1]
	e.got, e.sent = nil, nil
	counted := o.counts()
	func() {
		defer func() {
			if v := recover(); v != nil {
				o.p.t.Fatalf("%s: panic: %v", what(), v)
			}
		}()
		e.Datagram(o.p.now, from, d)
	}()
	if len(e.sent) != 0 || len(e.got) != 0 {
		o.p.t.Fatalf("%s: %d answers, %d deliveries", what(), len(e.sent), len(e.got))
	}
	if o.counts() == counted {
		o.p.t.Fatalf("%s: counted by nothing", what())
	}
	if o.shots++; o.shots%97 == 0 {
		o.same(what)
	}
}

func (o *outsider) same(what func() string) {
	if s := o.p.e[1].Snapshot(); s != o.before {
		o.p.t.Fatalf("the state has changed, by %s or one of those before it", what())
	}
}

// TestAnOutsiderChangesNothingInAnyState: in every state of a link, every header that an outsider may write, in datagrams of every length
// up to 98 bytes, neither ends the thread, nor is answered, nor changes anything, and is counted.
func TestAnOutsiderChangesNothingInAnyState(t *testing.T) {
	for name, make := range linkStates {
		t.Run(name, func(t *testing.T) {
			p := make(t)
			p.e[0].take()
			theirs := uint32(0) // salt of end 0
			p.e[0].Tick(p.now + 200)
			for _, d := range p.e[0].take() {
				theirs = saltIn(d.b)
			}
			p.e[1].full = true // whatever is still to be told waits
			p.e[1].Tick(p.now)
			own := uint32(0)
			for _, d := range p.e[1].take() {
				own = saltIn(d.b)
			}
			p.e[1].Flush(p.now)
			p.e[1].got, p.e[1].sent = nil, nil
			o := &outsider{p: p, before: p.e[1].Snapshot()}
			inc := nodeID(1).Inc
			for _, sender := range []uint32{0, 1, 2, 7} {
				for _, salt := range []uint32{0, theirs, own, theirs ^ 1, math.MaxUint32} {
					for _, inc := range []uint64{0, inc - 1, inc, inc + 1, math.MaxUint64} {
						for _, counter := range []uint64{0, 1, 9_000, math.MaxUint64} {
							for _, key := range []uint16{0, 1, 9} {
								for lane := range syncwire.Lane(syncwire.NumLanes + 1) {
									h := syncwire.Header{Inc: inc, Sender: sender, Salt: salt, KeyID: key, Lane: lane, Counter: counter}
									for _, from := range []netip.AddrPort{sip(1), stranger(1)} {
										o.shoot(from, unsealed(h, 67), func() string { return fmt.Sprintf("%+v from %v", h, from) })
									}
								}
							}
						}
					}
				}
			}
			for n := range 99 {
				for _, salt := range []uint32{theirs, theirs ^ 1} {
					h := syncwire.Header{Inc: inc, Sender: 1, Salt: salt, KeyID: 1, Counter: 9_000}
					o.shoot(sip(1), unsealed(h, n), func() string { return fmt.Sprintf("%d bytes", n) })
				}
			}
			o.same(func() string { return "the last ones" })
		})
	}
}

// edges are numbers at which something may overflow.
var edges = []uint64{0, 1, 2, 63, 64, 65, 4_096, 4_097, 1 << 31, math.MaxUint32 - 1, math.MaxUint32, 1 << 47, 1 << 63, math.MaxUint64 - 1, math.MaxUint64}

// nonsense are bodies that a member may seal and that make no sense, with a number at its edge in each place.
var nonsense = map[string]func(b *syncwire.Builder, n, m uint64, theirs uint32){
	"PROBE": func(b *syncwire.Builder, n, m uint64, theirs uint32) {
		b.Probe(&syncwire.Probe{Seq: uint32(n), EchoSeq: uint32(m), EchoHold: uint32(n), State: uint8(n), Wall: m})
	},
	"PROBE, of lanes": func(b *syncwire.Builder, n, m uint64, theirs uint32) {
		mark := syncwire.LaneMark{Salt: theirs, Sent: n, Contiguous: m}
		b.Probe(&syncwire.Probe{Seq: math.MaxUint32, Lane: [syncwire.NumLanes]syncwire.LaneMark{mark, mark, mark}})
	},
	"PROBE, of tombstones": func(b *syncwire.Builder, n, m uint64, _ uint32) {
		b.Probe(&syncwire.Probe{Seq: uint32(m), Closed: uint32(n), Aged: uint32(m), Floor: uint32(n)})
	},
	"GAP": func(b *syncwire.Builder, n, m uint64, theirs uint32) {
		for lane := range syncwire.Lane(syncwire.NumLanes) {
			g := syncwire.Gap{Salt: theirs, Lane: lane, N: syncwire.GapMax}
			for i := range g.Range {
				g.Range[i] = syncwire.GapRange{From: min(n, m), To: max(n, m)}
			}
			b.Gap(&g)
		}
	},
	"BULK_BEGIN": func(b *syncwire.Builder, n, m uint64, _ uint32) {
		b.Bulk(&syncwire.Bulk{Snapshot: n, Records: m, Tombstones: n, Digest: m}, false)
	},
	"BULK_END": func(b *syncwire.Builder, n, m uint64, _ uint32) {
		b.Bulk(&syncwire.Bulk{Snapshot: n, Records: m, Tombstones: m, Digest: n}, true)
	},
	"HELLO": func(b *syncwire.Builder, n, m uint64, _ uint32) {
		h := hello(func(h *syncwire.Hello) { h.MTU, h.Features, h.Minor = uint16(n), m, uint8(m) })
		b.Hello(&h, m&1 != 0)
	},
	"LADDR_USE": func(b *syncwire.Builder, n, m uint64, _ uint32) {
		b.LaddrUse(&syncwire.LaddrUse{Family: 4, PrefixLen: uint8(n % 33), HolderInc: n, HolderID: uint32(m), Records: uint32(n), FencedFor: uint32(m)})
	},
	"DIGEST": func(b *syncwire.Builder, n, m uint64, _ uint32) {
		b.Digest(&syncwire.DigestSums{Round: uint32(n), Bucket: uint8(m), Sums: [4]uint64{n, m, n, m}})
	},
	"FENCED of another life": func(b *syncwire.Builder, n, m uint64, _ uint32) {
		b.Fenced(&syncwire.Fenced{Inc: n + 1<<40, ByInc: m, View: n})
	},
	"ACK": func(b *syncwire.Builder, n, m uint64, _ uint32) {
		b.Message(&syncwire.Message{Kind: syncwire.KindAck, Hash: n, Rec: syncwire.Record{Birth: m, OwnerInc: n, OwnerID: uint32(m), Bucket: uint8(n)}})
	},
	"SESSION": func(b *syncwire.Builder, n, m uint64, _ uint32) {
		s := record(session(1, 2, 3, flow.Birth(n), uint32(m), uint32(n), uint32(m)))
		s.OwnerInc, s.Idle = m, uint32(n)
		b.Message(&syncwire.Message{Kind: syncwire.KindSession, Rec: s})
	},
}

// TestAMemberThatSealsNonsenseHarmsNobodyElse: whatever numbers a member sends, in every state of its link and every lane, no call panics or
// runs for long, and the link to another member is as it was.
func TestAMemberThatSealsNonsenseHarmsNobodyElse(t *testing.T) {
	for name, make := range linkStates {
		for kind, build := range nonsense {
			t.Run(name+", "+kind, func(t *testing.T) {
				p := make(t)
				e, other := p.e[1], nodeID(3)
				if len(e.Status(p.now, nil)) > 0 { // else node 1 is no member any more
					e.view(9, e.Status(p.now, nil)[0].Node, other)
				} else {
					e.view(9, other)
				}
				theirs, own := uint32(0), uint32(0)
				p.e[0].Tick(p.now + 200)
				for _, d := range p.e[0].take() {
					theirs = saltIn(d.b)
				}
				e.Tick(p.now)
				for _, d := range e.take() {
					if d.to.ID == 1 {
						own = saltIn(d.b)
					}
				}
				if theirs == 0 { // keyless or over
					theirs = saltOf(t, nodeID(1), nodeID(2), 5)
				}
				s := newSealer(t, nodeID(1), e.self, theirs)
				for range 400 {
					for lane := range syncwire.Lane(syncwire.NumLanes) {
						s.seal(lane, controls["nothing"].build)
					}
				}
				work := func() int { return len(e.sent) + len(e.got) }
				for _, n := range edges {
					for _, m := range edges {
						for lane := range syncwire.Lane(syncwire.NumLanes) {
							for _, salt := range []uint32{own, theirs} {
								e.sent, e.got = nil, nil
								e.Datagram(p.now, sip(1), s.seal(lane, func(b *syncwire.Builder) { build(b, n, m, salt) }))
								e.Flush(p.now)
								if work() > 400 {
									t.Fatalf("%d, %d: %d datagrams and deliveries", n, m, work())
								}
							}
						}
						p.now += 5
						e.Tick(p.now)
						e.Ready()
					}
				}
				if e.Fenced() {
					t.Error("it believes to be fenced")
				}
				for _, st := range e.Status(p.now, nil) {
					if st.Node == other && (st.Received != 0 || st.BulkBegun || st.Desync) {
						t.Errorf("the other link: %+v", st)
					}
				}
			})
		}
	}
}

// FuzzHeader lets an outsider write any header in any state.
func FuzzHeader(f *testing.F) {
	names := slices.Sorted(maps.Keys(linkStates))
	for i := range len(names) {
		f.Add(uint8(i), uint32(1), uint32(0), uint64(10), uint64(1), uint16(1), uint8(0), uint8(67))
	}
	f.Fuzz(func(t *testing.T, state uint8, sender, salt uint32, inc, counter uint64, key uint16, lane, length uint8) {
		p := linkStates[names[int(state)%len(names)]](t)
		p.e[1].full = true
		p.e[1].Tick(p.now)
		p.e[1].Flush(p.now)
		o := &outsider{p: p, before: p.e[1].Snapshot()}
		h := syncwire.Header{Inc: inc, Sender: sender, Salt: salt, KeyID: key, Lane: syncwire.Lane(lane), Counter: counter}
		o.shoot(sip(1), unsealed(h, int(length)), func() string { return fmt.Sprintf("%+v", h) })
		o.same(func() string { return fmt.Sprintf("%+v", h) })
	})
}
