package checker

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-lb/holdfast/services/health/verdict"
)

// bench records results by target.
type bench struct {
	mu      sync.Mutex
	results map[string][]Result
}

func (b *bench) tell(r Result) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.results == nil {
		b.results = map[string][]Result{}
	}
	b.results[r.Target.Name] = append(b.results[r.Target.Name], r)
}

func (b *bench) of(name string) []Result {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.results[name]
}

func target(name string) Target {
	return Target{Name: name, Address: name, Interval: 2 * time.Second, Timeout: time.Second, Rule: verdict.Rule{Rise: 2, Fall: 3}}
}

func fresh(string) verdict.Verdict { return verdict.Verdict{} }

func TestVerdictsTurnAfterTheRule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		bad := false
		b := &bench{}
		c := New(func(context.Context, string) error {
			mu.Lock()
			defer mu.Unlock()
			if bad {
				return errors.New("refused")
			}
			return nil
		}, b.tell)
		defer c.Close()
		c.Set([]Target{target("a")}, fresh)
		time.Sleep(5 * time.Second)
		if got := b.of("a"); got[len(got)-1].Verdict.State != verdict.Up {
			t.Fatalf("%+v", got)
		}
		mu.Lock()
		bad = true
		mu.Unlock()
		n := len(b.of("a"))
		time.Sleep(10 * time.Second)
		turned := 0
		for i, r := range b.of("a")[n:] {
			if r.Changed {
				turned++
				if i != 2 || r.Verdict.State != verdict.Down || r.Err == nil {
					t.Errorf("turned at failure %d: %+v", i+1, r)
				}
			}
		}
		if turned != 1 {
			t.Errorf("turned %d times", turned)
		}
	})
}

func TestIntervalIsJitteredByATenth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{}
		c := New(func(ctx context.Context, _ string) error { time.Sleep(300 * time.Millisecond); return nil }, b.tell)
		defer c.Close()
		c.Set([]Target{target("a")}, fresh)
		time.Sleep(time.Minute)
		got := b.of("a")
		if len(got) < 26 || len(got) > 34 {
			t.Errorf("%d checks in a minute", len(got))
		}
		distinct := map[time.Duration]bool{}
		for i := 1; i < len(got); i++ {
			d := got[i].At.Sub(got[i-1].At)
			if d < 1800*time.Millisecond || d > 2200*time.Millisecond {
				t.Errorf("interval %v", d)
			}
			distinct[d] = true
		}
		if len(distinct) < 5 {
			t.Errorf("intervals %v", distinct)
		}
	})
}

func TestACheckEndsWithItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{}
		c := New(func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }, b.tell)
		defer c.Close()
		c.Set([]Target{target("a")}, fresh)
		time.Sleep(10 * time.Second)
		got := b.of("a")
		if len(got) < 3 || !errors.Is(got[0].Err, context.DeadlineExceeded) {
			t.Fatalf("%+v", got)
		}
	})
}

func TestTargetsComeGoAndChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{}
		c := New(func(context.Context, string) error { return nil }, b.tell)
		c.Set([]Target{target("a"), target("b")}, fresh)
		time.Sleep(5 * time.Second)
		na, nb := len(b.of("a")), len(b.of("b"))
		moved := target("b")
		moved.Address = "elsewhere"
		off := target("c")
		off.Off = true
		c.Set([]Target{target("a"), moved, off}, func(name string) verdict.Verdict {
			if name != "b" {
				t.Errorf("%s began anew", name)
			}
			return verdict.Verdict{State: verdict.Down}
		})
		time.Sleep(5 * time.Second)
		if len(b.of("a")) <= na || len(b.of("c")) != 0 {
			t.Error("a goes on, c is not checked")
		}
		if r := b.of("b")[nb]; r.Target.Address != "elsewhere" || r.Verdict.State != verdict.Down || r.Verdict.Streak != 1 {
			t.Errorf("%+v", r)
		}
		c.Set(nil, fresh)
		n := len(b.of("a"))
		time.Sleep(10 * time.Second)
		if len(b.of("a")) != n {
			t.Error("a removed target was checked")
		}
		c.Close()
		c.Set([]Target{target("a")}, fresh) // after the end: nothing
		time.Sleep(10 * time.Second)
		if len(b.of("a")) != n {
			t.Error("a closed checker checked")
		}
	})
}

func TestATargetThatGoesDuringItsCheckTellsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{}
		c := New(func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }, b.tell)
		defer c.Close()
		slow := target("a")
		slow.Timeout = time.Hour
		c.Set([]Target{slow}, fresh)
		time.Sleep(5 * time.Second)
		c.Set(nil, fresh)
		synctest.Wait()
		if got := b.of("a"); len(got) != 0 {
			t.Fatalf("%+v", got)
		}
	})
}

func TestManyTargetsAreNotCheckedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		now, most := 0, 0
		c := New(func(ctx context.Context, _ string) error {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(900 * time.Millisecond)
			mu.Lock()
			now--
			mu.Unlock()
			return nil
		}, func(Result) {})
		defer c.Close()
		var all []Target
		for i := range 2000 {
			all = append(all, target(string(rune(0x4000+i))))
		}
		c.Set(all, fresh)
		time.Sleep(6 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		if most != maxAtOnce {
			t.Errorf("%d at once", most)
		}
	})
}

func TestTCPProbe(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	from := make(chan string, 4)
	go func() {
		for {
			c, err := lis.Accept()
			if err != nil {
				close(from)
				return
			}
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			from <- host
			c.Close()
		}
	}()
	addr := lis.Addr().String()
	if err := TCP(netip.MustParseAddr("127.0.0.9"))(t.Context(), addr); err != nil || <-from != "127.0.0.9" {
		t.Errorf("with a source: %v", err)
	}
	if err := TCP(netip.MustParseAddr("::1"))(t.Context(), addr); err != nil {
		t.Errorf("with a source of the other family: %v", err)
	}
	lis.Close()
	if err := TCP(netip.Addr{})(t.Context(), addr); err == nil {
		t.Error("a closed port is up")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := TCP(netip.Addr{})(ctx, addr); err == nil {
		t.Error("a check without time succeeded")
	}
}
