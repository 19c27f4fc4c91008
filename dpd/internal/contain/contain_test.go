package contain_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/contain"
)

// try runs f as a thread runs its work.
func try(l *contain.Log, now uint32, f func()) {
	defer func() {
		if v := recover(); v != nil {
			l.Caught(now, v)
		}
	}()
	f()
}

//go:noinline
func nilPointer() { var p *struct{ x int }; p.x = 1 }

//go:noinline
func outOfRange(b []byte) byte { return b[len(b)] }

func TestEachPlaceIsReportedOnceAMinute(t *testing.T) {
	var got []contain.Panic
	l := &contain.Log{Report: func(p contain.Panic) { got = append(got, p) }}
	for range 1_000 {
		try(l, 5, nilPointer)
		try(l, 5, func() { outOfRange(nil) })
	}
	if len(got) != 2 || !strings.Contains(got[0].Place, "nilPointer:") || !strings.Contains(got[1].Place, "outOfRange:") {
		t.Fatalf("%d reports: %+v", len(got), got)
	}
	if got[0].Times != 1 || !strings.Contains(string(got[0].Stack), "nilPointer") || !strings.Contains(fmt.Sprint(got[0].Value), "nil pointer") {
		t.Errorf("%+v", got[0])
	}
	try(l, 5+contain.Every-1, nilPointer)
	try(l, 5+contain.Every, nilPointer)
	if len(got) != 3 || got[2].Times != 1_002 {
		t.Errorf("after a minute: %+v", got[2:])
	}
}

func TestALogWithoutReportsCountsAllTheSame(*testing.T) {
	try(&contain.Log{}, 1, nilPointer)
}
