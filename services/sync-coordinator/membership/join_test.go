package membership

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestJoinGivesIdentity(t *testing.T) {
	b := newBed(t, 4)
	a := b.join("lb-a")
	c := b.join("lb-b")
	if a.ID != 1 || c.ID != 2 || a.Inc < t0 || a.Phase != Joining {
		t.Fatalf("first %+v second %+v", a, c)
	}
	if a.Sip4 != netip.MustParseAddr("10.0.9.0") || a.Sip6 != netip.MustParseAddr("fd09::") || c.Sip4 == a.Sip4 {
		t.Fatalf("sips %v %v and %v", a.Sip4, a.Sip6, c.Sip4)
	}
	again := b.join("lb-a")
	if again.ID != 1 || again.Inc <= a.Inc || again.Fenced != a.Inc || again.Sip4 != a.Sip4 {
		t.Fatalf("again %+v", again)
	}
}

func TestIncarnationRisesAboveEverythingKnown(t *testing.T) {
	b := newBed(t, 4)
	r := ask("lb-a")
	r.StoredInc = 9_000_000
	n, err := b.m.Join(b.now, r)
	b.must(err)
	if n.Inc != 9_000_001 || n.Fenced != 9_000_000 {
		t.Fatalf("%+v", n)
	}
	// The clock went back: the incarnation does not.
	m, err := b.m.Join(5, ask("lb-a"))
	b.must(err)
	if m.Inc != 9_000_002 {
		t.Fatalf("%+v", m)
	}
}

func TestTheSameProcessIsGivenTheSameLife(t *testing.T) {
	b := newBed(t, 4)
	r := ask("lb-a")
	r.ProcessID = "p1"
	first, err := b.m.Join(b.now, r)
	b.must(err)
	b.take()
	again, err := b.m.Join(b.now+500, r)
	b.must(err)
	if o := b.take(); o.Changed || again.Inc != first.Inc {
		t.Fatalf("%+v then %+v", first, again)
	}
	b.must(b.m.Leave(b.now, first.ID, first.Inc))
	after, err := b.m.Join(b.now, r)
	b.must(err)
	if after.Inc <= first.Inc {
		t.Fatal("a life that is over was given again")
	}
}

func TestFamiliesThatANodeDoesNotWant(t *testing.T) {
	b := newBed(t, 2)
	r := ask("lb-a")
	r.IPv4 = false
	n, err := b.m.Join(b.now, r)
	b.must(err)
	if n.Sip4.IsValid() || !n.Sip6.IsValid() || n.SyncPort != DefaultSyncPort {
		t.Fatalf("%+v", n)
	}
	if s := b.m.State(); s.Holds(n.ID, n.Inc, false) != nil {
		t.Fatal("got a block of a family that it does not want")
	}
}

func TestJoinRefusals(t *testing.T) {
	full := func(b *bed) {
		for i := range MaxMembers {
			_, err := b.m.Join(b.now, ask("n"+string(rune('a'+i/26))+string(rune('a'+i%26))))
			b.must(err)
		}
	}
	with := func(change func(*JoinRequest)) JoinRequest {
		r := ask("lb-a")
		change(&r)
		return r
	}
	for _, c := range []struct {
		name  string
		setup func(*bed)
		req   JoinRequest
		want  error
	}{
		{"no name", nil, ask(""), ErrName},
		{"a name with a slash", nil, ask("a/b"), ErrName},
		{"a name in capitals", nil, ask("LB"), ErrName},
		{"a name that begins with a digit", nil, ask("1a"), ErrName},
		{"a name of 64 bytes", nil, ask(strings.Repeat("a", 64)), ErrName},
		{"no address", nil, with(func(r *JoinRequest) { r.ControlAddress = "" }), ErrAddress},
		{"an address without port", nil, with(func(r *JoinRequest) { r.ControlAddress = "host" }), ErrAddress},
		{"an address with port 0", nil, with(func(r *JoinRequest) { r.ControlAddress = "host:0" }), ErrAddress},
		{"no family", nil, with(func(r *JoinRequest) { r.IPv4, r.IPv6 = false, false }), ErrFamily},
		{"65 data addresses", nil, with(func(r *JoinRequest) { r.DataAddresses = make([]string, 65) }), ErrTooLong},
		{"a process id of 65 bytes", nil, with(func(r *JoinRequest) { r.ProcessID = strings.Repeat("x", 65) }), ErrTooLong},
		{"no sip pool", func(b *bed) { b.must(b.m.SetPools(b.now, nil)) }, ask("lb-a"), ErrNoSip},
		{"a full view", full, ask("zz-more"), ErrTooMany},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, 4)
			if c.setup != nil {
				c.setup(b)
			}
			b.take()
			before := b.m.State()
			if _, err := b.m.Join(b.now, c.req); !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if o := b.take(); o.Changed || len(o.Events) > 0 || len(b.m.State().Nodes) != len(before.Nodes) {
				t.Fatal("a refused join changed something")
			}
		})
	}
}

func TestSipOfARemovedNodeIsGivenAwayLast(t *testing.T) {
	b := newBed(t, 0)
	b.must(b.m.SetPools(b.now, []Pool{{Name: "sip", Kind: PoolSip, Prefixes: prefixes("10.0.9.0/31")}}))
	a, c := b.join("lb-a"), b.join("lb-b")
	if _, err := b.m.Join(b.now, ask("lb-c")); !errors.Is(err, ErrNoSip) {
		t.Fatalf("third of two addresses: %v", err)
	}
	b.must(b.m.Leave(b.now, a.ID, a.Inc))
	d := b.join("lb-c")
	if d.Sip4 != a.Sip4 || d.Sip4 == c.Sip4 {
		t.Fatalf("got %v", d.Sip4)
	}
	if _, err := b.m.Join(b.now, ask("lb-a")); !errors.Is(err, ErrNoSip) {
		t.Fatalf("the old holder got an address that another has: %v", err)
	}
}

func TestAdmissionGate(t *testing.T) {
	type stock = BulkReport
	for _, c := range []struct {
		name  string
		setup func(b *bed, j uint32)
		wait  int // rounds of 100 ms
		want  Phase
	}{
		{"no report yet", func(b *bed, j uint32) { b.dp[j].gone = true }, 3, Joining},
		{"a report of an older view", func(b *bed, j uint32) {
			b.stock(j)
			b.dp[j].View = 1
			b.dp[j].gone = true
			r := b.dp[j].Report
			r.Peers = []PeerReport{{ID: 1, Inc: b.dp[1].Inc, Greeted: true}, {ID: 2, Inc: b.dp[2].Inc, Greeted: true}}
			b.m.Report(b.now, r)
		}, 1, Joining},
		{"one member has not begun", func(b *bed, j uint32) {
			b.stock(j)
			b.dp[j].Bulk = b.dp[j].Bulk[:1]
		}, 20, Joining},
		{"one member has not begun for 10 s: left out, block is clean", func(b *bed, j uint32) {
			b.stock(j)
			b.dp[j].Bulk = b.dp[j].Bulk[:1]
		}, 105, Ready},
		{"69 percent", func(b *bed, j uint32) {
			b.stock(j)
			b.dp[j].Bulk = []stock{{1, b.dp[1].Inc, true, false, 100, 100}, {2, b.dp[2].Inc, true, false, 900, 590}}
		}, 20, Joining},
		{"70 percent of the sum", func(b *bed, j uint32) {
			b.stock(j)
			b.dp[j].Bulk = []stock{{1, b.dp[1].Inc, true, false, 100, 100}, {2, b.dp[2].Inc, true, false, 900, 600}}
		}, 2, Ready},
		{"more received than one expected does not pay for another", func(b *bed, j uint32) {
			b.stock(j)
			b.dp[j].Bulk = []stock{{1, b.dp[1].Inc, true, true, 100, 5000}, {2, b.dp[2].Inc, true, false, 900, 0}}
		}, 20, Joining},
		{"a begin of a former life", func(b *bed, j uint32) {
			b.stock(j)
			b.dp[j].Bulk[0].Inc--
		}, 20, Joining},
		{"a member not greeted", func(b *bed, j uint32) {
			b.stock(j)
			b.sync()
			b.dp[j].Peers[0].Greeted = false
		}, 20, Joining},
		{"everything but its routes", func(b *bed, j uint32) { b.stock(j) }, 20, Ready},
		{"settled although no stock was asked for: it does not synchronise", func(b *bed, j uint32) { b.dp[j].Settled = true }, 2, Admitted},
		{"nothing to receive", func(b *bed, j uint32) {
			b.stock(j)
			for i := range b.dp[j].Bulk {
				b.dp[j].Bulk[i].Expected, b.dp[j].Bulk[i].Received = 0, 0
			}
		}, 2, Ready},
		{"a member that is dead by both witnesses is not waited for", func(b *bed, j uint32) {
			b.m.Control(b.now, 1, b.dp[1].Inc, false)
			b.m.Control(b.now, 2, b.dp[2].Inc, false)
			b.dp[1].gone, b.dp[2].gone = true, true
			b.suspect(1, j)
			b.suspect(2, j)
		}, 3, Ready},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, 8)
			b.admit(2)
			j := b.join("lb-j").ID
			c.setup(b, j)
			for range c.wait {
				b.round()
			}
			b.want(j, c.want)
		})
	}
}

func TestReadyAllocatesBeforeItIsAdmitted(t *testing.T) {
	b := newBed(t, 8)
	b.admit(1)
	j := b.join("lb-j").ID
	s := b.m.State()
	if s.MayAllocate(s.Holds(j, b.dp[j].Inc, false)) {
		t.Fatal("a joiner may allocate")
	}
	b.whole(j)
	b.sync()
	stale := b.dp[j].Report // settled, but told before READY
	b.say(j)
	b.want(j, Ready)
	b.m.Report(b.now, stale)
	b.take()
	b.want(j, Ready)
	s = b.m.State()
	if !s.MayAllocate(s.Holds(j, b.dp[j].Inc, false)) {
		t.Fatal("a ready node may not allocate")
	}
	b.round()
	b.want(j, Admitted)
}

func TestStockIsOrderedOfEveryMemberAndAgain(t *testing.T) {
	b := newBed(t, 8)
	b.admit(2)
	b.bulk = nil
	j := b.join("lb-j")
	b.round()
	if len(b.bulk) != 2 || b.bulk[0].From != 1 || b.bulk[1].From != 2 || b.bulk[0].To != j.ID || b.bulk[0].ToInc != j.Inc {
		t.Fatalf("orders %+v", b.bulk)
	}
	b.dp[j.ID].Bulk = []BulkReport{{ID: 1, Inc: b.dp[1].Inc, Begun: true}}
	b.bulk = nil
	for range 25 {
		b.round()
	}
	if len(b.bulk) != 1 || b.bulk[0].From != 2 {
		t.Fatalf("orders after 2.5 s %+v", b.bulk)
	}
}

func TestDrainAndLeave(t *testing.T) {
	b := newBed(t, 8)
	b.admit(2)
	if err := b.m.Drain(b.now, "nobody", false, false); !errors.Is(err, ErrUnknownNode) {
		t.Fatal(err)
	}
	b.must(b.m.Drain(b.now, "lb-b", false, true))
	if o := b.take(); o.Changed {
		t.Fatal("a check changed something")
	}
	b.must(b.m.Drain(b.now, "lb-b", false, false))
	if err := b.m.Drain(b.now, "lb-a", false, false); !errors.Is(err, ErrLastNode) {
		t.Fatal(err)
	}
	b.must(b.m.Drain(b.now, "lb-b", false, false))
	b.take()
	b.want(2, Draining)
	if b.happened(NodeDraining, 2) != 1 || b.block(2).Allocatable {
		t.Fatal("draining once, allocating no more")
	}
	b.must(b.m.Leave(b.now, 2, b.dp[2].Inc))
	b.must(b.m.Leave(b.now, 2, b.dp[2].Inc))
	b.take()
	b.want(2, Removed)
	if n := b.node(2); n.Cause != CauseLeft || n.ByMachine || n.Fenced != n.Inc {
		t.Fatalf("%+v", n)
	}
	if err := b.m.Drain(b.now, "lb-b", false, false); !errors.Is(err, ErrNotMember) {
		t.Fatal(err)
	}
	b.join("lb-c")
	if err := b.m.Drain(b.now, "lb-c", false, false); !errors.Is(err, ErrPhase) {
		t.Fatal(err)
	}
}

func TestRestartLosesNothing(t *testing.T) {
	b := newBed(t, 8)
	b.admit(3)
	b.kill(3)
	b.round()
	before := b.stored
	b.restart(before.View + 40)
	if got := b.stored; got.View != before.View+41 {
		t.Fatalf("view %d, want above what a node reported", got.View)
	}
	after := b.stored.Clone()
	after.View = before.View
	if !equalState(after, before) {
		t.Fatalf("restart changed the state:\n%+v\n%+v", before, after)
	}
	// Until connections and reports are there again, nobody is judged.
	for range 50 {
		b.now += 100
		b.m.Tick(b.now)
		b.take()
	}
	b.want(1, Admitted)
	b.want(2, Admitted)
	b.m.Control(b.now, 1, b.dp[1].Inc, true)
	b.m.Control(b.now, 2, b.dp[2].Inc, true)
	b.round()
	n := b.join("lb-c")
	if n.ID != 3 || n.Inc <= before.Node(3).Inc {
		t.Fatalf("came back as %+v", n)
	}
}

func TestADataPlaneAheadLiftsTheView(t *testing.T) {
	b := newBed(t, 8)
	b.admit(1)
	r := b.dp[1].Report
	r.View = b.stored.View + 100
	b.m.Report(b.now, r)
	b.take()
	if b.stored.View != r.View+1 {
		t.Fatalf("view %d, want %d", b.stored.View, r.View+1)
	}
}
