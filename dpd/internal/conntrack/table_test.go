package conntrack

import (
	"errors"
	"net/netip"
	"testing"
	"unsafe"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

var (
	me    = flow.Node{ID: 1, Inc: 10}
	other = flow.Node{ID: 2, Inc: 20}
)

func newTable(t testing.TB, c Config) *Table {
	t.Helper()
	tab, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tab.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := tab.SetSelf(me); err != nil {
		t.Fatal(err)
	}
	return tab
}

func key(t testing.TB, proto uint8, src, dst string) flow.Key {
	t.Helper()
	k, err := flow.MakeKey(proto, netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func tcp4(t testing.TB) *flow.Session {
	return &flow.Session{
		Orig:  key(t, flow.ProtoTCP, "192.0.2.1:40000", "198.51.100.1:80"),
		Reply: key(t, flow.ProtoTCP, "10.0.0.1:8080", "10.1.0.1:2048"),
		Birth: 7, Owner: me, Term: 1, Ver: 2, Service: 3, Server: 4, Mode: flow.FullNAT,
		Flags: flow.Embryonic, Bucket: 9,
	}
}

func tcp6(t testing.TB) *flow.Session {
	s := tcp4(t)
	s.Orig = key(t, flow.ProtoTCP, "[2001:db8::1]:40000", "[2001:db8:1::1]:80")
	s.Reply = key(t, flow.ProtoTCP, "[fd00::1]:8080", "[fd01::1]:2048")
	return s
}

func nat64(t testing.TB) *flow.Session {
	s := tcp6(t)
	s.Reply = tcp4(t).Reply
	return s
}

func icmp64(t testing.TB) *flow.Session {
	s := tcp4(t)
	s.Orig = key(t, flow.ProtoICMPv6, "[2001:db8::1]:77", "[2001:db8:1::1]:77")
	s.Reply = key(t, flow.ProtoICMP, "10.0.0.1:78", "10.1.0.1:78")
	s.State, s.Flags = flow.ICMPNormal, 0
	return s
}

func icmp66(t testing.TB) *flow.Session {
	s := icmp64(t)
	s.Reply = key(t, flow.ProtoICMPv6, "[fd00::1]:78", "[fd01::1]:78")
	return s
}

func TestSizesOfWhatLivesTwentyMillionTimes(t *testing.T) {
	for name, got := range map[string][2]uintptr{
		"record": {unsafe.Sizeof(record{}), 64},
		"path":   {unsafe.Sizeof(path{}), 64},
		"cold":   {unsafe.Sizeof(cold{}), 24},
		"bucket": {unsafe.Sizeof(bucket{}), 64},
		"extra":  {unsafe.Sizeof(Extra{}), 64},
	} {
		if got[0] != got[1] {
			t.Errorf("%s is %d bytes, want %d", name, got[0], got[1])
		}
	}
}

func TestSessionComesBackAsItWasPutIn(t *testing.T) {
	full := func(s *flow.Session) *flow.Session {
		s.Idle, s.Timeout, s.State, s.Bits = 1500, 90, flow.TCPFinWait, flow.SynIn|flow.SynOut|flow.FinOut
		s.Flags = flow.Synced | flow.Confirmed | flow.Unbound
		s.Seq = [2]flow.SeqHint{{Next: 1, Ack: 2, Window: 3, Seen: true}, {Next: 4, Ack: 5, Window: 6}}
		s.Owner = other
		return s
	}
	dr := tcp4(t)
	dr.Mode, dr.Reply = flow.DR, flow.Key{}
	nat := tcp6(t)
	nat.Mode, nat.Reply = flow.NAT, key(t, flow.ProtoTCP, "[fd00::1]:8080", "[2001:db8::1]:40001")
	nat46 := tcp4(t)
	nat46.Reply = tcp6(t).Reply
	for name, s := range map[string]*flow.Session{
		"ipv6 back to the client": full(nat), "ipv4 to ipv6": full(nat46),
		"ipv4": full(tcp4(t)), "ipv6": full(tcp6(t)), "ipv6 to ipv4": full(nat64(t)), "icmpv6": icmp66(t), "icmpv6 to icmp": icmp64(t), "without reply tuple": dr,
	} {
		t.Run(name, func(t *testing.T) {
			tab := newTable(t, Config{CapacityV4: 10, CapacityV6: 10})
			tab.Advance(1_000_000)
			if s.Timeout == 0 {
				s.Timeout = DefaultTimeouts()[s.State]
			}
			h, err := tab.Insert(s)
			if err != nil {
				t.Fatal(err)
			}
			got := flow.Session{Idle: 99, Flags: 0xff}
			if tab.Load(h, &got); got != *s {
				t.Fatalf("got  %+v\nwant %+v", got, *s)
			}
			refs := make([]Ref, 2)
			tab.LookupBatch([]flow.Key{s.Orig, s.Reply}, refs)
			if refs[0] != MakeRef(h, flow.In) || (s.Reply != flow.Key{}) && refs[1] != MakeRef(h, flow.Out) {
				t.Errorf("a burst finds %v", refs)
			}
			if g, d, ok := tab.Find(&s.Orig); !ok || g != h || d != flow.In {
				t.Errorf("original tuple finds %d %d %v", g, d, ok)
			}
			var out, want flow.Key
			if (s.Reply != flow.Key{}) {
				if g, d, ok := tab.Find(&s.Reply); !ok || g != h || d != flow.Out {
					t.Errorf("reply tuple finds %d %d %v", g, d, ok)
				}
				want = s.Reply.Reverse()
			}
			if tab.Outgoing(h, flow.In, &out); out != want {
				t.Errorf("a client's packet leaves as %v, want %v", out, want)
			}
			if tab.Outgoing(h, flow.Out, &out); out != s.Orig.Reverse() {
				t.Errorf("a server's packet leaves as %v", out)
			}
			tab.Remove(h)
			tab.Remove(h)
			if tab.Load(h, &got); got != (flow.Session{}) {
				t.Errorf("a removed handle loads %+v", got)
			}
			if _, _, ok := tab.Find(&s.Orig); ok || tab.Len() != 0 {
				t.Error("a removed session is still found")
			}
			if err := tab.Update(h, s); !errors.Is(err, ErrGone) {
				t.Errorf("update of a removed record: %v", err)
			}
		})
	}
}

func TestKeysThatAlmostMatchDoNot(t *testing.T) {
	tab := newTable(t, Config{CapacityV4: 10, CapacityV6: 10})
	for name, s := range map[string]*flow.Session{"ipv4": tcp4(t), "ipv6": tcp6(t), "icmpv6": icmp66(t), "icmpv6 to icmp": icmp64(t)} {
		t.Run(name, func(t *testing.T) {
			h, err := tab.Insert(s)
			if err != nil {
				t.Fatal(err)
			}
			defer tab.Remove(h)
			for d, k := range []flow.Key{s.Orig, s.Reply} {
				if !tab.matches(MakeRef(h, flow.Direction(d)), &k) {
					t.Errorf("%v doesn't match itself", k)
				}
				for bit := range 320 {
					if k.Family() == flow.IPv4 && bit >= 64 && bit < 256 {
						continue // always zero
					}
					w := k
					if bit < 256 {
						w.Addr[bit/64] ^= 1 << (bit % 64)
					} else {
						w.Meta ^= 1 << (bit - 256)
					}
					if tab.matches(MakeRef(h, flow.Direction(d)), &w) {
						t.Errorf("bit %d of tuple %d doesn't count", bit, d)
					}
				}
			}
			if tab.matches(0, &s.Orig) {
				t.Error("no record matches")
			}
		})
	}
}

func TestInsertRefuses(t *testing.T) {
	tab := newTable(t, Config{CapacityV4: 10, CapacityV6: 10})
	first := tcp4(t)
	if _, err := tab.Insert(first); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*flow.Session)
		want   error
	}{
		"the same again":                     {func(s *flow.Session) {}, flow.ErrOrigTaken},
		"another reply for the original":     {func(s *flow.Session) { s.Reply.Meta += 1 << 48 }, flow.ErrOrigTaken},
		"the reply of another":               {func(s *flow.Session) { s.Orig.Meta += 1 << 48 }, flow.ErrReplyTaken},
		"a reply as original":                {func(s *flow.Session) { s.Orig, s.Reply = s.Reply, s.Orig }, flow.ErrOrigTaken},
		"an original as reply":               {func(s *flow.Session) { s.Reply = s.Orig; s.Orig.Meta += 1 << 48 }, flow.ErrReplyTaken},
		"reply-only with a taken reply":      {func(s *flow.Session) { s.Flags |= flow.ReplyOnly }, flow.ErrReplyTaken},
		"a tombstone with a taken reply":     {func(s *flow.Session) { s.Flags = flow.SoftTomb }, flow.ErrReplyTaken},
		"no original tuple":                  {func(s *flow.Session) { s.Orig = flow.Key{} }, ErrInvalid},
		"no reply tuple in full nat":         {func(s *flow.Session) { s.Reply = flow.Key{} }, ErrInvalid},
		"both tuples the same":               {func(s *flow.Session) { s.Reply = s.Orig }, ErrInvalid},
		"an unknown family":                  {func(s *flow.Session) { s.Orig.Meta += 1 }, ErrInvalid},
		"ipv4 with more than two addresses":  {func(s *flow.Session) { s.Orig.Addr[3] = 1 }, ErrInvalid},
		"an unknown state":                   {func(s *flow.Session) { s.State = flow.NumStates }, ErrInvalid},
		"an unknown mode":                    {func(s *flow.Session) { s.Mode = flow.Tunnel + 1 }, ErrInvalid},
		"udp to tcp":                         {func(s *flow.Session) { s.Reply.Meta ^= (flow.ProtoTCP ^ flow.ProtoUDP) << 8 }, ErrInvalid},
		"icmpv6 over ipv4":                   {func(s *flow.Session) { s.Orig.Meta ^= (flow.ProtoTCP ^ flow.ProtoICMPv6) << 8 }, ErrInvalid},
		"bits between protocol and the port": {func(s *flow.Session) { s.Orig.Meta |= 1 << 20 }, ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			s := *first
			c.change(&s)
			if _, err := tab.Insert(&s); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if tab.Len() != 1 {
				t.Errorf("%d records", tab.Len())
			}
		})
	}
	if st := tab.Stats(); st.OrigTaken != 3 || st.ReplyTaken != 4 || st.Invalid == 0 || st.Owners != 1 {
		t.Errorf("stats %+v", st)
	}
}

func TestUpdateOfOtherTuplesIsRefused(t *testing.T) {
	tab := newTable(t, Config{CapacityV4: 10})
	s := tcp4(t)
	h, _ := tab.Insert(s)
	for _, change := range []func(*flow.Session){
		func(s *flow.Session) { s.Orig.Meta += 1 << 48 },
		func(s *flow.Session) { s.Reply.Addr[0]++ },
		func(s *flow.Session) { s.Reply = flow.Key{} },
	} {
		u := *s
		change(&u)
		if err := tab.Update(h, &u); !errors.Is(err, ErrTuples) {
			t.Errorf("got %v", err)
		}
	}
	u := *s
	u.State = flow.NumStates
	if err := tab.Update(h, &u); !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

func TestTombstoneYieldsItsOriginalTupleToTheLiving(t *testing.T) {
	for name, tomb := range map[string]flow.Flags{"aged": flow.SoftTomb} {
		t.Run(name, func(t *testing.T) {
			tab := newTable(t, Config{CapacityV4: 10})
			old := tcp4(t)
			h, _ := tab.Insert(old)
			old.Flags = tomb
			if err := tab.Update(h, old); err != nil {
				t.Fatal(err)
			}
			if g, _, _ := tab.Find(&old.Orig); g != h {
				t.Fatal("a tombstone alone isn't found by its original tuple")
			}
			young := *old
			young.Birth++
			young.Flags = 0
			young.Reply.Meta += 1 << 32
			g, err := tab.Insert(&young)
			if err != nil {
				t.Fatal(err)
			}
			if f, _, _ := tab.Find(&old.Orig); f != g {
				t.Error("the original tuple doesn't find the live record")
			}
			if f, d, _ := tab.Find(&old.Reply); f != h || d != flow.Out {
				t.Error("the reply tuple doesn't find the tombstone")
			}
			old.Ver++
			if err := tab.Update(h, old); err != nil {
				t.Errorf("update of the displaced tombstone: %v", err)
			}
			old.Flags = 0
			if err := tab.Update(h, old); !errors.Is(err, flow.ErrOrigTaken) {
				t.Errorf("revival beside a live record: %v", err)
			}
			young.Flags = flow.ReplyOnly
			if err := tab.Update(g, &young); err != nil {
				t.Fatal(err)
			}
			if f, _, _ := tab.Find(&old.Orig); f != g {
				t.Error("the reply-only record is not found by its original tuple, although nobody else has that")
			}
			if err := tab.Update(h, old); err != nil {
				t.Errorf("revival: %v", err)
			}
			if f, _, _ := tab.Find(&old.Orig); f != h {
				t.Error("the revived record isn't found")
			}
			young.Ver++
			if err := tab.Update(g, &young); err != nil {
				t.Errorf("update of the reply-only record: %v", err)
			}
			if f, _, _ := tab.Find(&old.Orig); f != h {
				t.Error("a reply-only record took the original tuple of a live one")
			}
			tab.Remove(h)
			if err := tab.Update(g, &young); err != nil {
				t.Fatal(err)
			}
			if f, _, _ := tab.Find(&old.Orig); f != g {
				t.Error("the reply-only record is not found by its original tuple, which nobody has any more")
			}
		})
	}
}

func TestConfigIsRefused(t *testing.T) {
	for name, c := range map[string]Config{
		"no capacity":       {},
		"negative":          {CapacityV4: -1, CapacityV6: 5},
		"more than handles": {CapacityV4: MaxCapacity, CapacityV6: 1},
		"load too high":     {CapacityV4: 1, Load: 1},
		"load too low":      {CapacityV4: 1, Load: 0.1},
		"extra negative":    {CapacityV4: 1, CapacityExtra: -1},
	} {
		t.Run(name, func(t *testing.T) {
			if tab, err := New(c); err == nil {
				tab.Close()
				t.Error("accepted")
			}
		})
	}
}

func TestForeignIsWhoeverIsNotMe(t *testing.T) {
	tab := newTable(t, Config{CapacityV4: 2})
	s := tcp4(t)
	h, _ := tab.Insert(s)
	if !tab.Owned(h) {
		t.Error("my own session isn't mine")
	}
	if err := tab.SetSelf(flow.Node{ID: 1, Inc: 11}); err != nil {
		t.Fatal(err)
	}
	if tab.Owned(h) {
		t.Error("the session of my former incarnation is still mine")
	}
	if o := tab.Touch(h, flow.In, &Segment{Flags: SYN}, 0); o&Foreign == 0 {
		t.Errorf("outcome %b", o)
	}
	if tab.Stats().Owners != 2 {
		t.Errorf("%d owners", tab.Stats().Owners)
	}
	tab.Remove(h)
	if tab.Stats().Owners != 1 {
		t.Errorf("a node without sessions is remembered: %d", tab.Stats().Owners)
	}
}

func TestExtraStateIsBoundedAndReused(t *testing.T) {
	tab := newTable(t, Config{CapacityV4: 4, CapacityExtra: 1})
	a := tcp4(t)
	h, _ := tab.Insert(a)
	b := tcp4(t)
	b.Orig.Meta += 1 << 48
	b.Reply.Meta += 1 << 48
	g, _ := tab.Insert(b)
	if tab.Extra(h) != nil {
		t.Error("extra state from nowhere")
	}
	e, err := tab.AddExtra(h)
	if err != nil {
		t.Fatal(err)
	}
	e.Template = 5
	if again, _ := tab.AddExtra(h); again != e {
		t.Error("a second extra state")
	}
	if _, err := tab.AddExtra(g); !errors.Is(err, ErrExtraFull) {
		t.Errorf("got %v", err)
	}
	tab.Remove(h)
	if e, err = tab.AddExtra(g); err != nil || *e != (Extra{}) {
		t.Errorf("%v %+v", err, e)
	}
}

func TestScanVisitsWhoStaysOnce(t *testing.T) {
	tab := newTable(t, Config{CapacityV4: 100, CapacityV6: 100})
	stay := map[flow.Handle]int{}
	var going []flow.Handle
	for i := range 60 {
		s := tcp4(t)
		if i%3 == 0 {
			s = tcp6(t)
		}
		s.Orig.Meta += uint64(i) << 48
		s.Reply.Meta += uint64(i) << 48
		h, err := tab.Insert(s)
		if err != nil {
			t.Fatal(err)
		}
		if i%4 == 0 {
			going = append(going, h)
		} else {
			stay[h] = 0
		}
	}
	steps := 0
	for cursor := uint32(0); ; steps++ {
		cursor = tab.Scan(cursor, 7, func(h flow.Handle) {
			if _, ok := stay[h]; ok {
				stay[h]++
			}
		})
		if cursor == 0 {
			break
		}
		if len(going) > 0 {
			tab.Remove(going[0])
			going = going[1:]
		}
	}
	for h, n := range stay {
		if n != 1 {
			t.Errorf("%d visited %d times", h, n)
		}
	}
	if steps < 60/7 {
		t.Errorf("%d steps: unbounded", steps)
	}
	empty := newTable(t, Config{CapacityV6: 4})
	if empty.Scan(0, 5, func(flow.Handle) { t.Error("visited") }) != 0 {
		t.Error("scan of an empty table goes on")
	}
}
