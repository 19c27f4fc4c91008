package announce

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
)

// fakeSpeaker records what routers would hold. Calls whose prefix is in broken fail.
type fakeSpeaker struct {
	routes  map[netip.Prefix]Route
	broken  map[netip.Prefix]bool
	calls   []string
	stopped bool
}

var errBroken = errors.New("broken")

func newFake() *fakeSpeaker {
	return &fakeSpeaker{routes: map[netip.Prefix]Route{}, broken: map[netip.Prefix]bool{}}
}

func (f *fakeSpeaker) Announce(r Route) error {
	f.calls = append(f.calls, fmt.Sprintf("+%v/%d", r.Prefix, r.Prepend))
	if f.broken[r.Prefix] {
		return errBroken
	}
	f.routes[r.Prefix] = r
	return nil
}

func (f *fakeSpeaker) Withdraw(p netip.Prefix) error {
	f.calls = append(f.calls, fmt.Sprintf("-%v", p))
	if f.broken[p] {
		return errBroken
	}
	delete(f.routes, p)
	return nil
}

func (f *fakeSpeaker) Peers() []PeerState { return []PeerState{{Established: true}} }
func (f *fakeSpeaker) Stop()              { f.stopped = true; clear(f.routes) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func TestSetSendsOnlyDifferences(t *testing.T) {
	f := newFake()
	a := New(f, true, true, quiet())
	vip, laddr, sip6 := pfx("203.0.113.80/32"), pfx("192.0.2.1/32"), pfx("2001:db8::1/128")
	for _, step := range []struct {
		set  []Route
		want []string
	}{
		{[]Route{{vip, 0}, {laddr, 3}}, []string{"+192.0.2.1/32/3", "+203.0.113.80/32/0"}},
		{[]Route{{laddr, 3}, {vip, 0}}, nil},
		{[]Route{{laddr, 0}, {vip, 0}}, []string{"+192.0.2.1/32/0"}},
		{[]Route{{laddr, 3}, {laddr, 0}, {vip, 0}}, nil}, // the plain one wins
		{[]Route{{sip6, 0}}, []string{"+2001:db8::1/128/0", "-192.0.2.1/32", "-203.0.113.80/32"}},
		{nil, []string{"-2001:db8::1/128"}},
	} {
		f.calls = nil
		if err := a.Set(step.set); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(f.calls, step.want) {
			t.Errorf("set %v: got %v, want %v", step.set, f.calls, step.want)
		}
	}
}

func TestSetRefusesBadRoutesWhole(t *testing.T) {
	f := newFake()
	a := New(f, true, false, quiet())
	good := Route{Prefix: pfx("192.0.2.1/32")}
	if err := a.Set([]Route{good}); err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		routes []Route
		want   error
	}{
		"no prefix":                 {[]Route{{}}, ErrPrefix},
		"host bits":                 {[]Route{{Prefix: pfx("192.0.2.1/24")}}, ErrPrefix},
		"a negative prepend":        {[]Route{{good.Prefix, -1}}, ErrPrefix},
		"a family without next hop": {[]Route{{Prefix: pfx("2001:db8::1/128")}}, ErrNextHop},
		"more than the bound":       {make([]Route, MaxRoutes+1), ErrTooMany},
	} {
		t.Run(name, func(t *testing.T) {
			if err := a.Set(row.routes); !errors.Is(err, row.want) {
				t.Errorf("got %v, want %v", err, row.want)
			}
			if got := a.Announced(); len(got) != 1 || got[0] != good {
				t.Errorf("a refused set changed the routes: %v", got)
			}
		})
	}
}

func TestHoldWithdrawsAndBringsBack(t *testing.T) {
	f := newFake()
	a := New(f, true, true, quiet())
	one, two := Route{Prefix: pfx("192.0.2.1/32")}, Route{pfx("192.0.2.2/32"), 3}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(a.Set([]Route{one}))
	must(a.Hold(true, "link down"))
	if len(f.routes) != 0 || !a.Held() {
		t.Errorf("held, but announced: %v", f.routes)
	}
	must(a.Set([]Route{one, two}))
	if len(f.routes) != 0 {
		t.Errorf("a set while held leaked: %v", f.routes)
	}
	must(a.Hold(false, "good"))
	if len(f.routes) != 2 || f.routes[two.Prefix] != two {
		t.Errorf("not brought back: %v", f.routes)
	}
}

func TestFailedCallsAreTriedAgain(t *testing.T) {
	f := newFake()
	a := New(f, true, true, quiet())
	bad, good := Route{Prefix: pfx("192.0.2.1/32")}, Route{Prefix: pfx("192.0.2.2/32")}
	f.broken[bad.Prefix] = true
	if err := a.Set([]Route{bad, good}); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
	if _, ok := f.routes[good.Prefix]; !ok {
		t.Error("one failure kept another route back")
	}
	delete(f.broken, bad.Prefix)
	if err := a.Set([]Route{bad, good}); err != nil || len(f.routes) != 2 {
		t.Errorf("not tried again: %v, %v", err, f.routes)
	}
	f.broken[bad.Prefix] = true
	if err := a.Set(nil); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
	delete(f.broken, bad.Prefix)
	if err := a.Hold(false, ""); err != nil || len(f.routes) != 0 {
		t.Errorf("a failed withdrawal was forgotten: %v, %v", err, f.routes)
	}
}

func TestStop(t *testing.T) {
	f := newFake()
	a := New(f, true, true, quiet())
	if err := a.Set([]Route{{Prefix: pfx("192.0.2.1/32")}}); err != nil {
		t.Fatal(err)
	}
	a.Stop()
	a.Stop()
	if !f.stopped || len(a.Announced()) != 0 || a.Peers() != nil {
		t.Error("routes or peers after Stop")
	}
	if err := a.Set(nil); !errors.Is(err, ErrStopped) {
		t.Errorf("Set after Stop: %v", err)
	}
	if err := a.Hold(true, ""); !errors.Is(err, ErrStopped) {
		t.Errorf("Hold after Stop: %v", err)
	}
}

func TestNoneChecksAndAnnouncesNothing(t *testing.T) {
	a := New(nil, true, true, quiet())
	if err := a.Set([]Route{{Prefix: pfx("192.0.2.1/24")}}); !errors.Is(err, ErrPrefix) {
		t.Errorf("got %v", err)
	}
	if err := a.Set([]Route{{Prefix: pfx("192.0.2.1/32")}}); err != nil || len(a.Announced()) != 0 || a.Peers() != nil {
		t.Errorf("%v, %v", err, a.Announced())
	}
	a.Stop()
}

// The model: after any operations, what routers hold is the last set, or nothing while held; and no call repeats what
// routers already hold.
func TestRandomOperationsMatchModel(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		f := newFake()
		a := New(f, true, true, quiet())
		held, want := false, map[netip.Prefix]Route{}
		for range 60 {
			f.calls = nil
			before := len(f.routes)
			switch r.IntN(4) {
			case 0:
				held = r.IntN(2) == 0
				if err := a.Hold(held, ""); err != nil {
					t.Fatal(err)
				}
			default:
				var set []Route
				clear(want)
				for i := range r.IntN(6) {
					route := Route{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i * (1 + r.IntN(2)))}), 32), r.IntN(3)}
					set = append(set, route)
					if old, ok := want[route.Prefix]; !ok || route.Prepend < old.Prepend {
						want[route.Prefix] = route
					}
				}
				if err := a.Set(set); err != nil {
					t.Fatal(err)
				}
			}
			expect := want
			if held {
				expect = map[netip.Prefix]Route{}
			}
			if !reflect.DeepEqual(f.routes, expect) {
				t.Fatalf("seed %d: routers hold %v, want %v", seed, f.routes, expect)
			}
			if len(f.calls) > before+len(f.routes) {
				t.Fatalf("seed %d: %d calls from %d to %d routes", seed, len(f.calls), before, len(f.routes))
			}
		}
	}
}
