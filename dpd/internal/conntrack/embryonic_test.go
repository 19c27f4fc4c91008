package conntrack

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// numbered is session number i of a test, embryonic TCP or UDP if the flags say so.
func numbered(t *testing.T, i int, proto uint8, f flow.Flags) *flow.Session {
	s := tcp4(t)
	for _, k := range []*flow.Key{&s.Orig, &s.Reply} {
		k.Meta = k.Meta&^0xff00 | uint64(proto)<<8
		k.Addr[0] += uint64(i)
	}
	s.Birth, s.Flags, s.State, s.Idle = flow.Birth(i+1), f, flow.TCPNone, 0
	if proto == flow.ProtoUDP {
		s.State = flow.UDPNone
	}
	return s
}

func TestFullTableEvictsTheOldestEmbryonicSessionFirst(t *testing.T) {
	var evicted []flow.Key
	tab := newTable(t, Config{CapacityV4: 5, CapacityV6: 2, OnEvict: func(_ flow.Handle, s *flow.Session) { evicted = append(evicted, s.Orig) }})
	mk := func(i int, proto uint8, f flow.Flags) *flow.Session { return numbered(t, i, proto, f) }
	for i, s := range []*flow.Session{
		mk(0, flow.ProtoTCP, flow.Embryonic), mk(1, flow.ProtoTCP, 0), mk(2, flow.ProtoUDP, flow.Embryonic),
		mk(3, flow.ProtoTCP, flow.Embryonic), mk(4, flow.ProtoUDP, 0),
	} {
		tab.Advance(expiry.Tick(i * 10))
		if _, err := tab.Insert(s); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tab.Insert(mk(9, flow.ProtoTCP, 0)); !errors.Is(err, flow.ErrFull) || len(evicted) > 0 {
		t.Fatalf("a session of %d ms made room: %v", 40, err)
	}
	for i, at := range []struct {
		now  expiry.Tick
		gone *flow.Session
	}{
		{embryonicLeast, mk(0, flow.ProtoTCP, 0)}, {1000, mk(2, flow.ProtoUDP, 0)}, {1001, mk(3, flow.ProtoTCP, 0)},
	} {
		tab.Advance(at.now)
		if _, err := tab.Insert(mk(10+i, flow.ProtoTCP, 0)); err != nil || len(evicted) != i+1 || evicted[i] != at.gone.Orig {
			t.Fatalf("at %d: %v, evicted %v", at.now, err, evicted)
		}
	}
	tab.Advance(5000)
	if _, err := tab.Insert(mk(20, flow.ProtoTCP, flow.Embryonic)); !errors.Is(err, flow.ErrFull) {
		t.Fatalf("an established session was evicted: %v", err)
	}
	if _, err := tab.Insert(tcp6(t)); err != nil {
		t.Errorf("IPv6 has its own room: %v", err)
	}
	if st := tab.Stats(); st.Evicted != 3 || st.Full != 2 || st.V4 != 5 || st.V6 != 1 || st.Embryonic != 1 {
		t.Errorf("%+v", st)
	}
}

// Datagrams without answers have their share of the table, which neither TCP nor answered ones lose to them.
func TestUnansweredDatagramsHaveAShareOfTheTable(t *testing.T) {
	const room = 64 * embryonicAny
	tab := newTable(t, Config{CapacityV4: room})
	for i := range room {
		tab.Advance(expiry.Tick(i / 16))
		if _, err := tab.Insert(numbered(t, i, flow.ProtoUDP, flow.Embryonic)); err != nil {
			t.Fatalf("datagram %d: %v", i, err)
		}
	}
	if st := tab.Stats(); st.V4 != room/embryonicUDP || st.Unanswered != st.V4 || st.Evicted != room-room/embryonicUDP {
		t.Fatalf("%+v", st)
	}
	if h, _, ok := tab.Find(&numbered(t, room-1, flow.ProtoUDP, 0).Reply); !ok {
		t.Error("the latest has no record")
	} else if o := tab.Touch(h, flow.Out, nil, tab.now); o&HandshakeDone == 0 || tab.Flags(h)&flow.Embryonic != 0 {
		t.Errorf("an answer leaves it embryonic: %b", o)
	}
	if st := tab.Stats(); st.Unanswered != room/embryonicUDP-1 {
		t.Errorf("%+v", st)
	}
}

func TestYoungEmbryonicSessionsOfAFullShareStay(t *testing.T) {
	tab := newTable(t, Config{CapacityV4: 16 * embryonicAny})
	var err error
	n := 0
	for ; err == nil; n++ {
		_, err = tab.Insert(numbered(t, n, flow.ProtoTCP, flow.Embryonic))
	}
	if st := tab.Stats(); !errors.Is(err, flow.ErrFull) || n-1 != 16*embryonicAny/embryonicTCP || st.EmbryonicFull != 1 || st.Evicted != 0 {
		t.Errorf("after %d: %v, %+v", n, err, st)
	}
}

// Who sends datagrams to a server that never answers keeps its session through a flood of others.
func TestAUsedDatagramSessionOutlivesAFlood(t *testing.T) {
	tab := newTable(t, Config{CapacityV4: 100})
	s := numbered(t, 0, flow.ProtoUDP, flow.Embryonic)
	mine, err := tab.Insert(s)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10_000 {
		now := expiry.Tick(i * 10)
		tab.Advance(now)
		if i%50 == 0 {
			tab.Touch(mine, flow.In, nil, now)
		}
		if _, err := tab.Insert(numbered(t, i+1, flow.ProtoUDP, flow.Embryonic)); err != nil {
			t.Fatalf("datagram %d: %v", i, err)
		}
		if h, _, ok := tab.Find(&s.Orig); !ok || h != mine {
			t.Fatalf("after %d others it is gone", i)
		}
	}
}

func TestUDPWithoutAnAnswerEndsAfterHalfAMinute(t *testing.T) {
	tab := newTable(t, Config{CapacityV4: 8, Timeouts: &Timeouts{flow.UDPNone: 300, flow.UDPOneWay: 300, flow.UDPNormal: 300}})
	s := numbered(t, 0, flow.ProtoUDP, flow.Embryonic)
	s.Timeout = 0
	h, _ := tab.Insert(s)
	tab.Touch(h, flow.In, nil, 0)
	if at, ok := endOf(tab, h, 0, 60_000); !ok || at < 30_000 || at > 32_200 {
		t.Errorf("ended at %d (%v)", at, ok)
	}
	tab.Touch(h, flow.Out, nil, 40_000)
	if at, ok := endOf(tab, h, 40_000, 400_000); !ok || at < 340_000 {
		t.Errorf("answered, it ended at %d (%v)", at, ok)
	}
}

func TestOnlyOldEmbryonicSessionsGiveUpTheirPort(t *testing.T) {
	tab := newTable(t, Config{CapacityV4: 8})
	young, done := numbered(t, 0, flow.ProtoTCP, flow.Embryonic), numbered(t, 1, flow.ProtoTCP, 0)
	for _, s := range []*flow.Session{young, done} {
		if _, err := tab.Insert(s); err != nil {
			t.Fatal(err)
		}
	}
	tab.Advance(embryonicLeast - 1)
	if tab.GiveUp(&young.Reply) {
		t.Error("a young one gave up its port")
	}
	tab.Advance(embryonicLeast)
	if tab.GiveUp(&young.Orig) || tab.GiveUp(&done.Reply) || tab.GiveUp(&numbered(t, 2, flow.ProtoTCP, 0).Reply) {
		t.Error("what is no embryonic session's reply tuple was given up")
	}
	if !tab.GiveUp(&young.Reply) || tab.Len() != 1 {
		t.Error("an old one keeps its port")
	}
}

// The list holds what it must under any order of events: against a model that looks at all of them, each record that goes is
// embryonic, old enough, and no older one of its protocol is left; and its length stays bounded.
func TestEvictionAgreesWithAModel(t *testing.T) {
	for seed := range uint64(8) {
		rnd := rand.New(rand.NewPCG(seed, 9))
		type entry struct {
			h   flow.Handle
			at  expiry.Tick
			tcp bool
		}
		var model []entry
		at := func(h flow.Handle) int { return slices.IndexFunc(model, func(e entry) bool { return e.h == h }) }
		now := expiry.Tick(rnd.Uint32())
		tab := newTable(t, Config{CapacityV4: 50, OnEvict: func(h flow.Handle, s *flow.Session) {
			i := at(h)
			if i < 0 || now.Since(model[i].at) < embryonicLeast {
				t.Fatalf("seed %d: evicted what is not embryonic or young", seed)
			}
			for j, e := range model {
				if e.tcp == model[i].tcp && e.at.Before(model[i].at) {
					t.Fatalf("seed %d: number %d is older than %d", seed, j, i)
				}
			}
			model = slices.Delete(model, i, i+1)
		}})
		var all []flow.Handle
		for op := range 20_000 {
			now = now.Add(rnd.Uint32N(20))
			tab.Advance(now)
			switch r := rnd.IntN(10); {
			case r < 6 || len(all) == 0:
				proto := []uint8{flow.ProtoTCP, flow.ProtoUDP}[rnd.IntN(2)]
				f := []flow.Flags{0, flow.Embryonic, flow.Embryonic, flow.Embryonic}[rnd.IntN(4)]
				old := slices.ContainsFunc(model, func(e entry) bool { return now.Since(e.at) >= embryonicLeast })
				h, err := tab.Insert(numbered(t, op, proto, f))
				if err != nil {
					if old || tab.Len() < 50 {
						t.Fatalf("seed %d op %d: %v with %d records", seed, op, err, tab.Len())
					}
					continue
				}
				if f != 0 {
					model = append(model, entry{h, now, proto == flow.ProtoTCP})
				}
				all = append(all, h)
			case r < 8:
				h := all[rnd.IntN(len(all))]
				if i := at(h); i >= 0 {
					model = slices.Delete(model, i, i+1)
				}
				tab.Remove(h)
			default: // its handshake is done, or it becomes embryonic anew
				h := all[rnd.IntN(len(all))]
				if !tab.Live(h) {
					continue
				}
				var s flow.Session
				tab.Load(h, &s)
				tcp := s.Orig.Proto() == flow.ProtoTCP
				if s.Flags ^= flow.Embryonic; s.Flags == 0 || !tcp { // UDP never becomes so again
					s.Flags = 0
				}
				if i := at(h); i >= 0 {
					model = slices.Delete(model, i, i+1)
				} else if s.Flags != 0 {
					s.Birth += 1 << 20
					model = append(model, entry{h, now, tcp})
				}
				if err := tab.Update(h, &s); err != nil {
					t.Fatal(err)
				}
			}
			if st := tab.Stats(); st.Embryonic != len(model) {
				t.Fatalf("seed %d op %d: %d embryonic, model %d", seed, op, st.Embryonic, len(model))
			}
			for _, l := range tab.part[0].embryonic {
				if l.n > len(l.ring) || l.live > l.most {
					t.Fatalf("seed %d op %d: a list of %d with room for %d", seed, op, l.n, len(l.ring))
				}
			}
		}
	}
}
