package syncloop

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/ring"
)

func TestARequestThatNobodyWaitsForNeverRuns(t *testing.T) {
	l := New(Config{Clock: func() (uint32, int64) { return 1, 1 }})
	ctx, cancel := context.WithCancel(t.Context())
	ran := false
	answer := make(chan error)
	go func() { answer <- l.Do(ctx, func(*Loop) { ran = true }) }()
	for len(l.mail) == 0 {
		runtime.Gosched()
	}
	cancel() // the loop stands still
	if err := <-answer; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	l.Turn()
	if ran {
		t.Error("it ran after its caller had given up")
	}
	go func() { answer <- l.Do(t.Context(), func(*Loop) { ran = true }) }()
	for len(l.mail) == 0 {
		runtime.Gosched()
	}
	l.Turn()
	if err := <-answer; err != nil || !ran {
		t.Errorf("%v, ran %v", err, ran)
	}
}

func TestAFullMailboxRefusesInTime(t *testing.T) {
	l := New(Config{Clock: func() (uint32, int64) { return 1, 1 }})
	for len(l.mail) < cap(l.mail) {
		l.mail <- func(*Loop) {}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Do(ctx, func(*Loop) { t.Error("it ran") }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	for range cap(l.mail) {
		l.Turn()
	}
}

func TestDatagramsOnTheirWayAreFreedAtTheEnd(t *testing.T) {
	pool := dpdtest.NewPool(8)
	soft := ring.New[port.Packet](8)
	l := New(Config{Pool: pool, Soft: []*ring.SPSC[port.Packet]{soft}, Clock: func() (uint32, int64) { return 1, 1 }})
	for range 5 {
		p := pool.Make(make([]byte, 60))
		soft.Put(&p)
	}
	l.Empty()
	dpdtest.CheckLeaks(t, pool)
}
