package store

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/holdfast-lb/holdfast/services/scheduler/desired"
)

var scale = flag.Int("scale", 200, "services of 100 servers each in BenchmarkOpenAndChange; the goal is that 10000 work")

// BenchmarkOpenAndChange measures the reading of a large bucket and one change in it.
func BenchmarkOpenAndChange(b *testing.B) {
	bus := startBus(b, b.TempDir(), "")
	js := connect(b, bus.URL())
	first, stop := startStore(b, js)
	servers := make([]desired.Server, 100)
	for i := range servers {
		servers[i] = desired.Server{ID: fmt.Sprintf("server-%03d", i), Meta: desired.Meta{UID: uint32(i), Created: time.Now(), Updated: time.Now()}, Spec: desired.ServerSpec{
			Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), Port: 8080, Weight: 1, Admin: desired.Enabled,
		}}
	}
	for i := range *scale {
		id := fmt.Sprintf("service-%05d", i)
		if _, err := first.Change(b.Context(), func(_ *desired.State, at desired.At) (desired.Change, error) {
			s := spec(i%60000 + 1)
			s.VIP = netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)})
			return desired.Change{Kind: desired.KindService, ID: id, Service: &desired.Service{ID: id, Spec: s, Meta: desired.Meta{UID: uint32(at.Seq)}, Servers: servers}}, nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	stop()
	n := 0
	for b.Loop() {
		s := New(js, 1, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan error, 1)
		begun := time.Now()
		go func() { done <- s.Run(ctx) }()
		await(b, s, func() bool { return services(s) >= *scale })
		b.ReportMetric(float64(time.Since(begun).Milliseconds()), "ms/open")
		begun = time.Now()
		n++
		if _, err := s.Change(ctx, func(st *desired.State, at desired.At) (desired.Change, error) {
			sp := servers[0].Spec
			sp.Weight = uint16(1 + n)
			return st.UpdateServer(at, "service-00000", "server-000", "", sp)
		}); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(begun).Microseconds()), "µs/change")
		cancel()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}
