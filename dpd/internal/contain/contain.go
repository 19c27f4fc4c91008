// Package contain reports the panics that a packet thread survives: what a packet, a datagram or a request broke ends with it,
// and the thread goes on. Each thread has a Log of its own, which nobody else touches; a panic of another goroutine still ends
// the process.
package contain

import (
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
)

const (
	// Every is for how long, in milliseconds, a place that has panicked is not reported again.
	Every = 60_000
	// placesMax bounds the places that are told apart; further ones share the last entry.
	placesMax = 64
)

// Panic is one report.
type Panic struct {
	Place string // function and line that panicked
	Value any
	Stack []byte
	Times uint64 // that this place has panicked so far
}

type place struct {
	name  string
	times uint64
	at    uint32 // tick of the last report
}

// Log tells places apart and reports each of them once a minute. The zero value reports to nobody.
type Log struct {
	// Report is called on the thread that panicked, and must not wait for it. nil: no reports.
	Report func(Panic)
	places []place
}

// Caught notes what recover returned. It is called by the deferred function that called recover. now is in milliseconds.
func (l *Log) Caught(now uint32, value any) {
	p := l.place(origin())
	p.times++
	if l.Report == nil || p.times > 1 && now-p.at < Every {
		return
	}
	p.at = now
	l.Report(Panic{Place: p.name, Value: value, Stack: debug.Stack(), Times: p.times})
}

func (l *Log) place(name string) *place {
	for i := range l.places {
		if l.places[i].name == name {
			return &l.places[i]
		}
	}
	if len(l.places) == placesMax {
		return &l.places[placesMax-1]
	}
	l.places = append(l.places, place{name: name})
	return &l.places[len(l.places)-1]
}

// origin is the function and line that panicked: the first frame of ours below the runtime's.
func origin() string {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	panicking := false
	for {
		f, more := frames.Next()
		inRuntime := strings.HasPrefix(f.Function, "runtime.")
		if panicking && !inRuntime {
			return f.Function + ":" + strconv.Itoa(f.Line)
		}
		panicking = panicking || f.Function == "runtime.gopanic"
		if !more {
			return "unknown"
		}
	}
}
