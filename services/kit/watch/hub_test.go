package watch

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/holdfast-lb/holdfast/services/kit/apierr"
)

func TestReaderSeesBookmarkThenEveryValueInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h Hub[int]
		var got []int
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- h.Serve(ctx, func() error { got = append(got, -1); return nil }, func(v int) error { got = append(got, v); return nil })
		}()
		synctest.Wait()
		for i := range 10 {
			h.Publish(i)
		}
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
		if len(got) != 11 || got[0] != -1 || got[10] != 9 {
			t.Errorf("got %v", got)
		}
		if h.Readers() != 0 {
			t.Error("the reader is still there")
		}
	})
}

func TestSlowReaderIsCutOffAndOthersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h Hub[int]
		block := make(chan struct{})
		slow, fast := make(chan error), make(chan error)
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		go func() {
			slow <- h.Serve(ctx, func() error { return nil }, func(int) error { <-block; return nil })
		}()
		go func() {
			fast <- h.Serve(ctx, func() error { return nil }, func(int) error { n++; return nil })
		}()
		synctest.Wait()
		for i := range Depth + 2 {
			h.Publish(i)
			synctest.Wait()
		}
		close(block)
		if err := <-slow; !apierr.Is(err, apierr.SlowReader) {
			t.Errorf("the slow reader ended with %v", err)
		}
		cancel()
		if err := <-fast; !errors.Is(err, context.Canceled) {
			t.Errorf("the fast reader ended with %v", err)
		}
		if n != Depth+2 {
			t.Errorf("the fast reader saw %d of %d", n, Depth+2)
		}
	})
}

func TestCloseEndsReadersNowAndLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h Hub[int]
		done := make(chan error)
		serve := func() error {
			return h.Serve(t.Context(), func() error { return nil }, func(int) error { return nil })
		}
		go func() { done <- serve() }()
		synctest.Wait()
		h.Close()
		if err := <-done; !apierr.Is(err, apierr.ShuttingDown) {
			t.Errorf("ended with %v", err)
		}
		if err := serve(); !apierr.Is(err, apierr.ShuttingDown) {
			t.Errorf("a late reader ended with %v", err)
		}
		h.Publish(1)
	})
}

func TestServeReturnsWhatBookmarkAndSendReturn(t *testing.T) {
	var h Hub[int]
	boom := errors.New("boom")
	if err := h.Serve(t.Context(), func() error { return boom }, func(int) error { return nil }); !errors.Is(err, boom) {
		t.Errorf("bookmark's error became %v", err)
	}
	err := h.Serve(t.Context(), func() error { h.Publish(1); return nil }, func(int) error { return boom })
	if !errors.Is(err, boom) {
		t.Errorf("send's error became %v", err)
	}
}
