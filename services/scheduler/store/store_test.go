package store

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-lb/holdfast/services/kit/apierr"
	"github.com/holdfast-lb/holdfast/services/kit/natsd"
	"github.com/holdfast-lb/holdfast/services/scheduler/desired"
)

func startBus(t testing.TB, dir, listen string) *natsd.Server {
	t.Helper()
	s, err := natsd.Start(natsd.Config{Dir: dir, Listen: listen})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func connect(t testing.TB, url string) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// startStore runs a replica and waits until it is ready; stop ends it.
func startStore(t testing.TB, js jetstream.JetStream) (s *Store, stop func()) {
	t.Helper()
	s = New(js, 1, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the store ended with %v", err)
		}
	})
	t.Cleanup(stop)
	await(t, s, func() bool { _, _, ok := s.Config(); return ok })
	return s, stop
}

// await waits for a condition that only a move of the state can make true.
func await(t testing.TB, s *Store, cond func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		moved := s.Moved()
		if cond() {
			return
		}
		select {
		case <-moved:
		case <-deadline:
			t.Fatal("the state did not come")
		}
	}
}

func spec(port int) desired.ServiceSpec {
	return desired.ServiceSpec{Endpoint: desired.Endpoint{VIP: netip.MustParseAddr("198.51.100.10"), Port: uint16(port), Protocol: desired.TCP}, Mode: desired.FullNAT, Algorithm: desired.RR}
}

func create(s *Store, id string, port int) (desired.Change, error) {
	return s.Change(context.Background(), func(st *desired.State, at desired.At) (desired.Change, error) {
		return st.CreateService(at, id, "", spec(port))
	})
}

func services(s *Store) int {
	_, x, _ := s.Config()
	return len(x)
}

func TestStateAndRevisionOutliveRestartsOfServiceAndBus(t *testing.T) {
	dir := t.TempDir()
	bus := startBus(t, dir, "")
	s, stop := startStore(t, connect(t, bus.URL()))
	for i := 1; i <= 3; i++ {
		if _, err := create(s, fmt.Sprintf("s%d", i), i); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Change(t.Context(), func(st *desired.State, _ desired.At) (desired.Change, error) {
		return st.DeleteService("s2", "", false)
	}); err != nil {
		t.Fatal(err)
	}
	want, _, _ := s.Config()
	stop()
	bus.Close()
	s, _ = startStore(t, connect(t, startBus(t, dir, "").URL()))
	got, list, _ := s.Config()
	if got != want || len(list) != 2 || list[0].ID != "s1" || list[1].ID != "s3" || list[0].Spec != spec(1) {
		t.Errorf("revision %d, want %d; services %+v", got, want, list)
	}
	c, err := create(s, "s2", 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, old := range list {
		if old.Meta.UID == c.Service.Meta.UID {
			t.Errorf("uid %d is used again", old.Meta.UID)
		}
	}
	if now, _, _ := s.Config(); now <= want {
		t.Errorf("revision %d does not rise above %d", now, want)
	}
}

func TestBucketMadeAnewHasHigherRevisions(t *testing.T) {
	var last uint64
	for range 2 {
		s, _ := startStore(t, connect(t, startBus(t, t.TempDir(), "").URL()))
		if _, err := create(s, "a", 1); err != nil {
			t.Fatal(err)
		}
		now, _, _ := s.Config()
		if now <= last {
			t.Errorf("revision %d after %d", now, last)
		}
		last = now
	}
}

func TestReplicasAgreeAlthoughAllWrite(t *testing.T) {
	bus := startBus(t, t.TempDir(), "")
	var replicas []*Store
	for range 3 {
		s, _ := startStore(t, connect(t, bus.URL()))
		replicas = append(replicas, s)
	}
	// All want the same three endpoints under names of their own: each endpoint goes to one of them, never to two.
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i, s := range replicas {
		for port := 1; port <= 3; port++ {
			wg.Add(1)
			go func() {
				defer wg.Done()
				_, err := create(s, fmt.Sprintf("r%d-p%d", i, port), port)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					won++
				case !apierr.Is(err, apierr.VIPOverlap):
					t.Errorf("%v", err)
				}
			}()
		}
	}
	wg.Wait()
	if won != 3 {
		t.Errorf("%d creations won for 3 endpoints", won)
	}
	for i, s := range replicas {
		await(t, s, func() bool { return services(s) == 3 })
		rev, _, _ := s.Config()
		if want, _, _ := replicas[0].Config(); rev != want {
			t.Errorf("replica %d has revision %d, the first one %d", i, rev, want)
		}
	}
}

func TestNothingIsStoredByPreviewOrRefusal(t *testing.T) {
	s, _ := startStore(t, connect(t, startBus(t, t.TempDir(), "").URL()))
	before, _, _ := s.Config()
	if c, err := s.Preview(func(st *desired.State, at desired.At) (desired.Change, error) {
		return st.CreateService(at, "a", "", spec(1))
	}); err != nil || c.Service == nil {
		t.Errorf("preview: %+v, %v", c, err)
	}
	if _, err := create(s, "BAD", 1); !apierr.Is(err, apierr.BadRequest) {
		t.Errorf("bad name: %v", err)
	}
	if after, list, _ := s.Config(); after != before || len(list) != 0 {
		t.Errorf("revision %d after %d, services %v", after, before, list)
	}
}

func TestStoreThatIsAwayIsUnavailableAndComesBack(t *testing.T) {
	idle := New(nil, 1, slog.New(slog.DiscardHandler))
	for name, err := range map[string]error{
		"read":    idle.Read(func(*desired.State) error { return nil }),
		"change":  func() error { _, err := create(idle, "a", 1); return err }(),
		"preview": func() error { _, err := idle.Preview(nil); return err }(),
	} {
		if !apierr.Is(err, apierr.StoreUnavailable) {
			t.Errorf("%s before the bucket was read: %v", name, err)
		}
	}
	dir := t.TempDir()
	bus := startBus(t, dir, "")
	url, address := bus.URL(), strings.TrimPrefix(bus.EventsURL(), "nats://")
	js := connect(t, url)
	s, _ := startStore(t, js)
	if _, err := create(s, "a", 1); err != nil {
		t.Fatal(err)
	}
	bus.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := s.Change(ctx, func(st *desired.State, at desired.At) (desired.Change, error) {
		return st.CreateService(at, "b", "", spec(2))
	})
	if !apierr.Is(err, apierr.StoreUnavailable) {
		t.Errorf("write while the bus is away: %v", err)
	}
	if services(s) != 1 {
		t.Error("the state can't be read while the bus is away")
	}
	startBus(t, dir, address)
	other, _ := startStore(t, connect(t, url))
	if _, err := create(other, "c", 3); err != nil {
		t.Fatal(err)
	}
	await(t, s, func() bool { return services(s) >= 2 })
}

func TestDecodeRefusesRecordsThatAreNotWhatTheirKeySays(t *testing.T) {
	for _, tc := range []struct{ name, key, value string }{
		{"no JSON", "service.a", "x"},
		{"newer format", "service.a", `{"format":2,"service":{"id":"a"}}`},
		{"no format", "service.a", `{"service":{"id":"a"}}`},
		{"pool under a service's key", "service.a", `{"format":1,"pool":{"id":"a"}}`},
		{"other id", "service.a", `{"format":1,"service":{"id":"b"}}`},
		{"both", "pool.a", `{"format":1,"service":{"id":"a"},"pool":{"id":"a"}}`},
		{"neither", "pool.a", `{"format":1}`},
		{"unknown kind", "thing.a", `{"format":1,"service":{"id":"a"}}`},
		{"no kind", "base", `1`},
	} {
		if c, err := decode(tc.key, []byte(tc.value), false); err == nil {
			t.Errorf("%s: %+v", tc.name, c)
		}
	}
	for _, c := range []desired.Change{
		{Kind: desired.KindService, ID: "a", Service: &desired.Service{ID: "a", Spec: spec(1)}},
		{Kind: desired.KindPool, ID: "b", Pool: &desired.Pool{ID: "b"}},
	} {
		b, err := encode(c)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decode(key(c), b, false); err != nil || fmt.Sprint(got.Kind, got.ID) != fmt.Sprint(c.Kind, c.ID) {
			t.Errorf("%s came back as %+v, %v", key(c), got, err)
		}
	}
}
